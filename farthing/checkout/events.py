"""Recording what happened to a checkout, through the outbox."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.tables import CheckoutSession
from farthing.core.encoding.wire import as_wire
from farthing.payments.tables import Payment
from farthing.storage.record.outbox import record_event

_SNAPSHOT_FIELDS = (
    "id",
    "customer_id",
    "action",
    "checkout_status",
    "payment_provider",
    "failure_reason",
    "expires_at",
    "completed_at",
    "cancelled_at",
)


async def record_checkout_event(session: AsyncSession, name: str, checkout: CheckoutSession, payment: Payment) -> None:
    """Record `checkout.session.<name>` with the session as it is now."""
    await session.flush()
    snapshot = {
        field: as_wire(getattr(checkout, field)) for field in _SNAPSHOT_FIELDS if getattr(checkout, field) is not None
    }
    snapshot["checkout_invoice_id"], snapshot["checkout_payment_id"] = checkout.invoice_id, checkout.payment_id
    if payment.payment_url:
        snapshot["payment_action"] = {"type": "payment_link", "url": payment.payment_url}
    await record_event(
        session, f"checkout.session.{name}", "checkout_session", checkout.id, {"checkout_session": snapshot}
    )
