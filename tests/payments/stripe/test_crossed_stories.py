"""Money that comes by two ways at once, or goes back by two: the books are exact after each story."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from farthing.doctor.examination import audit
from tests.account import Account
from tests.payments.conftest import StripeOffice
from tests.payments.stripe.documented_stripe import Row
from tests.payments.stripe.stripe_till import StripeTill
from tests.payments.stripe.test_webhooks import _charged, _dispute


@pytest.fixture
async def proved_till(stripe_till: StripeTill) -> AsyncIterator[StripeTill]:
    """A till whose books the doctor finds nothing in when its story has ended."""
    yield stripe_till
    account = stripe_till.account
    findings = await audit(account.database, only=[account.environment_id])
    assert [str(difference) for difference in findings.differences] == []


@pytest.fixture
async def another_till(stripe_office: StripeOffice) -> AsyncIterator[StripeTill]:
    async with Account(stripe_office.base_url, stripe_office.settings, stripe_office.database) as account:
        till = StripeTill(account, stripe_office.stripe)
        await till.connect()
        yield till


async def credit(till: StripeTill, invoice: dict[str, Any], amount: str, **more: Any) -> dict[str, Any]:
    lines = [{"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": amount}]
    body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": lines, "process_credit_note": True}
    made: dict[str, Any] = await till.account.post("/creditnotes", {**body, **more})
    return made


async def write_off(till: StripeTill, invoice: dict[str, Any]) -> None:
    await till.account.post(f"/invoices/{invoice['id']}/write-off", {"reason": "gone"}, 200)


async def returned(till: StripeTill, invoice: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = (await till.account.get("/refunds", invoice_ids=invoice["id"]))["items"]
    return sorted((row["refund_destination"], row["amount"], row["refund_status"]) for row in rows)


async def paid_page(till: StripeTill, payment: dict[str, Any]) -> Row:
    till.books.pay_page(payment["gateway_tracking_id"])
    page: Row = till.books.rows[payment["gateway_tracking_id"]]
    return page


async def test_a_page_for_all_that_is_paid_after_a_part_and_a_credit_note(proved_till: StripeTill) -> None:
    """100; 40 came by bank and 20 were credited while the page over 100 was open: 60 are too much."""
    till = proved_till
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.pay(invoice, "40")
    await credit(till, invoice, "20")
    page = await paid_page(till, payment)
    await till.hear("checkout.session.completed", page)
    await till.hear("checkout.session.completed", page)
    assert await till.standing(invoice) == ("OVERPAID", "140", "0")


async def test_a_page_that_is_paid_after_the_rest_was_written_off(proved_till: StripeTill) -> None:
    till = proved_till
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await write_off(till, invoice)
    page = await paid_page(till, payment)
    await till.hear("checkout.session.completed", page)
    seen = await till.desk.get(invoice)
    assert (seen["payment_status"], seen["amount_remaining"], seen["written_off_amount"]) == ("SUCCEEDED", "0", "0")


async def test_a_dispute_is_lost_after_the_rest_was_written_off(proved_till: StripeTill) -> None:
    """60 of 100 came by card and 40 were given up; the bank takes the 60 back."""
    till = proved_till
    invoice, method = await till.card()
    await till.charge(invoice, "60", method=method)
    await write_off(till, invoice)
    (intent,) = till.books.of("payment_intent")
    await till.hear("charge.dispute.created", _dispute(intent, "needs_response", 6000))
    await till.hear("charge.dispute.closed", _dispute(intent, "lost", 6000))
    assert await returned(till, invoice) == [("OUT_OF_BAND", "60", "SUCCEEDED")]


async def test_money_that_goes_back_while_a_dispute_is_open_goes_back_once(proved_till: StripeTill) -> None:
    """A note sends 30 of 100 back through Stripe; the dispute of the other 70 is lost, and told of twice."""
    till = proved_till
    invoice, payment, intent = await _charged(till)
    await till.hear("charge.dispute.created", _dispute(intent, "needs_response", 7000))
    await credit(till, invoice, "30", refund_target="BACK_TO_SOURCE")
    for _ in range(2):
        await till.hear("charge.dispute.closed", _dispute(intent, "lost", 7000))
    amounts = [Decimal(amount) for _, amount, _ in await returned(till, invoice)]
    assert sum(amounts) == 100
    assert (await till.read(payment))["payment_status"] == "REFUNDED"


async def test_two_pages_that_are_paid_at_once_and_told_of_out_of_order(proved_till: StripeTill) -> None:
    till = proved_till
    invoice = await till.invoice()
    pages = [await paid_page(till, await till.link(invoice, "60", idempotency_key=f"page-{n}")) for n in range(2)]
    reports = [till.hear("checkout.session.completed", page) for page in [*pages, *reversed(pages)]]
    await asyncio.gather(*reports)
    await till.hear("checkout.session.expired", pages[0])
    assert await till.standing(invoice) == ("OVERPAID", "120", "0")


async def test_a_card_that_is_charged_while_its_invoice_is_voided(proved_till: StripeTill) -> None:
    till = proved_till
    invoice, method = await till.card()
    charge = till.order(
        invoice, payment_method_type="CARD", payment_method_id=method, payment_gateway="stripe", idempotency_key="k"
    )
    await asyncio.gather(
        till.account.http.post("/payments", json=charge),
        till.account.http.post(f"/invoices/{invoice['id']}/void", json={}),
        till.account.http.post("/payments", json=charge),
    )
    seen = await till.desk.get(invoice)
    kept = sum(Decimal(row["amount"]) for row in till.books.of("payment_intent") if row["status"] == "succeeded")
    sent = sum(Decimal(row["amount"]) for row in till.books.of("refund"))
    if seen["invoice_status"] == "VOIDED":
        wallets = await till.account.get(f"/customers/{invoice['customer_id']}/wallets")
        held = sum(Decimal(wallet["balance"]) for wallet in wallets) * 100
        assert kept == sent + held
    else:
        assert (kept, sent) == (10000, 0)


async def test_what_another_tenant_tells_of_a_payment_moves_nothing(
    proved_till: StripeTill, another_till: StripeTill
) -> None:
    """Signed with its own secret, for an object that it does not have."""
    invoice = await proved_till.invoice()
    payment = await proved_till.link(invoice)
    page = await paid_page(proved_till, payment)
    await another_till.hear("checkout.session.completed", page)
    assert await proved_till.standing(invoice) == ("PENDING", "0", "100")
    await proved_till.hear("checkout.session.completed", page)
    assert await proved_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def lost(till: StripeTill, intent: Row, cents: int) -> None:
    await till.hear("charge.dispute.closed", _dispute(intent, "lost", cents))


async def sent_back_there(till: StripeTill, intent: Row, cents: int) -> None:
    """Somebody sends money back on Stripe's own pages."""
    till.books.add("refund", "re", payment_intent=intent["id"], amount=cents, currency="usd", status="succeeded",
                   metadata={})  # fmt: skip
    await till.hear("charge.refunded", {"id": "ch_1", "payment_intent": intent["id"]})


UNASKED = pytest.mark.parametrize("goes_back", [lost, sent_back_there], ids=["by a dispute", "at stripe itself"])


@UNASKED
@pytest.mark.parametrize("target", [{}, {"refund_target": "BACK_TO_SOURCE"}], ids=["to the wallet", "to the source"])
async def test_what_went_back_unasked_is_not_given_back_by_a_note(
    proved_till: StripeTill, goes_back: Any, target: dict[str, str]
) -> None:
    """Of 100, 60 went back: 40 can still be credited, and 41 are refused by name."""
    till = proved_till
    invoice, _, intent = await _charged(till)
    await goes_back(till, intent, 6000)
    line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "41"}
    body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": [line], **target}
    refused = await till.account.post("/creditnotes", {**body, "process_credit_note": True}, 400)
    assert refused["details"]["maximum_allowed"] == "40"
    await credit(till, invoice, "40", **target)
    wallets = await till.account.get(f"/customers/{invoice['customer_id']}/wallets")
    assert [wallet["balance"] for wallet in wallets] == ([] if target else ["40"])
    assert (await till.desk.get(invoice))["refunded_amount"] == "40"


@UNASKED
@pytest.mark.parametrize("voided_first", [False, True])
async def test_a_void_gives_back_what_has_not_gone_back(
    proved_till: StripeTill, goes_back: Any, voided_first: bool
) -> None:
    """What a bank takes after a void is lost, and nobody's books are wrong for it."""
    till = proved_till
    invoice, payment, intent = await _charged(till)
    if not voided_first:
        await goes_back(till, intent, 6000)
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    if voided_first:
        await goes_back(till, intent, 6000)
    seen = await till.desk.get(invoice)
    assert (seen["payment_status"], seen["refunded_amount"]) == ("REFUNDED", "100")
    (wallet,) = await till.account.get(f"/customers/{invoice['customer_id']}/wallets")
    assert wallet["balance"] == ("100" if voided_first else "40")
    assert (await till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"


@UNASKED
async def test_a_void_of_what_has_gone_back_gives_nothing(proved_till: StripeTill, goes_back: Any) -> None:
    till = proved_till
    invoice, _, intent = await _charged(till)
    await goes_back(till, intent, 10000)
    await till.account.post(f"/invoices/{invoice['id']}/void", {"refund_target": "BACK_TO_SOURCE"}, 200)
    assert await till.account.get(f"/customers/{invoice['customer_id']}/wallets") == []
    assert (await till.desk.get(invoice))["payment_status"] == "REFUNDED"


@pytest.mark.parametrize("beside", [0, 2500])
async def test_what_was_sent_back_at_stripe_and_did_not_arrive_is_there_again(
    proved_till: StripeTill, beside: int
) -> None:
    till = proved_till
    invoice, payment, intent = await _charged(till)
    if beside:
        await sent_back_there(till, intent, beside)
    await sent_back_there(till, intent, 6000)
    failed = till.books.of("refund")[-1]
    failed["status"] = "failed"
    for _ in range(2):
        await till.hear("refund.failed", failed)
    left = f"{100 - beside // 100}"
    seen = await till.read(payment)
    assert seen["payment_status"] == ("PARTIALLY_REFUNDED" if beside else "SUCCEEDED")
    failed["amount"] = 0  # money that has not arrived is none of what Stripe has sent
    await credit(till, invoice, left, refund_target="BACK_TO_SOURCE")
    assert await returned(till, invoice) == [("GATEWAY", left, "SUCCEEDED")]


async def test_a_dispute_in_another_currency_than_its_payment_is_told_and_counts_no_money(
    proved_till: StripeTill,
) -> None:
    till = proved_till
    invoice, payment, intent = await _charged(till)
    for status in ("needs_response", "lost"):
        await till.hear("charge.dispute.updated", {**_dispute(intent, status, 9000), "currency": "eur"})
    seen = await till.read(payment)
    assert (seen["payment_status"], seen["error_message"]) == (
        "SUCCEEDED",
        "the provider reports a dispute in eur of a payment in usd",
    )
    assert "dispute_id" not in seen.get("gateway_metadata", {})
    assert await returned(till, invoice) == []


@pytest.mark.parametrize(
    ("code", "amount", "units", "back", "back_units", "rest"),
    [
        pytest.param("jpy", "1000", 1000, "333", 333, "667", id="no minor unit"),
        pytest.param("kwd", "10.51", 10510, "1.23", 1230, "9.28", id="three decimals"),
        pytest.param("ugx", "5000", 500000, "1234", 123400, "3766", id="whole, and written in hundredths"),
    ],
)
async def test_paid_credited_and_lost_in_other_minor_units(
    proved_till: StripeTill, code: str, amount: str, units: int, back: str, back_units: int, rest: str
) -> None:
    till = proved_till
    invoice, method = await till.card(amount=amount, currency=code)
    await till.charge(invoice, amount, method=method)
    await credit(till, invoice, back, refund_target="BACK_TO_SOURCE")
    (intent,) = till.books.of("payment_intent")
    (sent,) = till.books.of("refund")
    assert (intent["amount"], sent["amount"]) == (units, back_units)
    await till.hear("charge.dispute.closed", {**_dispute(intent, "lost", units), "currency": code})
    assert await returned(till, invoice) == [("GATEWAY", back, "SUCCEEDED"), ("OUT_OF_BAND", rest, "SUCCEEDED")]


async def test_a_refund_that_stripe_cannot_send_exactly_fails_by_name_and_goes_into_the_wallet(
    proved_till: StripeTill,
) -> None:
    till = proved_till
    invoice, method = await till.card(amount="10.51", currency="kwd")
    await till.charge(invoice, "10.51", method=method)
    await credit(till, invoice, "1.234", refund_target="BACK_TO_SOURCE")
    (refund,) = (await till.account.get("/refunds", invoice_ids=invoice["id"]))["items"]
    assert refund["failure_reason"] == "Stripe cannot take 1.234 kwd exactly: an amount must be a multiple of 0.01"
    await till.account.post(f"/refunds/{refund['id']}/retry", None, 200)
    (wallet,) = await till.account.get(f"/customers/{invoice['customer_id']}/wallets")
    assert (wallet["currency"], wallet["balance"], till.books.of("refund")) == ("kwd", "1.234", [])


@pytest.mark.parametrize(("captured", "standing"), [(6000, ("PENDING", "60", "40")), (12000, ("OVERPAID", "120", "0"))])
async def test_what_was_captured_counts_and_no_more_of_it_can_be_lost(
    proved_till: StripeTill, captured: int, standing: tuple[str, str, str]
) -> None:
    """A hold is none of it; told of twice, a part or more of it is taken, and all of that is lost."""
    till = proved_till
    invoice, method = await till.card("slow")
    payment = await till.charge(invoice, method=method)
    (intent,) = till.books.of("payment_intent")
    intent["status"] = "requires_capture"
    await till.hear("payment_intent.amount_capturable_updated", intent)
    await till.reconcile()
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    intent.update(status="succeeded", amount_received=captured)
    for _ in range(2):
        await till.hear("payment_intent.succeeded", intent)
    assert await till.standing(invoice) == standing
    await lost(till, intent, 99999)
    assert await returned(till, invoice) == [("OUT_OF_BAND", str(captured // 100), "SUCCEEDED")]
    assert (await till.read(payment))["payment_status"] == "REFUNDED"


@pytest.mark.parametrize("end", ["won", "lost"])
async def test_declined_paid_otherwise_and_then_paid_after_all(proved_till: StripeTill, end: str) -> None:
    """The first charge succeeds when another has paid: both count, and a dispute of the first ends once."""
    till = proved_till
    invoice, method = await till.card("slow")
    late = await till.charge(invoice, method=method)
    (intent,) = till.books.of("payment_intent")
    error = {"code": "card_declined", "message": "no"}
    declined = {**intent, "status": "requires_payment_method", "last_payment_error": error}
    await till.hear("payment_intent.payment_failed", declined)
    await till.charge(invoice, method=till.books.save_card())
    intent.update(status="succeeded", amount_received=10000)
    await till.hear("payment_intent.succeeded", intent)
    await till.hear("payment_intent.payment_failed", declined)
    assert await till.standing(invoice) == ("OVERPAID", "200", "0")
    for status in (end, "won", "lost", "needs_response"):
        await till.hear("charge.dispute.closed", _dispute(intent, status))
    assert (await till.read(late))["payment_status"] == ("SUCCEEDED" if end == "won" else "REFUNDED")
    assert await returned(till, invoice) == ([] if end == "won" else [("OUT_OF_BAND", "100", "SUCCEEDED")])


async def test_a_confirmation_that_was_left_and_is_given_after_another_card_has_paid(proved_till: StripeTill) -> None:
    """Both are in the books; a void gives both back, and what a bank takes of one after it changes no books."""
    till = proved_till
    invoice, method = await till.card("absent")
    left = await till.charge(invoice, method=method)
    assert (left["payment_status"], bool(left["payment_url"])) == ("PENDING", True)
    await till.charge(invoice, method=till.books.save_card())
    first = till.books.confirm(till.books.of("payment_intent")[0]["id"])
    await till.hear("payment_intent.succeeded", first)
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await lost(till, first, 10000)
    (wallet,) = await till.account.get(f"/customers/{invoice['customer_id']}/wallets")
    assert (wallet["balance"], (await till.desk.get(invoice))["refunded_amount"]) == ("200", "200")
