"""What tests of customers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from farthing.storage.record.outbox import SystemEvent
from tests.account import Account

Told = Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]


@pytest.fixture
def told(account: Account) -> Told:
    """What the outbox holds, oldest first: event name and payload."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        async with account.transaction(read_only=True) as session:
            events = await session.scalars(
                select(SystemEvent)
                .where(SystemEvent.payload.is_not(None))
                .order_by(SystemEvent.created_at, SystemEvent.id)
            )
            return [(event.event_name, event.payload or {}) for event in events]

    return read


async def new_customer(account: Account, external_id: str = "acme", **given: Any) -> dict[str, Any]:
    made: dict[str, Any] = await account.post("/customers", {"external_id": external_id, "name": "Acme", **given})
    return made
