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
