"""How far back events are needed: by what is not billed yet, and by what is measured together with it.

Rule: docs/rules/metering.md#retention
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.late_usage.detection import FINISHED, REACH, REASONS
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.storage.postgres import scope_of

# what is unbilled begins with the open period of a subscription that is not over, or with a draft. The next invoice of
# a subscription measures finished periods again where late usage is charged. A period that threshold invoices have cut
# is measured from where the first of them began.
_UNBILLED = """
    unbilled AS (
        SELECT id AS subscription_id, full_period_start AS since, current_period_end AS billed_to
        FROM subscriptions
        WHERE environment_id = :environment AND status = 'published' AND subscription_status <> 'cancelled'
        UNION ALL
        SELECT subscription_id, period_start, period_end FROM invoices
        WHERE environment_id = :environment AND status = 'published' AND invoice_status = 'DRAFT'
            AND invoice_type = 'SUBSCRIPTION' AND subscription_id IS NOT NULL AND period_start IS NOT NULL
    ),
    rechecked AS (
        SELECT invoice.subscription_id, min(invoice.period_start) AS since
        FROM invoices AS invoice
        JOIN (SELECT subscription_id, min(billed_to) AS billed_to FROM unbilled GROUP BY subscription_id) AS next
            ON next.subscription_id = invoice.subscription_id
        WHERE :late AND invoice.environment_id = :environment AND invoice.status = 'published'
            AND invoice.invoice_type = 'SUBSCRIPTION' AND invoice.invoice_status = ANY(:finished)
            AND invoice.billing_reason = ANY(:reasons)
            AND invoice.period_end >= next.billed_to - CAST(:reach AS interval)
        GROUP BY invoice.subscription_id
    ),
    begun AS (
        SELECT * FROM (SELECT subscription_id, since FROM unbilled UNION ALL SELECT * FROM rechecked) AS every
        UNION
        SELECT invoice.subscription_id, invoice.period_start
        FROM begun
        JOIN invoices AS invoice ON invoice.environment_id = :environment
            AND invoice.subscription_id = begun.subscription_id AND invoice.period_end = begun.since
            AND invoice.billing_reason = 'AUTO_INVOICE_THRESHOLD' AND invoice.status = 'published'
            AND invoice.invoice_status <> 'VOIDED'
    ),
    measured AS (SELECT subscription_id, min(since) AS since FROM begun GROUP BY subscription_id)
"""

# usage is measured by the subscription's periods, but a limit may start anew less often than they do. Its stretch began
# at most its own length before, give or take what months and zones differ by, and what pauses have added.
_LIMITS = """
    lengths (name, length) AS (VALUES
        ('WEEKLY', interval '7 days'), ('MONTHLY', interval '1 month'),
        ('QUARTERLY', interval '3 months'), ('HALF_YEARLY', interval '6 months'), ('ANNUAL', interval '1 year')
    ),
    paused AS (
        SELECT subscription_id, sum(coalesce(resumed_at, :now) - pause_start) AS length
        FROM subscription_pauses
        WHERE environment_id = :environment AND status = 'published' AND pause_start < :now
        GROUP BY subscription_id
    ),
    members AS (
        SELECT member.id, member.start_date, member.plan_id, measured.since
            - coalesce(paused.length, interval '0') - interval '4 days' AS since
        FROM measured
        JOIN subscriptions AS member ON member.environment_id = :environment
            AND (member.id = measured.subscription_id OR member.parent_subscription_id = measured.subscription_id)
        LEFT JOIN paused ON paused.subscription_id = member.id
    ),
    limits AS (
        SELECT CASE WHEN entitlement.usage_reset_period = 'NEVER' THEN member.start_date
            ELSE greatest(member.start_date, member.since - lengths.length) END AS since
        FROM members AS member
        JOIN entitlements AS entitlement ON entitlement.environment_id = :environment
            AND entitlement.status = 'published' AND entitlement.usage_limit IS NOT NULL
            AND entitlement.usage_reset_period NOT IN ('', 'DAILY') AND (
                entitlement.entity_id IN (member.plan_id, member.id) OR entitlement.entity_id IN (
                    SELECT addon_id FROM addon_associations
                    WHERE environment_id = :environment AND subscription_id = member.id
                )
            )
        LEFT JOIN lengths ON lengths.name = entitlement.usage_reset_period
    )
"""
_EARLIEST = text(
    f"""
    WITH RECURSIVE {_UNBILLED}, {_LIMITS}
    SELECT least((SELECT min(since) FROM measured), (SELECT min(since) FROM limits))
    """
)


async def find_earliest_needed(session: AsyncSession, now: datetime) -> datetime | None:
    """The earliest instant whose events an invoice to come may measure; None when there is nothing to bill.

    Longer commitments need none: what was used of one stands on the invoices before.
    """
    config = await read(session, InvoiceConfig)
    found: datetime | None = await session.scalar(
        _EARLIEST,
        {
            "environment": scope_of(session).environment_id,
            "now": now,
            "late": config.late_usage_policy == "next_invoice",
            "finished": [status.value for status in FINISHED],
            "reasons": [reason.value for reason in REASONS],
            "reach": REACH,
        },
    )
    return found
