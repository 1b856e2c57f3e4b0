"""Unused time and too much usage are given back as far as the money is still there: not what a bank took in a dispute,
or what somebody sent back on Stripe's own pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from farthing.doctor.examination import audit
from farthing.subscriptions.tables import Subscription
from tests.billing.corrections.correcting import correct, january, sell, void
from tests.billing.office import Office
from tests.payments.stripe.stripe_till import StripeTill
from tests.payments.stripe.test_crossed_stories import UNASKED, credit, lost, paid_page, sent_back_there
from tests.subscriptions.shop import fixed

GoesBack = Callable[[StripeTill, Any, int], Awaitable[None]]

PRORATED = {"proration_behavior": "create_prorations"}


class PaidFee:
    """A subscription on 1 April 2026 whose opening invoice a card has paid."""

    def __init__(self, till: StripeTill) -> None:
        self.till, self.office = till, Office(till.account)

    async def begin(self, *prices: dict[str, Any], tax: str = "") -> None:
        await self.office.on("2026-04-01")
        self.plan = await self.office.plan(*prices)
        customer = await self.office.customer()
        self.customer_id: str = customer["id"]
        if tax:
            rate = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": tax}
            await self.till.account.post("/taxes/rates", rate)
            named = {"tax_rate_code": "vat", "entity_type": "customer", "entity_id": customer["id"]}
            await self.till.account.post("/taxes/associations", {**named, "auto_apply": True}, 200)
        self.subscription: Subscription = await self.office.subscribed(self.plan, customer)
        (invoice,) = await self.office.invoices(self.subscription)
        self.invoice_id = invoice.id
        await self.pay(invoice.id, f"{invoice.total:f}")

    async def pay(self, invoice_id: str, amount: str) -> None:
        card = self.till.books.save_card()
        invoice = {"id": invoice_id, "currency": "usd"}
        await self.till.charge(invoice, str(Decimal(amount).normalize()), method=card, idempotency_key=invoice_id)
        self.intent = self.till.books.of("payment_intent")[-1]

    async def given(self) -> str:
        """What the payer's wallet has."""
        wallets = await self.till.account.get(f"/customers/{self.customer_id}/wallets")
        return str(sum(Decimal(wallet["balance"]) for wallet in wallets))

    async def end_half_way(self) -> str:
        await self.office.on("2026-04-16")
        body = {"cancellation_type": "immediate", **PRORATED}
        answer = await self.till.account.post(f"/subscriptions/{self.subscription.id}/cancel", body, 200)
        return str(answer["total_credit_amount"])

    async def require_true_books(self) -> None:
        account = self.till.account
        findings = await audit(account.database, only=[account.environment_id])
        assert [str(difference) for difference in findings.differences] == []


@pytest.fixture
async def fee(stripe_till: StripeTill) -> PaidFee:
    return PaidFee(stripe_till)


@UNASKED
@pytest.mark.parametrize(
    ("tax", "cents", "credit"),
    [
        pytest.param("", 10000, "0", id="all of it went back"),
        pytest.param("", 8000, "20", id="of 100 the 20 that are left"),
        pytest.param("", 4000, "50", id="60 are left, and half is unused"),
        pytest.param("19", 11900, "0", id="all of it, with tax"),
        pytest.param("19", 9520, "23.8", id="20 and their tax are left"),
        pytest.param("19", 5000, "59.5", id="69 are left, and half is unused, with tax"),
    ],
)
async def test_a_cancellation_gives_back_what_was_kept(
    fee: PaidFee, goes_back: GoesBack, tax: str, cents: int, credit: str
) -> None:
    await fee.begin(fixed("100"), tax=tax)
    await goes_back(fee.till, fee.intent, cents)
    await fee.end_half_way()
    assert await fee.given() == credit
    await fee.require_true_books()


@UNASKED
async def test_what_went_back_lowers_no_charge(fee: PaidFee, goes_back: GoesBack) -> None:
    """A plan of 50 becomes 200 half-way: the rest costs 100, and of the 50 only 10 are there."""
    await fee.begin(fixed("50"))
    await goes_back(fee.till, fee.intent, 4000)
    await fee.office.on("2026-04-16")
    large = await fee.office.plan(fixed("200"), name="Large")
    path = f"/subscriptions/{fee.subscription.id}/change/v2/execute"
    await fee.till.account.post(path, {"target_plan_id": large["id"], **PRORATED}, 200)
    charged = (await fee.office.invoices(fee.subscription))[-1]
    assert charged.total == 90
    # 90 and the 10 stand behind the new half: nothing of it was used, so all of it comes back
    await fee.pay(charged.id, "90")
    await fee.end_half_way()
    assert await fee.given() == "100"
    await fee.require_true_books()


@pytest.mark.parametrize(
    ("cents", "given"),
    [pytest.param(8000, "25", id="20 are left, and 25 were given"), pytest.param(4000, "48.33", id="35 are left")],
)
async def test_what_a_credit_gave_before_is_not_there_any_more(fee: PaidFee, cents: int, given: str) -> None:
    """Of two fees of 50 one ends half-way, for which 25 are given; then the bank takes money, and the other ends."""
    await fee.begin(fixed("50"), fixed("50", display_name="Other"))
    await fee.office.on("2026-04-16")
    items = (await fee.till.account.get(f"/subscriptions/{fee.subscription.id}"))["line_items"]
    ended = {"effective_from": "2026-04-16T00:00:00Z", **PRORATED}
    answer = await fee.till.account.http.request("DELETE", f"/subscriptions/lineitems/{items[0]['id']}", json=ended)
    assert answer.status_code == 200
    assert await fee.given() == "25"
    await lost(fee.till, fee.intent, cents)
    await fee.end_half_way()
    assert await fee.given() == given
    await fee.require_true_books()


@UNASKED
async def test_a_correction_takes_back_what_was_kept(stripe_till: StripeTill, goes_back: GoesBack) -> None:
    """Ten calls at 10; six are voided, and the payer has kept 70 of 100: 30 come back."""
    office = await Office(stripe_till.account).set_up()
    subscription, customer = await sell(office, "10")
    invoice = await january(office, subscription)
    story = PaidFee(stripe_till)
    story.customer_id = customer["id"]
    await story.pay(invoice.id, "100")
    await goes_back(stripe_till, story.intent, 7000)
    await void(office, *[f"e{number}" for number in range(6)])
    corrected = await correct(office, invoice)
    assert corrected["net_amount"] == "30"
    assert await story.given() == "30"
    await story.require_true_books()


async def test_a_dispute_of_allocated_money_counts_on_the_invoice_that_it_pays(stripe_till: StripeTill) -> None:
    """A card brought 150 to a customer's balance, 100 pay an invoice; the bank takes 120: 30 can still go back."""
    story = PaidFee(stripe_till)
    invoice, card = await stripe_till.card()
    customer = {"id": invoice["customer_id"], "currency": "usd"}
    received = {"destination_type": "CUSTOMER", "destination_id": customer["id"], "payment_method_id": card}
    payment = await stripe_till.charge(customer, "150", method=card, **received)
    given = {"currency": "usd", "allocations": [{"invoice_id": invoice["id"], "amount": "100"}]}
    await stripe_till.account.post(f"/customers/{customer['id']}/unapplied-money/allocate", given, 200)
    story.intent = stripe_till.books.rows[payment["gateway_payment_id"]]
    await lost(stripe_till, story.intent, 12000)
    line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "31"}
    note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": [line], "process_credit_note": True}
    refused = await stripe_till.account.post("/creditnotes", note, 400)
    assert refused["details"]["maximum_allowed"] == "30"
    await credit(stripe_till, invoice, "30")
    await story.require_true_books()


@UNASKED
async def test_an_overpayment_that_went_back_is_not_spent(stripe_till: StripeTill, goes_back: GoesBack) -> None:
    """150 were paid on 100, and the 50 too much were moved to the balance; 60 go back: 90 are left on the invoice."""
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    await stripe_till.pay(invoice, "50")
    await stripe_till.hear("checkout.session.completed", await paid_page(stripe_till, payment))
    await stripe_till.account.post(f"/invoices/{invoice['id']}/overpayment/move", {}, 200)
    await goes_back(stripe_till, stripe_till.books.of("payment_intent")[-1], 6000)
    answer = await stripe_till.account.get(f"/customers/{invoice['customer_id']}/unapplied-money")
    assert [balance["amount"] for balance in answer["balances"]] == []
    line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "91"}
    note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": [line], "process_credit_note": True}
    refused = await stripe_till.account.post("/creditnotes", note, 400)
    assert refused["details"]["maximum_allowed"] == "90"
    await PaidFee(stripe_till).require_true_books()


@pytest.mark.parametrize("asked_here", [True, False], ids=["asked for here", "at stripe itself"])
async def test_money_of_a_balance_that_did_not_arrive_is_on_it_again(stripe_till: StripeTill, asked_here: bool) -> None:
    """50 of 80 go back, which Stripe says has been done, and says later that it has not."""
    story = PaidFee(stripe_till)
    customer, card = await stripe_till.desk.customer(), stripe_till.books.save_card()
    received: dict[str, Any] = {"destination_type": "CUSTOMER", "destination_id": customer, "payment_method_id": card}
    payment = await stripe_till.charge({"id": customer, "currency": "usd"}, "80", method=card, **received)
    path = f"/customers/{customer}/unapplied-money"
    if asked_here:
        await stripe_till.account.post(
            f"{path}/refund", {"currency": "usd", "amount": "50", "refund_reason": "OTHER"}, 200
        )
    else:
        await sent_back_there(stripe_till, stripe_till.books.rows[payment["gateway_payment_id"]], 5000)
    assert (await stripe_till.account.get(path))["balances"][0]["amount"] == "30"
    (sent,) = stripe_till.books.of("refund")
    sent["status"], sent["failure_reason"] = "failed", "lost_or_stolen_card"
    for _ in range(2):
        await stripe_till.hear("refund.failed", sent)
    assert (await stripe_till.account.get(path))["balances"][0]["amount"] == "80"
    seen = await stripe_till.read(payment)
    assert (seen["payment_status"], seen["error_message"]) == (
        "SUCCEEDED",
        "50 usd: The refund did not reach the payer: lost or stolen card",
    )
    if asked_here:
        (refund,) = (await stripe_till.account.get("/refunds", customer_id=customer))["items"]
        assert (refund["refund_status"], refund["failure_reason"]) == (
            "FAILED",
            "The refund did not reach the payer: lost or stolen card",
        )
    await story.require_true_books()


async def test_a_note_whose_refund_did_not_arrive_goes_into_the_wallet(stripe_till: StripeTill) -> None:
    story = PaidFee(stripe_till)
    invoice, card = await stripe_till.card()
    await stripe_till.charge(invoice, method=card)
    await credit(stripe_till, invoice, "40", refund_target="BACK_TO_SOURCE")
    (sent,) = stripe_till.books.of("refund")
    sent["status"] = "failed"
    await stripe_till.hear("refund.failed", sent)
    (refund,) = (await stripe_till.account.get("/refunds", invoice_ids=invoice["id"]))["items"]
    assert (refund["refund_status"], refund.get("settled_amount", "0")) == ("FAILED", "0")
    await story.require_true_books()
    await stripe_till.account.post(f"/refunds/{refund['id']}/retry", None, 200)
    story.customer_id = invoice["customer_id"]
    assert await story.given() == "40"
    await story.require_true_books()
