"""What stands in the way of deleting a customer. The floors above, which own it, register how to ask for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum

from sqlalchemy.ext.asyncio import AsyncSession


class Obstacle(IntEnum):
    """What may forbid a deletion, in the order in which it is asked for.

    Rule: docs/rules/customers.md#deletion
    """

    SUBSCRIPTIONS = 1
    WALLETS = 2
    UNPAID_INVOICES = 3
    """Only for callers who insist on settled invoices."""


Guard = Callable[[AsyncSession, str], Awaitable[None]]
"""Given the id of a customer whose row is locked; raises InvalidOperation if its obstacle is there."""

guards: dict[Obstacle, Guard] = {}
"""One guard per obstacle; filled when the module that owns the obstacle is imported."""


def guard(obstacle: Obstacle) -> Callable[[Guard], Guard]:
    """Register the decorated function as the one guard of `obstacle`."""

    def register(function: Guard) -> Guard:
        if obstacle in guards:
            raise RuntimeError(f"{obstacle.name} already has a guard")
        guards[obstacle] = function
        return function

    return register


async def nothing_forbids(session: AsyncSession, customer_id: str, *, require_settled: bool) -> None:
    """Ask every guard in order; the first obstacle found raises InvalidOperation."""
    for obstacle in Obstacle:
        if obstacle is Obstacle.UNPAID_INVOICES and not require_settled:
            continue
        if obstacle in guards:
            await guards[obstacle](session, customer_id)
