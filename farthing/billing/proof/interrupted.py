"""What a crash or a race could leave behind in the books, named so that somebody can put it right."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference

PATIENCE = timedelta(hours=1)
"""How long a payment may wait for its process, and money for its return, before it is named."""
MOST_NAMED = 1_000

_TWINS = """
    SELECT id, first_id FROM (
        SELECT id, subscription_status, created_at,
               first_value(id) OVER earlier AS first_id, first_value(created_at) OVER earlier AS first_created_at
        FROM subscriptions
        WHERE request_token IS NOT NULL AND status = 'published' AND subscription_status <> 'cancelled'
        WINDOW earlier AS (PARTITION BY request_token ORDER BY created_at, id)
    ) AS made
    WHERE id <> first_id AND created_at < first_created_at + interval '24 hours'
    ORDER BY id LIMIT :most
"""

_KEPT_ON_VOIDED = """
    SELECT invoices.id, amount_paid + total_prepaid_credits_applied, invoices.refunded_amount + returned
    FROM invoices, LATERAL (
        SELECT coalesce(sum(payments.refunded_amount), 0) AS returned,
               coalesce(bool_or(success_recorded_at > :since AND EXISTS (
                   SELECT FROM refunds WHERE payment_id = payments.id AND refund_status IN ('PENDING', 'PROCESSING')
               )), false) AS on_its_way
        FROM payments WHERE destination_id = invoices.id
    ) AS sent_back
    WHERE invoice_status = 'VOIDED' AND invoices.status <> 'deleted' AND NOT on_its_way
    AND amount_paid + total_prepaid_credits_applied > invoices.refunded_amount + returned
    ORDER BY invoices.id LIMIT :most
"""

_WAITING = """
    SELECT id, payment_status FROM payments
    WHERE payment_status = 'PENDING' AND payment_method_type IN ('CARD', 'ACH', 'UPI') AND status = 'published'
    AND gateway_payment_id IS NULL AND processing_since IS NULL AND created_at < :before
    ORDER BY id LIMIT :most
"""


_NOBODY_TO_ASK = """
    SELECT id, payment_gateway FROM (
        SELECT id, payment_gateway FROM refunds WHERE refund_status = 'PROCESSING' AND sent_at < :before
        UNION ALL
        SELECT id, payment_gateway FROM payments WHERE payment_status = 'PROCESSING' AND processing_since < :before
    ) AS asked
    WHERE NOT EXISTS (
        SELECT FROM connections WHERE provider_type = asked.payment_gateway AND connections.status = 'published'
    )
    ORDER BY id LIMIT :most
"""


async def left_behind(session: AsyncSession, now: datetime, real_now: datetime) -> list[Difference]:
    """Two live subscriptions from one idempotency key, money kept on voided invoices, payments nobody processes, and
    payments and refunds that may have been made at a provider who is not connected any more.

    `now` is by the environment's clock, `real_now` by the real one. At most 1,000 of each kind.
    """
    most = {"most": MOST_NAMED}
    twins = await session.execute(text(_TWINS), most)
    found = [Difference(twin, "made by the same request as", first, "one subscription") for twin, first in twins]
    kept = await session.execute(text(_KEPT_ON_VOIDED), {**most, "since": real_now - PATIENCE})
    found += [
        Difference(invoice, "money on a voided invoice", f"{plain(funded)} received", f"{plain(returned)} returned")
        for invoice, funded, returned in kept
    ]
    waiting = await session.execute(text(_WAITING), {**most, "before": now - PATIENCE})
    found += [
        Difference(payment, "waits for a process that ended", status, "processed or failed")
        for payment, status in waiting
    ]
    unasked = await session.execute(text(_NOBODY_TO_ASK), {**most, "before": now - PATIENCE})
    found += [
        Difference(asked, "may have been made at a provider that is not connected", gateway, "connected again")
        for asked, gateway in unasked
    ]
    return found
