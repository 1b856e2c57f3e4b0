"""Delivery: what is recorded arrives, signed, with the same bytes as often as it takes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from farthing.notifications.webhooks.delivery.schedule import RETRY_DELAYS
from farthing.notifications.webhooks.tables import DeliveryState, WebhookDelivery
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Receiver, answering


async def test_an_event_arrives_signed_under_both_families_of_headers(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    endpoint = await make_endpoint(seller, f"{receiver.url}/hook", headers={"authorization": "Bearer ours"})
    customer = await make_customer(seller, "acme")
    await office.deliver()
    (received,) = receiver.at("/hook")
    body = received.verify(endpoint["secret"])
    assert body["event_type"] == "customer.created"
    assert body["customer"]["id"] == customer["id"]
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == "Farthing-Webhooks/1"
    assert received.headers["authorization"] == "Bearer ours"
    assert received.id.startswith("msg_")
    assert {received.headers[f"svix-{name}"] for name in ("id",)} == {received.id}
    assert await office.deliver() == 0


async def test_a_failed_attempt_is_repeated_with_the_same_bytes_and_id_at_the_times_of_the_schedule(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    endpoint = await make_endpoint(seller, f"{receiver.url}/hook")
    receiver.answers["/hook"] = answering(500)
    await make_customer(seller, "acme")
    at = office.database.clock.now() + timedelta(seconds=1)
    for number, delay in enumerate(RETRY_DELAYS, 1):
        await office.deliver(at)
        assert len(receiver.at("/hook")) == number
        assert await office.deliver(at + delay - timedelta(milliseconds=1)) == 0
        async with seller.transaction() as session:
            delivery = (await session.scalars(select(WebhookDelivery))).one()
        assert at + delay <= delivery.next_attempt_at <= at + delay * 1.1
        assert delivery.failures == number
        at = delivery.next_attempt_at
    await office.deliver(at)
    assert await office.deliver(at + timedelta(days=4)) == 0
    received = receiver.at("/hook")
    assert len(received) == 8
    assert len({(post.id, post.body) for post in received}) == 1
    for post in received:
        post.verify(endpoint["secret"])
    async with seller.transaction() as session:
        assert (await session.scalars(select(WebhookDelivery.state))).one() is DeliveryState.FAILED
    message = (await seller.get("/webhooks/messages"))["items"][0]
    assert message["deliveries"][0]["reason"] == "the endpoint answered 500"
    attempts = await seller.get(f"/webhooks/messages/{message['id']}/attempts")
    assert attempts["pagination"]["total"] == 8
    assert {(item["status_code"], item["response_body"], item["success"]) for item in attempts["items"]} == {
        (500, "thanks", False)
    }


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_every_2xx_takes_the_message(
    office: PostOffice, seller: Account, receiver: Receiver, status: int
) -> None:
    await make_endpoint(seller, f"{receiver.url}/hook")
    receiver.answers["/hook"] = answering(status)
    await make_customer(seller, "acme")
    await office.deliver()
    assert await office.deliver(office.database.clock.now() + timedelta(days=1)) == 0
    assert len(receiver.at("/hook")) == 1
