"""What is recorded has the shape that the catalogue says, whoever records it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from sqlalchemy import select

from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.api.tour.building import build
from tests.api.tour.calls import OverHttp
from tests.api.tour.changing import change, end


def unknown_fields(body: Any, kind: Any, path: str = "") -> list[str]:
    """The fields of a body that its shape does not have."""
    kinds = [part for part in (kind, *get_args(kind)) if isinstance(part, type) and issubclass(part, msgspec.Struct)]
    if isinstance(body, list):
        return [name for item in body for name in unknown_fields(item, kind, path)]
    if not isinstance(body, dict) or not kinds:
        return []
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kinds[0])}
    found = [f"{path}{name}" for name in body if name not in fields]
    for name, value in body.items():
        if name in fields:
            found += unknown_fields(value, fields[name], f"{path}{name}.")
    return found


async def test_every_event_of_a_tour_through_the_api_has_the_shape_of_the_catalogue(account: Account) -> None:
    go = OverHttp(account)
    made = await build(go)
    await change(go, made)
    await end(go, made)
    async with account.transaction() as session:
        events = (
            await session.scalars(
                select(SystemEvent).where(SystemEvent.payload.is_not(None)).order_by(SystemEvent.position)
            )
        ).all()
    names = {event.event_name for event in events}
    assert len(names) > 20
    assert names <= set(EVENTS)
    for event in events:
        payload = EVENTS[event.event_name].payload
        assert event.payload is not None
        assert event.payload["event_type"] == event.event_name
        msgspec.convert(event.payload, payload)
        assert unknown_fields(event.payload, payload) == [], event.event_name
    assert all(event.position is not None for event in events)
