"""Every move of a checkout, for everything that one can be for, with the books exact after each."""

from __future__ import annotations

import pytest

from tests.checkout.turnstile import AFTER, BEFORE, CHARGED, GONE, KINDS, Turnstile

pytestmark = pytest.mark.parametrize("kind", KINDS)


async def test_nothing_happens_before_it_is_paid_and_all_of_it_then(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind, success_url="https://shop.example.com/thanks", metadata={"order": "7"})
    session = opened.session
    assert (session["checkout_status"], session["terminal"], session["stale"]) == ("pending", False, False)
    assert (session["amount"], session["currency"], session["metadata"]) == (CHARGED[kind], "usd", {"order": "7"})
    assert session["payment_action"]["type"] == "payment_link"
    assert await turnstile.had(opened) == BEFORE[kind]
    invoice = await turnstile.invoice(opened)
    assert (invoice["amount_remaining"], invoice["invoice_status"]) == (
        CHARGED[kind],
        "FINALIZED" if kind == "invoice" else "DRAFT",
    )
    await turnstile.require_sound()

    await turnstile.act(opened)
    session = await turnstile.read(opened)
    assert (session["checkout_status"], session["terminal"]) == ("completed", True)
    assert session["entity_creation_result"]["status"] == "created"
    assert session["payment"]["status"] == "SUCCEEDED"
    assert await turnstile.had(opened) == AFTER[kind]
    invoice = await turnstile.invoice(opened)
    assert (invoice["invoice_status"], invoice["payment_status"]) == ("FINALIZED", "SUCCEEDED")
    assert (invoice["amount_paid"], invoice["amount_remaining"]) == (CHARGED[kind], "0")
    assert await turnstile.told(opened) == ["initiated", "completed"]
    assert await turnstile.captured(opened) == (CHARGED[kind], "0")
    await turnstile.require_sound()


@pytest.mark.parametrize("how", ["cancelled", "deleted", "expired", "closed by the provider"])
async def test_nothing_stays_of_what_nobody_paid(turnstile: Turnstile, kind: str, how: str) -> None:
    opened = await turnstile.open(kind)
    match how:
        case "cancelled":
            assert (await turnstile.cancel(opened))["checkout_status"] == "failed"
            assert (await turnstile.cancel(opened))["cancelled_at"] is not None  # unchanged the second time
        case "deleted":
            answer = await turnstile.account.http.delete(f"/checkout/sessions/{opened.session['id']}")
            assert answer.status_code == 204
        case "expired":
            assert await turnstile.expire(minutes=29) == 0
            assert await turnstile.expire() == 1
            assert await turnstile.expire() == 0
        case _:
            await turnstile.act(opened, "expire")
    expired = how in {"expired", "closed by the provider"}
    session = await turnstile.read(opened)
    assert (session["checkout_status"], session["terminal"]) == ("expired" if expired else "failed", True)
    assert (session.get("cancelled_at") is not None) is not expired
    assert session["payment"]["status"] == "VOIDED"
    assert await turnstile.had(opened) == GONE[kind]
    assert (await turnstile.invoice(opened))["invoice_status"] == ("FINALIZED" if kind == "invoice" else "VOIDED")
    assert await turnstile.told(opened) == ["initiated", "expired" if expired else "failed"]
    if not expired:
        await turnstile.act(opened, "succeed", 400)  # the page is closed
    await turnstile.require_sound()


async def test_a_decline_is_a_try_and_no_end(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind)
    await turnstile.act(opened, "fail")
    assert (await turnstile.read(opened))["checkout_status"] == "pending"
    payment = await turnstile.payment(opened)
    assert [attempt["payment_status"] for attempt in payment["attempts"]] == ["FAILED"]
    await turnstile.act(opened)
    assert await turnstile.had(opened) == AFTER[kind]
    await turnstile.require_sound()


async def test_money_that_comes_too_late_is_in_the_books(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind)
    await turnstile.act(opened, delivery="late")
    await turnstile.expire()
    await turnstile.act(opened, "deliver")
    session = await turnstile.read(opened)
    assert session["checkout_status"] == "expired"
    payment = await turnstile.payment(opened)
    if kind == "invoice":  # it asks for the money all the same
        assert (payment["payment_status"], await turnstile.had(opened)) == ("SUCCEEDED", "SUCCEEDED")
    else:
        assert payment["payment_status"] == "REFUNDED"
        assert await turnstile.captured(opened) == (CHARGED[kind], CHARGED[kind])
        assert (await turnstile.invoice(opened))["payment_status"] == "REFUNDED"
        if kind != "one-off":
            assert await turnstile.had(opened) == GONE[kind]
    await turnstile.require_sound()


@pytest.mark.parametrize("delivery", ["twice", "reversed"])
async def test_webhooks_may_come_twice_and_in_any_order(turnstile: Turnstile, kind: str, delivery: str) -> None:
    opened = await turnstile.open(kind)
    await turnstile.act(opened, "fail", delivery="late")
    await turnstile.act(opened, "succeed", delivery="late")
    await turnstile.act(opened, "deliver", delivery=delivery)
    await turnstile.act(opened, "deliver", delivery=delivery)
    assert await turnstile.had(opened) == AFTER[kind]
    assert await turnstile.told(opened) == ["initiated", "completed"]
    assert (await turnstile.invoice(opened))["amount_paid"] == CHARGED[kind]
    await turnstile.require_sound()
