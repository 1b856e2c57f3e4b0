"""The message log, and sending again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
from sqlalchemy import select, text

from farthing.core.clock import instant
from farthing.identity.tables import UserType
from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Receiver, answering


async def test_resending_reaches_one_endpoint_or_all(office: PostOffice, seller: Account, receiver: Receiver) -> None:
    first = await make_endpoint(seller, f"{receiver.url}/first")
    await make_endpoint(seller, f"{receiver.url}/second")
    await make_customer(seller, "one")
    await office.deliver()
    (message,) = (await seller.get("/webhooks/messages"))["items"]
    path = f"/webhooks/messages/{message['id']}/resend"
    assert await seller.post(path, {"endpoint_id": first["id"]}, expect=202) == {"queued": 1}
    await office.deliver()
    assert (len(receiver.at("/first")), len(receiver.at("/second"))) == (2, 1)
    assert await seller.post(path, expect=202) == {"queued": 2}
    await office.deliver()
    assert (len(receiver.at("/first")), len(receiver.at("/second"))) == (3, 2)
    assert len({(post.id, post.body) for post in receiver.received}) == 1
    shown = await seller.get(f"/webhooks/messages/{message['id']}")
    assert shown["payload"] == receiver.received[0].json
    assert {delivery["state"] for delivery in shown["deliveries"]} == {"delivered"}
    await seller.put(f"/webhooks/endpoints/{first['id']}", {"disabled": True})
    await seller.post(path, {"endpoint_id": first["id"]}, expect=400)
    await seller.post(path, {"endpoint_id": "whep_unknown"}, expect=404)
    await seller.post("/webhooks/messages/msg_unknown/resend", expect=404)


async def test_retrying_posts_at_once_to_whoever_has_not_taken_it(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    await make_endpoint(seller, f"{receiver.url}/well")
    await make_endpoint(seller, f"{receiver.url}/ill")
    receiver.answers["/ill"] = answering(500, 503, 200)
    await make_customer(seller, "one")
    await office.deliver()
    (message,) = (await seller.get("/webhooks/messages"))["items"]
    asked = {"system_event_id": message["system_event_id"]}
    answer = await seller.post("/webhooks/retry", asked, expect=202)
    assert answer == {
        "success": False,
        "message": "1 of 1 endpoints did not take it: the endpoint answered 503",
        "system_event_id": message["system_event_id"],
    }
    assert (await seller.post("/webhooks/retry", asked, expect=202))["success"]
    assert (len(receiver.at("/well")), len(receiver.at("/ill"))) == (1, 3)
    assert (await seller.post("/webhooks/retry", asked, expect=202))["message"] == "every endpoint has taken it already"
    attempts = (await seller.get(f"/webhooks/messages/{message['id']}/attempts"))["items"]
    assert [item["trigger"] for item in attempts if item.get("status_code") == 503] == ["by_hand"]
    await seller.post("/webhooks/retry", {"system_event_id": "sys_event_unknown"}, expect=404)


async def test_retrying_without_a_subscribed_endpoint_is_refused(seller: Account, receiver: Receiver) -> None:
    await make_endpoint(seller, f"{receiver.url}/hook", filter_types=["invoice.update"])
    await make_customer(seller, "one")
    async with seller.transaction() as session:
        event_id = await session.scalar(select(SystemEvent.id).where(SystemEvent.payload.is_not(None)))
    answer = await seller.post("/webhooks/retry", {"system_event_id": event_id}, expect=400)
    assert answer["code"] == "invalid_operation"


async def test_recovering_sends_what_failed_of_a_span_or_everything(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    now = office.database.clock.now()
    await make_customer(seller, "before the endpoint")
    endpoint = await make_endpoint(seller, f"{receiver.url}/hook")
    receiver.answers["/hook"] = answering(410, 200)
    await make_customer(seller, "failed")
    await office.deliver()
    path = f"/webhooks/endpoints/{endpoint['id']}"
    since = {"since": instant(now - timedelta(minutes=1))}
    await seller.post(f"{path}/recover", since, expect=400)
    await seller.put(path, {"disabled": False})
    assert await seller.post(
        f"{path}/recover", {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}, 202
    ) == {"queued": 0}
    assert await seller.post(f"{path}/recover", since, expect=202) == {"queued": 1}
    (again,) = (await seller.get("/webhooks/messages", state="pending"))["items"]
    assert [(each["failures"], each.get("reason")) for each in again["deliveries"]] == [(0, None)]
    await office.deliver()
    assert len(receiver.at("/hook")) == 2
    assert (await seller.post(f"{path}/recover", {**since, "all": True}, expect=202))["queued"] == 3  # with the notice
    await office.deliver()
    names = [post.json.get("customer", {}).get("external_id") for post in receiver.at("/hook")]
    assert "before the endpoint" in names
    assert names.count("failed") == 3
    for wrong in ({}, {"since": "soon"}, {"since": "2099-01-01T00:00:00Z"}, {**since, "until": "2000-01-01T00:00:00Z"}):
        await seller.post(f"{path}/recover", wrong, expect=400)


async def test_the_log_is_filtered_and_paged(office: PostOffice, seller: Account, receiver: Receiver) -> None:
    made = await make_endpoint(seller, f"{receiver.url}/hook")
    for number in range(5):
        await make_customer(seller, f"customer-{number}")
    await office.deliver()
    page = await seller.get("/webhooks/messages", limit=2, offset=2)
    assert page["pagination"] == {"total": 5, "limit": 2, "offset": 2}
    assert len(page["items"]) == 2
    entity = page["items"][0]["entity_id"]
    assert (await seller.get("/webhooks/messages", entity_id=entity))["pagination"]["total"] == 1
    assert (await seller.get("/webhooks/messages", endpoint_id=made["id"], state="delivered"))["pagination"][
        "total"
    ] == 5
    assert (await seller.get("/webhooks/messages", state="failed"))["items"] == []
    assert (await seller.get("/webhooks/messages", event_types="invoice.update"))["items"] == []
    await seller.get("/webhooks/messages", state="odd", expect=400)


async def test_the_catalogue_has_every_event_with_a_sample_of_its_schema(seller: Account) -> None:
    events = (await seller.get("/webhooks/events"))["events"]
    assert len(events) == len(EVENTS) > 57
    for event in events:
        assert event["sample"]["event_type"] == event["name"]
        msgspec.convert(event["sample"], EVENTS[event["name"]].payload)
    dashboard = await seller.get("/webhooks/dashboard")
    assert dashboard["url"].endswith("/webhooks")
    assert dashboard["svix_enabled"] is False


async def test_secrets_and_headers_are_not_shown_and_not_stored_in_clear(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    made = await make_endpoint(seller, f"{receiver.url}/hook", headers={"x-token": "very private"})
    assert made["headers"] == {"x-token": "********"}
    path = f"/webhooks/endpoints/{made['id']}"
    assert "secret" not in await seller.get(path)
    await seller.put(path, {"headers": {"x-token": "********", "x-more": "1"}})
    await make_customer(seller, "one")
    await office.deliver()
    assert receiver.received[0].headers["x-token"] == "very private"
    assert receiver.received[0].headers["x-more"] == "1"
    async with seller.transaction() as session:
        row = (await session.execute(text("SELECT e::text FROM webhook_endpoints e"))).scalar_one()
    assert "very private" not in row
    assert made["secret"] not in row
    reader = seller.client(await seller.new_key(["all_reader"], owner_type=UserType.USER))
    assert (await reader.get(path)).status_code == 200
    assert (await reader.get(f"{path}/secret")).status_code == 403
    await reader.aclose()
    for wrong in (
        {"webhook-id": "x"},
        {"svix-id": "x"},
        {"Host": "x"},
        {"content-length": "1"},
        {"a b": "x"},
        {"x": "é\n"},
    ):
        await seller.put(path, {"headers": wrong}, expect=400)
    await seller.put(path, {"filter_types": ["no.such.event"]}, expect=400)


async def test_an_environment_has_at_most_fifty_endpoints_also_when_they_are_made_at_once(seller: Account) -> None:
    bodies = [{"url": f"http://127.0.0.1:9/{number}"} for number in range(60)]
    answers = await asyncio.gather(*(seller.http.post("/webhooks/endpoints", json=body) for body in bodies))
    codes = [answer.status_code for answer in answers]
    assert codes.count(201) == 50
    assert set(codes) <= {201, 400, 429}
