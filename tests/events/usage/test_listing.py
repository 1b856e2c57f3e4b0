"""Pages of raw events, and what narrows them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.account import Account
from tests.events.counter import at, post, send, sent
from tests.events.usage.ranges import RANGE


async def test_pages_by_offset_cover_everything_once(account: Account) -> None:
    await send(account, [sent(f"10:{n // 3:02}", f"e{n:02}") for n in range(25)])
    seen: list[str] = []
    offset = 0
    while True:
        page = await post(account, "/events/query", {**RANGE, "page_size": 10, "offset": offset, "order": "asc"})
        seen += [event["id"] for event in page["events"]]
        assert page["total_count"] == 25
        offset = page["offset"]
        if not page["has_more"]:
            break
    assert seen == [f"e{n:02}" for n in range(25)]


async def test_pages_by_cursor_cover_everything_once_in_both_directions(account: Account) -> None:
    await send(account, [sent(f"10:{n // 3:02}", f"e::{n:02}") for n in range(25)])
    for key in ("iter_last_key", "iter_first_key"):
        body = {**RANGE, "page_size": 7}
        if key == "iter_first_key":
            body[key] = "0::"
        seen: list[str] = []
        while True:
            page = await post(account, "/events/query", body)
            names = [event["id"] for event in page["events"]]
            seen = seen + names if key == "iter_last_key" else names + seen
            if not page["has_more"]:
                break
            body[key] = page[key]
        assert seen == [f"e::{n:02}" for n in reversed(range(25))]


@pytest.mark.parametrize("key", ["iter_last_key", "iter_first_key"])
async def test_pages_oldest_first_walk_on_by_the_keys_of_the_answer(account: Account, key: str) -> None:
    await send(account, [sent(f"10:{n // 3:02}", f"e{n:02}") for n in range(25)])
    body = {**RANGE, "page_size": 7, "order": "asc"}
    seen: list[str] = []
    while True:
        page = await post(account, "/events/query", body)
        seen += [event["id"] for event in page["events"]]
        if not page["has_more"]:
            break
        body[key] = page[key]
    assert seen == [f"e{n:02}" for n in range(25)]
    # what comes later is found from where the walk ended
    await send(account, [sent("10:59", "later")])
    page = await post(account, "/events/query", {**body, key: page["iter_first_key"]})
    assert [event["id"] for event in page["events"]] == ["later"]


async def test_listings_narrow(account: Account) -> None:
    await send(
        account,
        [
            sent("10:00", "a", source="web", kind="x", n=5),
            sent("10:01", "b", customer="c2", kind="y", n=5.0),
            {**sent("10:02", "c", kind="x", n="5"), "event_name": "other"},
        ],
    )

    async def ids(**given: Any) -> list[str]:
        return [event["id"] for event in (await post(account, "/events/query", {**RANGE, **given}))["events"]]

    assert await ids(external_customer_id="c2") == ["b"]
    assert await ids(event_name="other") == ["c"]
    assert await ids(event_id="a") == ["a"]
    assert await ids(source="web") == ["a"]
    assert await ids(property_filters={"n": ["5"], "kind": ["x"], "ignored": []}) == ["c", "a"]
    assert await ids(sort="event_name", order="asc") == ["a", "b", "c"]
    assert await ids(end_time=at("10:01")) == ["b", "a"]
    listed = await account.get("/events", property_filters="kind:x,z;n:5", **RANGE)
    assert [event["id"] for event in listed["events"]] == ["c", "a"]
