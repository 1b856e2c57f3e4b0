"""What endpoints may rely on: order, nobody waits for anybody, nothing undone is told, and how one is disabled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.notifications.webhooks.delivery.client import WebhookClient
from farthing.notifications.webhooks.delivery.fan_out import fan_out
from farthing.notifications.webhooks.delivery.queue import Room, take_due
from farthing.notifications.webhooks.tables import DeliveryState, WebhookDelivery, WebhookEndpoint
from farthing.storage.record.outbox import SystemEvent, record_event
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Received, Receiver, answering, hang, receiving
from tests.waiting import PATIENCE_SECONDS, until


async def record(account: Account, count: int, entities: int | None = None) -> None:
    """Events of numbered entities, in one transaction."""
    async with account.transaction() as session:
        for number in range(count):
            entity = f"thing-{number % (entities or count)}"
            await record_event(session, "customer.updated", "customer", entity, {"number": number})


def numbers(received: list[Received]) -> list[int]:
    return [post.json["number"] for post in received]


async def test_nothing_is_told_of_a_change_that_is_undone_or_not_committed_yet(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    await make_endpoint(seller, f"{receiver.url}/hook")
    with suppress(ZeroDivisionError):
        async with seller.transaction() as session:
            await record_event(session, "customer.updated", "customer", "undone", {"number": 0})
            await session.execute(text("SELECT 1"))
            raise ZeroDivisionError
    async with seller.transaction() as session:
        await record_event(session, "customer.updated", "customer", "kept", {"number": 1})
        with suppress(ZeroDivisionError):
            async with session.begin_nested():
                await record_event(session, "customer.updated", "customer", "undone", {"number": 2})
                raise ZeroDivisionError
        await office.deliver()
        assert receiver.received == []
    await office.deliver()
    assert numbers(receiver.at("/hook")) == [1]


async def test_an_endpoint_gets_what_it_asked_for_and_only_from_then_on(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    await make_customer(seller, "before")
    await make_endpoint(seller, f"{receiver.url}/all")
    await make_endpoint(seller, f"{receiver.url}/some", filter_types=["customer.deleted"])
    disabled = await make_endpoint(seller, f"{receiver.url}/none", disabled=True)
    customer = await make_customer(seller, "after")
    await seller.delete(f"/customers/{customer['id']}")
    await office.deliver()
    assert sorted(post.json["event_type"] for post in receiver.at("/all")) == ["customer.created", "customer.deleted"]
    assert [post.json["event_type"] for post in receiver.at("/some")] == ["customer.deleted"]
    assert receiver.at("/none") == []
    await seller.put(f"/webhooks/endpoints/{disabled['id']}", {"disabled": False})
    await office.deliver()
    assert receiver.at("/none") == []
    await make_customer(seller, "later")
    await office.deliver()
    assert [post.json["customer"]["external_id"] for post in receiver.at("/none")] == ["later"]


async def test_another_tenant_and_another_environment_hear_nothing(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    await make_endpoint(seller, f"{receiver.url}/hook")
    other = seller.client(await seller.new_key(["super_admin"], environment_id=await seller.new_environment()))
    await other.post("/customers", json={"external_id": "elsewhere"})
    async with Account(office.base_url, office.settings, office.database) as stranger:
        await make_customer(stranger, "foreign")
    await other.aclose()
    await office.deliver()
    assert receiver.received == []


async def test_first_attempts_about_an_entity_keep_its_order_while_others_go_ahead(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    """One entity's first message hangs for a while; its later ones wait for that attempt, other entities' do not."""
    release = asyncio.Event()
    first: list[int] = []

    async def slow_first(received: Received) -> web.StreamResponse:
        number = received.json["number"]
        first.append(number)
        if number == 0:
            await release.wait()
            return web.Response(status=500)
        return web.Response()

    receiver.answers["/hook"] = slow_first
    await make_endpoint(seller, f"{receiver.url}/hook")
    await record(seller, 10, entities=2)
    async with office.delivering():
        await until(lambda: _has(first, {0, 1, 3, 5, 7, 9}))
        assert set(first) == {0, 1, 3, 5, 7, 9}
        release.set()
        await receiver.wait_for(10)
    assert [number for number in first if number % 2] == [1, 3, 5, 7, 9]
    assert [number for number in first if number % 2 == 0][:5] == [0, 2, 4, 6, 8]


async def _has(values: list[int], wanted: set[int]) -> bool:
    return wanted <= set(values)


async def test_an_ordered_endpoint_gets_nothing_of_an_entity_past_what_it_has_not_taken(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    await make_endpoint(seller, f"{receiver.url}/ordered", ordered=True)
    await make_endpoint(seller, f"{receiver.url}/plain")
    for path in ("/ordered", "/plain"):
        receiver.answers[path] = answering(500, 500, 200)
    await record(seller, 4, entities=1)
    now = office.database.clock.now() + timedelta(seconds=1)
    await office.deliver(now)
    assert numbers(receiver.at("/ordered")) == [0]
    assert numbers(receiver.at("/plain")) == [0, 1, 2, 3]
    await office.deliver(now + timedelta(seconds=10))
    assert numbers(receiver.at("/ordered")) == [0, 0]
    await office.deliver(now + timedelta(minutes=10))
    assert numbers(receiver.at("/ordered")) == [0, 0, 0, 1, 2, 3]


async def test_dead_and_hanging_endpoints_delay_nobody_else(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    """Two of ten hang, and nobody gives them up: the eight are done all the same."""
    events, well, hanging = 100, 8, 2
    for number in range(well):
        await make_endpoint(seller, f"{receiver.url}/well/{number}")
    for number in range(hanging):
        receiver.answers[f"/hang/{number}"] = hang
        await make_endpoint(seller, f"{receiver.url}/hang/{number}")
    await record(seller, events)

    async def done() -> bool:
        return all(len(receiver.at(f"/well/{number}")) >= events for number in range(well))

    async with office.delivering(seconds=10 * PATIENCE_SECONDS):
        await until(done, 2 * PATIENCE_SECONDS)
    assert all(receiver.at(f"/hang/{number}") for number in range(hanging))


async def test_an_endpoint_that_is_gone_is_disabled_at_once_and_another_one_hears_of_it(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    gone = await make_endpoint(seller, f"{receiver.url}/gone", filter_types=["customer.created"])
    await make_endpoint(seller, f"{receiver.url}/other", filter_types=["webhook_endpoint.disabled"])
    receiver.answers["/gone"] = answering(410)
    await make_customer(seller, "one")
    await office.deliver()
    endpoint = await seller.get(f"/webhooks/endpoints/{gone['id']}")
    assert (endpoint["disabled"], endpoint["disabled_reason"]) == (True, "gone")
    await make_customer(seller, "two")
    await office.deliver(office.database.clock.now() + timedelta(days=1))
    assert len(receiver.at("/gone")) == 1
    (notice,) = receiver.at("/other")
    told = {"id": gone["id"], "url": gone["url"], "disabled_reason": "gone"}
    assert notice.json == {"event_type": "webhook_endpoint.disabled", "webhook_endpoint": told}


async def test_an_endpoint_that_fails_for_five_days_is_disabled_and_one_success_starts_them_anew(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    made = await make_endpoint(seller, f"{receiver.url}/hook")
    receiver.answers["/hook"] = answering(500, 200, 500)
    now = office.database.clock.now() + timedelta(seconds=1)
    await make_customer(seller, "one")
    await office.deliver(now)
    assert "failing_since" in await seller.get(f"/webhooks/endpoints/{made['id']}")
    await office.deliver(now + timedelta(days=6))
    assert "failing_since" not in await seller.get(f"/webhooks/endpoints/{made['id']}")
    await make_customer(seller, "two")
    now += timedelta(days=7)
    await office.deliver(now)
    await make_customer(seller, "three")
    for days in (1, 4.9):
        await office.deliver(now + timedelta(days=days))
        assert not (await seller.get(f"/webhooks/endpoints/{made['id']}"))["disabled"]
    await office.deliver(now + timedelta(days=5.5))
    endpoint = await seller.get(f"/webhooks/endpoints/{made['id']}")
    assert (endpoint["disabled"], endpoint["disabled_reason"]) == (True, "failing")
    async with seller.transaction() as session:
        states = set(await session.scalars(select(WebhookDelivery.state)))
    assert states == {DeliveryState.DELIVERED, DeliveryState.FAILED}


async def test_after_a_rotation_both_secrets_verify_for_a_day(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    made = await make_endpoint(seller, f"{receiver.url}/hook")
    rotated = await seller.post(f"/webhooks/endpoints/{made['id']}/secret/rotate", expect=200)
    assert rotated["secret"] != made["secret"]
    assert (await seller.get(f"/webhooks/endpoints/{made['id']}/secret")) == rotated
    await make_customer(seller, "one")
    await office.deliver()
    (received,) = receiver.at("/hook")
    for secret in (made["secret"], rotated["secret"]):
        received.verify(secret)
    async with seller.transaction() as session:
        past = office.database.clock.now() - timedelta(seconds=1)
        await session.execute(update(WebhookEndpoint).values(previous_secret_until=past))
    await make_customer(seller, "two")
    await office.deliver()
    last = receiver.at("/hook")[-1]
    last.verify(rotated["secret"])
    assert " " not in last.headers["webhook-signature"]


async def test_a_rate_limit_spreads_attempts(office: PostOffice, seller: Account, receiver: Receiver) -> None:
    await make_endpoint(seller, f"{receiver.url}/hook", rate_limit=10)
    await record(seller, 25)
    async with office.delivering():
        received = await receiver.wait_for(25)
    assert received[24].at - received[0].at > 1.8
    for post in received:
        assert len([other for other in received if post.at <= other.at < post.at + 0.9]) <= 11


async def test_a_delivery_that_was_taken_by_a_process_that_died_is_made_when_its_lease_has_ended(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    made = await make_endpoint(seller, f"{receiver.url}/hook")
    await make_customer(seller, "one")
    receiver.answers["/hook"] = answering(500, 200)
    now = office.database.clock.now() + timedelta(seconds=1)
    await office.deliver(now)  # fans out; the first attempt fails
    async with office.database.transaction(seller.scope) as session:
        taken = await take_due(session, [Room(made["id"], False, 5)], now + timedelta(seconds=6))
        assert len(taken) == 1
    assert await office.deliver(now + timedelta(seconds=20)) == 0
    await office.deliver(now + timedelta(seconds=40))
    assert len(receiver.at("/hook")) == 2


async def test_what_is_taken_costs_the_same_however_much_waits(office: PostOffice, seller: Account) -> None:
    """A burst comes before the database knows that there is one: its statistics say that nothing waits."""
    endpoints = [await make_endpoint(seller, f"https://example.com/{number}") for number in range(2)]
    await record(seller, 2000)
    now = office.database.clock.now()
    for _ in range(4):
        async with office.database.transaction(seller.scope) as session:
            await fan_out(session, now)
    rooms = [Room(endpoint["id"], False, 50) for endpoint in endpoints]
    async with office.database.transaction(seller.scope) as session:
        before = await pages_read(session)
        taken = await take_due(session, rooms, now + timedelta(seconds=1))
        pages = await pages_read(session) - before
    assert len(taken) == 100
    assert [delivery.event_id for delivery in taken[:2]] == [taken[0].event_id] * 2, "in their order"
    assert pages / len(taken) < 60


async def pages_read(session: AsyncSession) -> int:
    """How many pages of deliveries and events, and of their indexes, the session's transaction has looked at."""
    query = text(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::int FROM pg_class WHERE oid IN ("
        "SELECT unnest(ARRAY[i.indrelid, i.indexrelid]) FROM pg_index AS i "
        "WHERE i.indrelid IN ('webhook_deliveries'::regclass, 'system_events'::regclass))"
    )
    return int((await session.execute(query)).scalar_one())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"\0\xff" * 50_000,
    ],
    ids=["ends early", "is not what it says", "is long and binary"],
)
async def test_the_status_decides_whatever_the_body_of_the_answer_is(
    office: PostOffice, seller: Account, answer: bytes
) -> None:
    outcome = await _answered(office, seller, answer)
    assert outcome["success"], outcome
    assert len(outcome.get("response_body", "").encode()) <= 3 * 8192


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 99999,
    ],
    ids=["hangs up", "no HTTP", "no status", "no known status", "endless header"],
)
async def test_an_answer_that_is_no_success_is_a_failure_in_plain_words(
    office: PostOffice, seller: Account, answer: bytes
) -> None:
    outcome = await _answered(office, seller, answer)
    assert not outcome["success"]
    assert outcome["error"]
    assert not any(word in outcome["error"].lower() for word in ("traceback", "aiohttp", "errno", "object at"))


async def _answered(office: PostOffice, seller: Account, answer: bytes) -> Any:
    """What a test message makes of an answer of these bytes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = await make_endpoint(seller, f"http://127.0.0.1:{port}/hook")
    outcome = await seller.post(f"/webhooks/endpoints/{made['id']}/test", {}, expect=200)
    server.close()
    return outcome


async def test_nobody_listens(seller: Account) -> None:
    made = await make_endpoint(seller, "http://127.0.0.1:9/hook")
    outcome = await seller.post(f"/webhooks/endpoints/{made['id']}/test", {}, expect=200)
    assert outcome == {
        "message_id": outcome["message_id"],
        "success": False,
        "duration_ms": outcome["duration_ms"],
        "error": "no connection could be made",
    }


async def test_an_endpoint_that_drips_is_given_up_in_time() -> None:
    async def drip(request: Received) -> web.StreamResponse:
        del request
        await asyncio.sleep(600)
        raise AssertionError

    async with receiving() as receiver:
        receiver.answers["/hook"] = drip
        client = WebhookClient(allow_private=True, total_seconds=0.3)
        outcome = await client.post(f"{receiver.url}/hook", b"{}", {})
        await client.close()
    assert outcome.error == "no answer within 0.3 seconds"


async def test_a_host_that_takes_connections_and_says_nothing_in_them_is_given_up_in_its_own_time() -> None:
    """TLS needs an answer before anything can be sent."""
    held = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = WebhookClient(allow_private=True, connect_seconds=0.3)
    outcome = await client.post(f"https://127.0.0.1:{port}/hook", b"{}", {})
    await client.close()
    held.set()
    server.close()
    assert outcome.error == "no connection within 0.3 seconds"


async def test_the_body_is_that_of_the_moment_of_the_event(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    await make_endpoint(seller, f"{receiver.url}/hook", filter_types=["customer.created", "customer.deleted"])
    receiver.answers["/hook"] = answering(500, 200)
    customer = await make_customer(seller, "one")
    now = office.database.clock.now() + timedelta(seconds=1)
    await office.deliver(now)
    await seller.put(f"/customers/{customer['id']}", {"name": "Renamed"})
    await seller.delete(f"/customers/{customer['id']}")
    await office.deliver(now + timedelta(hours=1))
    created = [post for post in receiver.at("/hook") if post.json["event_type"] == "customer.created"]
    assert len(created) == 2
    assert created[0].body == created[1].body
    assert created[1].json["customer"]["name"] == "one"
    assert any(post.json["event_type"] == "customer.deleted" for post in receiver.at("/hook"))


async def test_events_of_a_test_clock_are_delivered_in_real_time(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    made = await make_endpoint(seller, f"{receiver.url}/hook")
    frozen = office.database.clock.now() + timedelta(days=2_000)
    await seller.freeze(frozen)
    await make_customer(seller, "one")
    async with office.delivering():
        (received,) = await receiver.wait_for(1)
    received.verify(made["secret"])
    async with seller.transaction() as session:
        event = (await session.scalars(select(SystemEvent).where(SystemEvent.payload.is_not(None)))).one()
    assert event.created_at >= frozen


async def test_a_worker_that_is_asked_to_end_gives_back_what_it_cannot_finish(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    receiver.answers["/hook"] = hang
    await make_endpoint(seller, f"{receiver.url}/hook")
    await record(seller, 5)
    async with office.delivering():
        await receiver.wait_for(5)
    del receiver.answers["/hook"]
    await office.deliver()
    assert numbers(receiver.at("/hook")[5:]) == [0, 1, 2, 3, 4]
