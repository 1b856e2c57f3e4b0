"""What stands in the way of deleting a customer."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.ports import CustomerPorts
from farthing.storage.postgres import ports_of


async def nothing_forbids(session: AsyncSession, customer_id: str, *, require_settled: bool) -> None:
    """Ask whoever may forbid it, in the order of the rule; the first that does raises InvalidOperation.

    Rule: docs/rules/customers.md#deletion
    """
    ports = ports_of(session, CustomerPorts)
    await ports.require_no_live_subscription(session, customer_id)
    await ports.require_no_open_wallet(session, customer_id)
    await ports.require_no_unapplied_money(session, customer_id)
    await ports.require_no_open_checkout(session, customer_id)
    if require_settled:
        await ports.require_invoices_settled(session, customer_id)
