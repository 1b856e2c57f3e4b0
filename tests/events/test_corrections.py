"""Voiding and amending events over HTTP: what counts afterwards, what stays readable, and what is refused."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from tests.account import Account
from tests.events.counter import each, new_meter, post, send, sent, usage
from tests.waiting import until

JANUARY = ("2024-01-01T00:00", "2024-02-01T00:00")


async def counted(account: Account, meter: str, **given: Any) -> Decimal:
    return Decimal((await usage(account, meter, *JANUARY, **given)).get("value", 0))


async def void(account: Account, *ids: str, expect: int = 200, reason: str = "sent twice") -> Any:
    return await post(account, "/events/void", {"event_ids": list(ids), "reason": reason}, expect)


def amended(event_id: str, **properties: Any) -> dict[str, Any]:
    event = sent("10:00", **properties)
    return {"id": event_id, **event}


async def amend(account: Account, *events: dict[str, Any], expect: int = 200, reason: str = "wrong unit") -> Any:
    return await post(account, "/events/amend", {"events": list(events), "reason": reason}, expect)


async def test_a_voided_event_counts_no_more_and_stays_readable(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(10, 20, 30))
    answer = await void(account, "e0", "e2")
    assert answer["events"] == [{"id": "e0", "outcome": "voided"}, {"id": "e2", "outcome": "voided"}]
    assert await counted(account, meter) == 20
    found = await account.get("/events/e0")
    assert (found["event"]["properties"], found["voided"]["reason"]) == ({"x": 10}, "sent twice")
    assert found["voided"]["changed_at"]
    assert "history" not in found
    assert (await account.get("/events/lookup", id="e1")).get("voided") is None
    listed = await account.get("/events", external_customer_id="c1", start_time="2024-01-01T00:00:00Z")
    assert [event["id"] for event in listed["events"]] == ["e1"]


async def test_a_voided_id_cannot_be_sent_again(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(10, 20))
    await void(account, "e0")
    refused = await account.post("/events", sent("10:00", "e0", x=10), expect=409)
    assert "void" in refused["message"].lower()
    assert "e0" in str(refused["details"])
    batch = {"events": [sent("10:05", "new", x=1), sent("10:00", "e0", x=5)]}
    await account.post("/events/bulk", batch, expect=409)
    await account.http.get("/events/new")
    assert await counted(account, meter) == 20
    assert (await void(account, "e0"))["events"] == [{"id": "e0", "outcome": "unchanged"}]


async def test_an_amended_event_counts_as_it_is_now(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(10, 20))
    event = amended("e0", x=Decimal("1.5").__str__())
    del event["timestamp"]
    answer = await amend(account, event)
    assert answer["events"] == [{"id": "e0", "outcome": "amended"}]
    assert await counted(account, meter) == Decimal("21.5")
    found = await account.get("/events/e0", include="history")
    assert found["event"]["timestamp"] == "2024-01-15T10:00:00Z"
    (version,) = found["history"]
    assert (version["change"], version["reason"], version["before"]["properties"]) == (
        "amended",
        "wrong unit",
        {"x": 10},
    )
    assert version["actor_type"] == "api_key"
    assert (await amend(account, event))["events"] == [{"id": "e0", "outcome": "unchanged"}]


async def test_an_amended_event_moves_to_another_customer_and_time(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(10, 20))
    moved = {"id": "e0", **sent("2024-02-10T10:00", customer="c2", x=10)}
    await amend(account, moved)
    assert await counted(account, meter, external_customer_id="c1") == 20
    later = await usage(account, meter, "2024-02-01T00:00", "2024-03-01T00:00", external_customer_id="c2")
    assert Decimal(later["value"]) == 10


async def test_an_amendment_brings_a_voided_event_back(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(10))
    await void(account, "e0")
    assert await counted(account, meter) == 0
    await amend(account, amended("e0", x=10))
    assert await counted(account, meter) == 10
    found = await account.get("/events/e0", include="history")
    assert [version["change"] for version in found["history"]] == ["voided", "amended"]
    assert found.get("voided") is None
    await account.post("/events", sent("10:00", "e0", x=7), expect=202)
    assert await counted(account, meter) == 7


async def test_a_deleted_event_keeps_its_history_and_frees_its_id(account: Account) -> None:
    await send(account, each(10))
    assert (await account.http.delete("/events/e0")).status_code == 204
    assert (await account.http.get("/events/e0")).status_code == 404
    found = await account.get("/events/e0", include="history")
    assert (found["history"][0]["change"], found["event"]["properties"]) == ("deleted", {"x": 10})
    await account.post("/events", sent("10:00", "e0", x=7), expect=202)
    assert (await account.http.delete("/events/e0")).status_code == 204
    await void(account, "e0", expect=404)


async def test_all_or_nothing(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(10, 20))
    answer = await void(account, "e0", "x1", "x2", expect=404)
    assert answer["details"]["event_ids"] == ["x1", "x2"]
    answer = await amend(account, amended("e1", x=1), amended("x3", x=1), expect=404)
    assert answer["details"]["event_ids"] == ["x3"]
    bad = [{**amended("e0", x=1), "external_customer_id": " "}, {**amended("e1"), "event_name": ""}]
    answer = await amend(account, *bad, expect=400)
    assert [problem["index"] for problem in answer["details"]["errors"]] == [0, 1]
    assert await counted(account, meter) == 30


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"event_ids": ["e0"]}, id="no reason"),
        pytest.param({"event_ids": ["e0"], "reason": "  "}, id="an empty reason"),
        pytest.param({"event_ids": ["e0"], "reason": "r" * 501}, id="a long reason"),
        pytest.param({"event_ids": [], "reason": "r"}, id="no event"),
        pytest.param({"event_ids": ["e0", "e0"], "reason": "r"}, id="an event twice"),
        pytest.param({"event_ids": [f"e{n}" for n in range(1001)], "reason": "r"}, id="too many"),
    ],
)
async def test_what_is_not_a_correction_is_refused(account: Account, body: dict[str, Any]) -> None:
    await post(account, "/events/void", body, 400)
    events = [amended(event_id) for event_id in body["event_ids"]]
    await post(account, "/events/amend", {**body, "events": events}, 400)


async def test_a_thousand_events_at_once(account: Account) -> None:
    meter = await new_meter(account)
    ids = [f"m{number}" for number in range(1000)]
    await send(account, [sent("10:00", event_id, x=2) for event_id in ids])
    await amend(account, *(amended(event_id, x=3) for event_id in ids))
    assert await counted(account, meter) == 3000
    await void(account, *ids)
    assert await counted(account, meter) == 0


async def test_voided_and_sent_at_once_an_event_is_void(account: Account) -> None:
    meter = await new_meter(account)
    ids = [f"r{number}" for number in range(12)]
    await send(account, [sent("10:00", event_id, x=1) for event_id in ids])
    http = account.http
    await asyncio.gather(
        *(http.post("/events/void", json={"event_ids": [event_id], "reason": "r"}) for event_id in ids),
        *(http.post("/events", json=sent("10:00", event_id, x=5)) for event_id in ids),
    )
    assert await counted(account, meter) == 0
    async with account.transaction(read_only=True) as session:
        assert await session.scalar(text("SELECT count(*) FROM events")) == 0


async def test_amended_and_voided_at_once_it_is_one_of_both(account: Account) -> None:
    meter = await new_meter(account)
    await send(account, each(1))
    http = account.http
    answers = await asyncio.gather(
        *(http.post("/events/void", json={"event_ids": ["e0"], "reason": "r"}) for _ in range(6)),
        *(
            http.post("/events/amend", json={"events": [amended("e0", x=number)], "reason": "r"})
            for number in range(2, 8)
        ),
    )
    assert {answer.status_code for answer in answers} == {200}
    found = await account.get("/events/e0", include="history")
    expected = 0 if found.get("voided") else found["event"]["properties"]["x"]
    assert await counted(account, meter) == expected


async def test_a_meter_that_is_made_later_counts_no_void_event(account: Account) -> None:
    await send(account, each(10, 20))
    await void(account, "e0")
    meter = await new_meter(account)

    async def is_counted() -> bool:
        return await counted(account, meter) == 20

    await until(is_counted)


async def test_corrections_are_in_the_activity_log(account: Account) -> None:
    await send(account, each(10, 20))
    await void(account, "e0")
    await amend(account, amended("e1", x=1))
    async with account.transaction(read_only=True) as session:
        actions = await session.execute(
            text("SELECT event_name, entity_id FROM system_events WHERE entity_type = 'event' ORDER BY id")
        )
        assert [tuple(action) for action in actions] == [("event.voided", "e0"), ("event.amended", "e1")]


async def test_of_an_event_that_was_changed_often_the_newest_changes_are_answered(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farthing.events.corrections.history.MOST_VERSIONS", 3)
    await send(account, each(0))
    for number in range(1, 6):
        await amend(account, amended("e0", x=number))
    history = (await account.get("/events/e0", include="history"))["history"]
    assert [version["before"]["properties"]["x"] for version in history] == [2, 3, 4]


async def test_events_of_others_can_neither_be_voided_nor_amended(account: Account, stranger: Account) -> None:
    """Nor those of another environment of one's own; and that there are such is not told."""
    meter = await new_meter(account)
    await send(account, each(10))
    other = await account.new_environment()
    elsewhere = account.client(await account.new_key(["super_admin"], environment_id=other))
    answers = []
    for client in (stranger.http, elsewhere):
        for path, body in (
            ("/events/void", {"event_ids": ["e0"]}),
            ("/events/amend", {"events": [amended("e0", x=1)]}),
        ):
            answers.append(await client.post(path, json={**body, "reason": "r"}))
    await elsewhere.aclose()
    assert [(answer.status_code, answer.json()["details"]) for answer in answers] == [
        (404, {"event_ids": ["e0"]}) for _ in answers
    ]
    assert await counted(account, meter) == 10
