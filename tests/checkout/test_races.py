"""Payment, cancellation and expiry at the same moment: one of them wins, and the money is where it belongs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx
import pytest

from tests.checkout.turnstile import AFTER, CHARGED, GONE, KINDS, Opened, Turnstile

AT_ONCE = 32


async def _deliver(turnstile: Turnstile, opened: Opened) -> int:
    async with turnstile.visitor() as provider:
        return (await provider.post(f"/v1/test/gateway/sessions/{opened.page}/deliver", json={})).status_code


async def _cancel(turnstile: Turnstile, opened: Opened) -> int:
    path = f"/checkout/sessions/{opened.session['id']}/cancel"
    return (await turnstile.account.http.post(path)).status_code


async def _expire(turnstile: Turnstile) -> int:
    await turnstile.expire()
    return 200


@pytest.mark.parametrize("kind", KINDS)
async def test_success_cancellation_and_expiry_at_once(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind)
    await turnstile.act(opened, delivery="late")
    ways: list[Awaitable[int]] = []
    for number in range(AT_ONCE):
        way = number % 3
        ways.append(
            _deliver(turnstile, opened) if way == 0 else _cancel(turnstile, opened) if way == 1 else _expire(turnstile)
        )
    statuses = await asyncio.gather(*ways)
    assert set(statuses) <= {200, 400}, statuses
    await turnstile.act(opened, "deliver")  # a provider reports until it is answered
    session = await turnstile.read(opened)
    told = await turnstile.told(opened)
    assert session["terminal"], session
    assert len(told) == 2, told  # initiated, and one end
    captured, sent_back = await turnstile.captured(opened)
    assert captured == CHARGED[kind]
    if session["checkout_status"] == "completed":
        assert (sent_back, await turnstile.had(opened)) == ("0", AFTER[kind])
    elif kind == "invoice":  # it has the money whatever became of the session
        assert (sent_back, await turnstile.had(opened)) == ("0", "SUCCEEDED")
    else:
        assert sent_back == captured
        if kind != "one-off":
            assert await turnstile.had(opened) == GONE[kind]
    await turnstile.require_sound()


async def test_one_report_32_times_at_once_does_everything_once(turnstile: Turnstile) -> None:
    opened = await turnstile.open("credits")
    await turnstile.act(opened, delivery="late")
    assert set(await asyncio.gather(*(_deliver(turnstile, opened) for _ in range(AT_ONCE)))) == {200}
    assert await turnstile.had(opened) == "100"
    assert await turnstile.told(opened) == ["initiated", "completed"]
    await turnstile.require_sound()


async def test_32_requests_at_once_open_one_checkout_for_an_invoice(turnstile: Turnstile) -> None:
    invoice = await turnstile.till.invoice()
    customer = await turnstile.account.get(f"/customers/{invoice['customer_id']}")
    body = {
        "customer_external_id": customer["external_id"],
        "action": "pay_invoice",
        "payment_provider": "stripe",
        "configuration": {"pay_invoice_params": {"invoice_id": invoice["id"]}},
    }
    answers = await asyncio.gather(
        *(turnstile.account.http.post("/checkout/sessions", json=body) for _ in range(AT_ONCE))
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * (AT_ONCE - 1)
    await turnstile.require_sound()


async def test_a_change_and_a_paid_checkout_of_one_subscription_do_not_lose_each_other(turnstile: Turnstile) -> None:
    opened = await turnstile.open("seats")
    await turnstile.act(opened, delivery="late")
    found = await turnstile.account.get(f"/subscriptions/{opened.subject}")
    item = found["line_items"][0]["id"]
    params = {"line_items": [{"id": item, "quantity": "2"}]}
    body = {"type": "quantity_change", "quantity_change_params": params}

    async def change() -> httpx.Response:
        return await turnstile.account.http.post(f"/subscriptions/{opened.subject}/modify/execute", json=body)

    answer, _ = await asyncio.gather(change(), _deliver(turnstile, opened))
    session = await turnstile.read(opened)
    if session["checkout_status"] == "completed":
        # the seats that were paid for are there; the other change came after it, or was refused
        assert await turnstile.had(opened) == ("3" if answer.status_code >= 400 else "2")
    else:
        # what was paid for would have cost another amount: it was not done, and the money went back
        assert answer.status_code == 200
        assert await turnstile.captured(opened) == ("64", "64")
        assert session["entity_creation_result"]["status"] == "failed_already_exists"
    await turnstile.require_sound()
