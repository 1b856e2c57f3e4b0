"""The published client opens, reads, cancels and deletes checkouts, and reads those of other answers."""

from __future__ import annotations

from tests.checkout.turnstile import Turnstile
from tests.subscriptions.shop import fixed

PATIENCE_MS = 120_000
"""The client gives up after five seconds by itself, which a busy machine may need."""


async def test_a_checkout_from_beginning_to_end(turnstile: Turnstile) -> None:
    await turnstile.office.customer("acme")
    plan = await turnstile.office.plan(fixed("30"))
    checkouts = turnstile.account.sdk().checkout
    made = await checkouts.create_checkout_session_async(
        action="create_subscription",
        customer_external_id="acme",
        payment_provider="stripe",
        configuration={
            "create_subscription_params": {"plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        },
        success_url="https://shop.example.com/thanks",
        metadata={"order": "7"},
        timeout_ms=PATIENCE_MS,
    )
    assert (made.checkout_status, made.action, made.payment_provider) == ("pending", "create_subscription", "stripe")
    assert made.payment_action is not None
    page_id = made.payment_action.url.rsplit("/", 1)[-1]
    await turnstile.till.act(page_id, "succeed")
    read = await checkouts.get_checkout_session_async(id=made.id, timeout_ms=PATIENCE_MS)
    assert (read.checkout_status, read.terminal) == ("completed", True)
    assert read.entity_creation_result is not None
    assert read.entity_creation_result.status == "created"
    assert read.payment is not None
    assert read.payment.status == "SUCCEEDED"


async def test_cancelling_and_deleting(turnstile: Turnstile) -> None:
    checkouts = turnstile.account.sdk().checkout
    opened = await turnstile.open("invoice")
    cancelled = await checkouts.cancel_checkout_session_async(id=opened.session["id"], timeout_ms=PATIENCE_MS)
    assert cancelled.checkout_status == "failed"
    other = await turnstile.open("credits")
    await checkouts.delete_checkout_session_async(id=other.session["id"], timeout_ms=PATIENCE_MS)
    assert (await turnstile.read(other))["checkout_status"] == "failed"
