"""Pages of Stripe's: links, checkouts, saved methods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.invoices.desk import fixed
from tests.payments.stripe.stripe_till import StripeTill


async def _paid(till: StripeTill, page_id: str) -> dict[str, Any]:
    """The payer pays on a page, and Stripe says so; the intent."""
    intent = till.books.pay_page(page_id)
    await till.hear("checkout.session.completed", till.books.rows[page_id])
    return intent


async def test_a_link_is_a_page_that_settles_the_invoice_when_it_is_paid(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice, success_url="https://shop.example/done")
    page = stripe_till.books.of("checkout.session")[0]
    assert (payment["payment_status"], payment["payment_url"]) == ("PENDING", page["url"])
    assert page["success_url"] == "https://shop.example/done"
    assert page["line_items"]["0"]["price_data"]["product_data"]["name"] == f"Invoice {invoice['invoice_number']}"
    intent = await _paid(stripe_till, page["id"])
    payment = await stripe_till.read(payment)
    assert (payment["payment_status"], payment["gateway_payment_id"]) == ("SUCCEEDED", intent["id"])
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_both_events_of_one_success_count_once_in_either_order(stripe_till: StripeTill) -> None:
    for intent_first in (True, False):
        invoice = await stripe_till.invoice()
        payment = await stripe_till.link(invoice)
        page = stripe_till.books.rows[payment["gateway_tracking_id"]]
        intent = stripe_till.books.pay_page(page["id"])
        heard = [("payment_intent.succeeded", intent), ("checkout.session.completed", page)]
        for kind, subject in heard if intent_first else heard[::-1]:
            await stripe_till.hear(kind, subject)
        assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")
        assert (await stripe_till.events(payment["id"])).count("payment.success") == 1


async def test_a_refusal_on_a_page_is_one_try(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    page = stripe_till.books.rows[payment["gateway_tracking_id"]]
    error = {"code": "card_declined", "decline_code": "insufficient_funds", "message": "Not enough money."}
    metadata = page["payment_intent_data"]["metadata"]
    declined = {"id": "pi_try", "status": "requires_payment_method", "amount": 10000, "currency": "usd"}
    await stripe_till.hear(
        "payment_intent.payment_failed", {**declined, "metadata": metadata, "last_payment_error": error}
    )
    payment = await stripe_till.read(payment)
    assert (payment["payment_status"], payment["error_message"]) == ("PENDING", "Not enough money.")
    await _paid(stripe_till, page["id"])
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_a_bank_debit_that_was_promised_on_a_page_may_still_fail(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    page = stripe_till.books.rows[payment["gateway_tracking_id"]]
    page.update(status="complete", payment_status="unpaid", payment_intent="pi_debit")
    await stripe_till.hear("checkout.session.completed", page)
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"
    await stripe_till.hear("checkout.session.async_payment_failed", page)
    assert (await stripe_till.read(payment))["payment_status"] == "FAILED"


async def test_a_page_that_closes_ends_its_payment(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    await stripe_till.hear("checkout.session.expired", stripe_till.books.rows[payment["gateway_tracking_id"]])
    assert (await stripe_till.read(payment))["payment_status"] == "FAILED"
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")


async def test_a_link_whose_answer_was_lost_leads_to_the_same_page(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    stripe_till.books.faults += [("/checkout/sessions", "unanswered")] * 3
    answer = await stripe_till.pay(invoice, "100", 400, payment_method_type="PAYMENT_LINK", payment_gateway="stripe")
    payment = await stripe_till.account.post(f"/payments/{answer['details']['payment_id']}/process", expect=200)
    assert payment["payment_status"] == "PENDING"
    assert len(stripe_till.books.of("checkout.session")) == 1


async def test_voiding_an_invoice_closes_its_page(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    await stripe_till.link(invoice)
    await stripe_till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await stripe_till.reconcile()
    assert stripe_till.books.of("checkout.session")[0]["status"] == "expired"


async def test_a_page_that_a_refused_key_could_not_close_is_closed_with_the_next(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    await stripe_till.link(invoice)
    await stripe_till.use_key("sk_test_revoked_abcdefgh")
    await stripe_till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await stripe_till.reconcile()
    await stripe_till.use_key(stripe_till.secret_key)
    await stripe_till.reconcile()
    assert stripe_till.books.of("checkout.session")[0]["status"] == "expired"


async def test_money_paid_on_a_page_of_a_voided_invoice_goes_back(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    page_id = payment["gateway_tracking_id"]
    intent = stripe_till.books.pay_page(page_id)
    await stripe_till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await stripe_till.hear("checkout.session.completed", stripe_till.books.rows[page_id])
    refunds = stripe_till.books.of("refund")
    assert [(row["payment_intent"], row["amount"]) for row in refunds] == [(intent["id"], 10000)]
    assert (await stripe_till.read(payment))["payment_status"] == "REFUNDED"


async def test_the_payer_may_give_a_tax_number(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    await stripe_till.link(invoice, gateway_options={"stripe": {"tax_id_collection_enabled": True}})
    assert stripe_till.books.of("checkout.session")[0]["tax_id_collection"] == {"enabled": "true"}


async def test_a_checkout_is_paid_at_stripe(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice("30")
    customer = await stripe_till.account.get(f"/customers/{invoice['customer_id']}")
    body = {
        "customer_external_id": customer["external_id"],
        "action": "pay_invoice",
        "configuration": {"pay_invoice_params": {"invoice_id": invoice["id"]}},
        "payment_provider": "stripe",
    }
    checkout = await stripe_till.account.post("/checkout/sessions", body)
    page = stripe_till.books.of("checkout.session")[0]
    assert checkout["payment_action"]["url"] == page["url"]
    await _paid(stripe_till, page["id"])
    after = await stripe_till.account.get(f"/checkout/sessions/{checkout['id']}")
    assert after["checkout_status"] == "completed"
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "30", "0")


async def test_a_checkout_that_is_cancelled_closes_its_page(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice("30")
    customer = await stripe_till.account.get(f"/customers/{invoice['customer_id']}")
    body = {
        "customer_external_id": customer["external_id"],
        "action": "pay_invoice",
        "configuration": {"pay_invoice_params": {"invoice_id": invoice["id"]}},
        "payment_provider": "stripe",
    }
    checkout = await stripe_till.account.post("/checkout/sessions", body)
    await stripe_till.account.post(f"/checkout/sessions/{checkout['id']}/cancel", expect=200)
    await stripe_till.reconcile()
    assert stripe_till.books.of("checkout.session")[0]["status"] == "expired"


async def test_a_method_that_is_saved_as_default_is_charged_from_then_on(stripe_till: StripeTill) -> None:
    customer = await stripe_till.desk.customer()
    body = {"provider": "stripe", "set_default": True, "success_url": "https://shop.example/saved"}
    setup = await stripe_till.account.post(f"/payments/customers/{customer}/setup/intent", body)
    page = stripe_till.books.of("checkout.session")[0]
    assert (setup["checkout_url"], setup["client_secret"]) == (page["url"], "seti_secret_1")
    earlier = stripe_till.books.save_card(page["customer"], "declined", default=True)
    saved = stripe_till.books.save_method(page["id"])
    await stripe_till.hear("checkout.session.completed", page)
    methods = await stripe_till.account.get(f"/customers/{customer}/payment-methods", providers="stripe")
    items = [(item["id"], item["is_default"]) for item in methods["providers"][0]["items"]]
    assert items == [(saved, True), (earlier, False)]
    invoice = await stripe_till.desk.invoice([fixed("25")], customer_id=customer)
    await stripe_till.account.post(f"/invoices/{invoice['id']}/payment/attempt", {}, 200)
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "25", "0")


async def test_a_link_that_keeps_the_card_makes_it_the_default(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice, save_card_and_make_default=True)
    page = stripe_till.books.rows[payment["gateway_tracking_id"]]
    assert page["payment_intent_data"]["setup_future_usage"] == "off_session"
    intent = await _paid(stripe_till, page["id"])
    customer = stripe_till.books.rows[page["customer"]]
    assert customer["invoice_settings"]["default_payment_method"] == intent["payment_method"]


async def test_stripe_down_is_told_and_hides_nothing(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    await stripe_till.charge(invoice, method=card)
    stripe_till.books.faults += [("/customers", "broken")] * 3
    methods = await stripe_till.account.get(f"/customers/{invoice['customer_id']}/payment-methods", providers="stripe")
    assert methods["providers"] == [{"provider": "stripe", "items": [], "error": {"message": "Stripe did not answer"}}]


async def test_a_link_whose_answer_was_lost_is_made_anew_when_its_invoice_has_a_number_now(
    stripe_till: StripeTill,
) -> None:
    """Stripe refuses a key with other values for a day, and the title of the page is one of them."""
    invoice = await stripe_till.invoice(invoice_status="DRAFT")
    stripe_till.books.faults += [("/checkout/sessions", "unanswered")] * 3
    answer = await stripe_till.pay(invoice, "100", 400, payment_method_type="PAYMENT_LINK", payment_gateway="stripe")
    await stripe_till.account.post(f"/invoices/{invoice['id']}/finalize", expect=200)
    payment = await stripe_till.account.post(f"/payments/{answer['details']['payment_id']}/process", expect=200)
    unseen, page = stripe_till.books.of("checkout.session")
    assert (payment["payment_status"], payment["payment_url"]) == ("PENDING", page["url"])
    assert payment["payment_url"] != unseen["url"]
    await _paid(stripe_till, page["id"])
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


@pytest.mark.parametrize("minutes", [16, 25 * 60], ids=["within the hour", "once the page must be closed"])
async def test_what_was_paid_on_a_page_is_asked_for_where_nobody_reported_it(
    stripe_till: StripeTill, minutes: int
) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    assert await stripe_till.reconcile(minutes=14) == 0
    await stripe_till.reconcile(minutes=minutes)
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"
    stripe_till.books.pay_page(payment["gateway_tracking_id"])
    assert await stripe_till.reconcile(minutes=2 * minutes) == 1
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert await stripe_till.reconcile(minutes=2 * minutes) == 0


async def test_a_page_that_closed_unheard_ends_its_payment(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    await stripe_till.reconcile(minutes=120)
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"
    stripe_till.books.rows[payment["gateway_tracking_id"]]["status"] = "expired"
    await stripe_till.reconcile(minutes=25 * 60)
    assert (await stripe_till.read(payment))["payment_status"] == "FAILED"
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")


async def test_a_refusal_on_an_open_page_is_not_its_end_when_it_is_asked_for(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    page = stripe_till.books.rows[payment["gateway_tracking_id"]]
    declined = stripe_till.books.add(
        "payment_intent", "pi", status="requires_payment_method", amount=10000, currency="usd", metadata={}
    )
    page["payment_intent"] = declined["id"]
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"


async def test_a_page_that_was_paid_before_it_could_be_withdrawn_is_not_forgotten(stripe_till: StripeTill) -> None:
    """Nobody reports it; Stripe refuses to close the page, because it is paid."""
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    intent = stripe_till.books.pay_page(payment["gateway_tracking_id"])
    await stripe_till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await stripe_till.reconcile()
    refunds = stripe_till.books.of("refund")
    assert [(row["payment_intent"], row["amount"]) for row in refunds] == [(intent["id"], 10000)]
    assert (await stripe_till.read(payment))["payment_status"] == "REFUNDED"
