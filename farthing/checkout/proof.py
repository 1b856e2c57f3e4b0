"""What is not as the rules of checkouts say, in the stored rows alone: the doctor names it.

Rule: docs/rules/checkout.md#what-always-holds
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference

MOST_NAMED = 1000
PATIENCE = timedelta(hours=1)
"""How long after its end a session may stay open before it is named: the duty comes every few minutes."""

_COMPLETED = """
    SELECT session.id, session.action, session.amount, payment.payment_status, invoice.invoice_status,
        CASE session.action
            WHEN 'create_subscription' THEN (
                SELECT subscription_status <> 'draft' AND status = 'published' FROM subscriptions
                WHERE id = session.entity_id)
            WHEN 'add_addon' THEN (
                SELECT addon_status <> 'pending' FROM addon_associations WHERE id = session.entity_id)
            WHEN 'wallet_topup' THEN (
                SELECT transaction_status = 'completed' FROM wallet_transactions WHERE id = session.entity_id)
            ELSE true
        END AS is_done
    FROM checkout_sessions AS session
    JOIN payments AS payment ON payment.id = session.payment_id
    JOIN invoices AS invoice ON invoice.id = session.invoice_id
    WHERE session.checkout_status = 'completed'
    AND session.id > :after ORDER BY session.id LIMIT :most
"""

_PAID = """
    SELECT session.id, session.checkout_status FROM checkout_sessions AS session
    JOIN payments AS payment ON payment.id = session.payment_id
    WHERE session.checkout_status IN ('initiated', 'pending')
    AND payment.payment_status NOT IN ('INITIATED', 'PENDING')
    ORDER BY session.id LIMIT :most
"""

_OVERDUE = """
    SELECT id, checkout_status FROM checkout_sessions
    WHERE checkout_status IN ('initiated', 'pending') AND expires_at < :before ORDER BY id LIMIT :most
"""

_HELD = """
    SELECT invoice.id, session.checkout_status, invoice.awaits_checkout
    FROM checkout_sessions AS session JOIN invoices AS invoice ON invoice.id = session.invoice_id
    WHERE session.holds_draft
    AND invoice.awaits_checkout <> (session.checkout_status IN ('initiated', 'pending'))
    ORDER BY invoice.id LIMIT :most
"""

_LEFT_WAITING = """
    SELECT session.entity_id, session.checkout_status FROM checkout_sessions AS session
    WHERE session.checkout_status IN ('failed', 'expired') AND (
        session.action = 'create_subscription' AND EXISTS (
            SELECT FROM subscriptions WHERE id = session.entity_id AND status = 'published'
            AND subscription_status = 'draft')
        OR session.action = 'add_addon' AND EXISTS (
            SELECT FROM addon_associations WHERE id = session.entity_id AND status = 'published'
            AND addon_status = 'pending')
        OR session.action = 'wallet_topup' AND EXISTS (
            SELECT FROM wallet_transactions WHERE id = session.entity_id AND transaction_status = 'pending')
    )
    ORDER BY session.id LIMIT :most
"""

_COUNTED = frozenset({"SUCCEEDED", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED"})


async def checkout_differences(session: AsyncSession, now: datetime) -> list[Difference]:
    """Completed sessions without their payment, their invoice or their effect; open ones that were paid or are long
    over; drafts that wait for an ended session, and what else nobody will pay for any more. At most 1,000 of each."""
    most = {"most": MOST_NAMED}
    found = await _completed(session)
    for checkout_id, status in await session.execute(text(_PAID), most):
        found.append(Difference(checkout_id, "its payment has ended", status, "an ended session"))
    for checkout_id, status in await session.execute(text(_OVERDUE), {**most, "before": now - PATIENCE}):
        found.append(Difference(checkout_id, "its time is over", status, "expired"))
    for invoice_id, status, waits in await session.execute(text(_HELD), most):
        waiting = "waits for its checkout" if waits else "waits for no checkout"
        found.append(Difference(invoice_id, f"its checkout is {status}", waiting, "the other"))
    for entity_id, status in await session.execute(text(_LEFT_WAITING), most):
        found.append(Difference(entity_id, f"its checkout is {status}", "waits to be paid", "withdrawn"))
    return found


async def _completed(session: AsyncSession) -> list[Difference]:
    found: list[Difference] = []
    after = ""
    while True:
        rows = (await session.execute(text(_COMPLETED), {"after": after, "most": MOST_NAMED})).all()
        for checkout_id, action, amount, payment_status, invoice_status, is_done in rows:
            if payment_status not in _COUNTED:
                found.append(Difference(checkout_id, "its payment", payment_status, f"{plain(amount)} received"))
            if invoice_status == "DRAFT":
                found.append(Difference(checkout_id, "its invoice", invoice_status, "issued"))
            if not is_done:
                found.append(Difference(checkout_id, f"its effect, {action}", "not there", "done"))
        if len(rows) < MOST_NAMED:
            return found
        after = rows[-1][0]
