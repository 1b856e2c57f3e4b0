"""Money and credits that moved: payments, refunds, credits sold, used and expired.

Rule: docs/rules/reporting.md#money-and-credits
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.enums import PURCHASES
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, sums
from farthing.reporting.analytics.periods import Timeline

# money of a wallet came in when its credits were bought, so that a payment from one brings none
_PAYMENTS = """
    SELECT p.succeeded_at AS at, p.amount AS value, coalesce(i.customer_id, p.destination_id) AS customer_id,
        p.currency, p.payment_method_type
    FROM payments AS p
    LEFT JOIN invoices AS i ON p.destination_type = 'INVOICE' AND i.id = p.destination_id
        AND i.environment_id = :environment
    WHERE p.environment_id = :environment AND p.status = 'published' AND p.payment_method_type <> 'CREDITS'
        AND p.payment_status IN ('SUCCEEDED', 'OVERPAID', 'REFUNDED', 'PARTIALLY_REFUNDED')
        AND p.succeeded_at >= :since AND p.succeeded_at < :until
"""
_REFUNDS = """
    SELECT succeeded_at AS at, settled_amount AS value, customer_id, currency
    FROM refunds
    WHERE environment_id = :environment AND status = 'published' AND refund_status = 'SUCCEEDED'
        AND refund_destination <> 'WALLET' AND succeeded_at >= :since AND succeeded_at < :until
"""
# a wallet that is converted hands its lots to its successor: nothing was bought, used or lost by that
_LEDGER = """
    FROM wallet_transactions AS w
    WHERE w.environment_id = :environment AND w.transaction_status = 'completed'
        AND w.updated_at >= :since AND w.updated_at < :until AND NOT (
            right(coalesce(w.system_key, ''), 11) = '_conversion'
            OR right(coalesce(w.system_key, ''), 17) = '_conversion_debit'
        )
"""
_PURCHASES = ", ".join(sorted(f"'{reason.value}'" for reason in PURCHASES))


async def collected(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Payments that succeeded, but for those from wallets."""
    return await sums(session, question, _PAYMENTS, timeline)


async def refunded(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Refunds that arrived, but for those into wallets."""
    return await sums(session, question, _REFUNDS, timeline)


async def paying_customers(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """How many customers paid something."""
    return await sums(session, question, _PAYMENTS, timeline, value="count(DISTINCT f.customer_id)")


async def kept_money(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Payments less refunds."""
    payments = f"SELECT at, value, customer_id, currency FROM ({_PAYMENTS}) AS paid"
    back = f"SELECT at, -value, customer_id, currency FROM ({_REFUNDS}) AS back"
    return await sums(session, question, f"{payments} UNION ALL {back}", timeline)


async def credits_sold(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Credits that were bought, at their price, when they came into their wallet."""
    facts = f"""
        SELECT w.updated_at AS at, w.amount AS value, w.customer_id, w.currency {_LEDGER}
            AND w.type = 'credit' AND w.transaction_reason IN ({_PURCHASES})
    """
    return await sums(session, question, facts, timeline)


async def credits_used(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Debits for invoices, less the lots that voids gave back; money that a void put into a wallet is none of these."""
    facts = f"""
        SELECT w.updated_at AS at, CASE w.type WHEN 'debit' THEN w.amount ELSE -w.amount END AS value, w.customer_id,
            w.currency {_LEDGER} AND (
                w.type = 'debit' AND w.transaction_reason IN ('CREDIT_ADJUSTMENT', 'INVOICE_PAYMENT')
                OR w.type = 'credit' AND w.transaction_reason = 'INVOICE_VOID_REFUND'
                    AND w.parent_transaction_id IS NOT NULL
            )
    """
    return await sums(session, question, facts, timeline)


async def credits_expired(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Credits that expired, or ended with their wallet."""
    facts = f"""
        SELECT w.updated_at AS at, w.amount AS value, w.customer_id, w.currency {_LEDGER}
            AND w.type = 'debit' AND w.transaction_reason IN ('CREDIT_EXPIRED', 'WALLET_TERMINATION')
    """
    return await sums(session, question, facts, timeline)
