"""What checkouts stand in the way of."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.tables import OPEN, CheckoutSession
from farthing.core.errors import InvalidOperation


async def require_no_open_checkout(session: AsyncSession, customer_id: str) -> None:
    """Raises InvalidOperation if somebody may still pay a checkout of the customer.

    Nothing can be done for an archived customer, so what was paid would only go back.
    """
    query = select(CheckoutSession.id).where(
        CheckoutSession.customer_id == customer_id, CheckoutSession.checkout_status.in_(OPEN)
    )
    checkout_id = await session.scalar(query.limit(1))
    if checkout_id is not None:
        details = {"customer_id": customer_id, "checkout_session_id": checkout_id}
        raise InvalidOperation("The customer has an open checkout; cancel it first", details)
