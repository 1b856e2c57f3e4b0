"""Checkouts of payers who are billed in another currency than they are charged in."""

from __future__ import annotations

import pytest

from tests.checkout.turnstile import BEFORE, Turnstile

RATE = {"from_currency": "usd", "to_currency": "eur", "scope": "tenant"}


@pytest.mark.parametrize("kind", ["subscription", "addon", "seats", "plan"])
async def test_what_would_be_converted_is_refused_before_anybody_pays(turnstile: Turnstile, kind: str) -> None:
    await turnstile.account.post("/forex", {**RATE, "rate": "0.5"})
    turnstile.payer = {"billing_currency": "eur"}
    refused = await turnstile.open(kind, 400)
    assert "converted" in refused.session["message"]
    assert (await turnstile.account.get("/checkout/sessions"))["items"] == []
    await turnstile.require_sound()


async def test_a_currency_that_changed_meanwhile_sends_the_money_back(turnstile: Turnstile) -> None:
    await turnstile.account.post("/forex", {**RATE, "rate": "1"})
    opened = await turnstile.open("seats")
    await turnstile.account.put(f"/customers/{opened.session['customer_id']}", {"billing_currency": "eur"})
    await turnstile.act(opened)
    session = await turnstile.read(opened)
    assert session["entity_creation_result"]["status"] == "failed_already_exists"
    assert await turnstile.had(opened) == BEFORE["seats"]
    assert await turnstile.captured(opened) == ("64", "64")
    await turnstile.require_sound()
