"""What can happen to an invoice after it was made: finalize, void, mark, edit.

Rule: docs/rules/invoices-and-payments.md#lifecycle
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from farthing.billing.periods.finalize import BillingHooks
from farthing.core.clock import SystemClock
from farthing.core.errors import InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.invoices.figures.derivation import differences
from farthing.invoices.figures.settlement import settle
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import BillingReason, InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.rating.totals.prepaid import CreditSlice
from farthing.storage.queries.rows import lock_row
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.invoices.lifecycle.test_create import told

NOW = SystemClock()


class WalletHooks(BillingHooks):
    """A prepaid wallet of `value`; remembers what was asked of it."""

    def __init__(self, value: str = "0") -> None:
        self.value = Decimal(value)
        self.debited: list[Decimal] = []
        self.returned: list[Decimal] = []
        self.became_paid = 0

    async def open_credits(self, session: Any, invoices: Any, now: Any) -> Any:
        return self

    def prepaid_value(self, invoice: Invoice) -> Decimal:
        return self.value

    def take(self, invoice: Invoice, amount: Decimal) -> list[CreditSlice]:
        self.debited.append(amount)
        self.value -= amount
        return []

    def can_pay(self, invoice: Invoice) -> bool:
        return False

    async def post(self) -> None:
        pass

    async def on_paid(self, session: Any, invoice: Invoice) -> None:
        self.became_paid += 1

    async def sent_back_unasked(self, session: Any, invoice: Invoice) -> Decimal:
        return Decimal(0)

    async def give_back(self, session: Any, invoice: Invoice, amount: Decimal, now: Any) -> None:
        self.returned.append(amount)


# --- finalization -----------------------------------------------------------------------------------------------------


async def test_a_draft_is_finalized_once(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("100")], invoice_status="DRAFT")
    answer = await account.post(f"/invoices/{draft['id']}/finalize", expect=200)
    assert answer == {"message": "invoice finalized successfully"}
    made = await desk.get(draft)
    assert (made["invoice_status"], made["version"]) == ("FINALIZED", draft["version"] + 1)
    refused = await account.post(f"/invoices/{draft['id']}/finalize", expect=400)
    assert (refused["code"], refused["message"]) == ("validation_error", "invoice is not in draft status")
    assert (await told(account, draft)).count("invoice.update.finalized") == 1


async def test_finalizing_twice_at_once_succeeds_once(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("100")], invoice_status="DRAFT")
    answers = await asyncio.gather(*(account.http.post(f"/invoices/{draft['id']}/finalize") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


WALLETS = [
    pytest.param(
        [usage("80"), fixed("20")], ("10",), "8.25%", "5", ("5", "7.43", "92.43"), id="credits do not lower the tax"
    ),
    pytest.param([usage("30"), usage("70")], ("50",), None, "100", ("50", "0", "0"), id="all paid by credits (W13)"),
    pytest.param([usage("40"), fixed("60")], (), "10%", "100", ("40", "10", "70"), id="usage alone takes them (W14)"),
    pytest.param([usage("20"), usage("50")], (), None, "55", ("55", "0", "15"), id="line by line (W15)"),
    pytest.param([usage("20")], (), None, "10.009", ("10", "0", "10"), id="dust stays in the wallet (W16)"),
    pytest.param([usage("50")], (), "10%", "80", ("50", "5", "5"), id="tax is not lowered by credits (W17)"),
]


@pytest.mark.parametrize(("lines", "coupons", "tax", "wallet", "expected"), WALLETS)
async def test_prepaid_credits(
    account: Account,
    lines: list[dict[str, Any]],
    coupons: tuple[str, ...],
    tax: str | None,
    wallet: str,
    expected: tuple[str, str, str],
) -> None:
    desk = Desk(account)
    draft = await desk.invoice(
        lines,
        invoice_status="DRAFT",
        coupons=[await desk.coupon(off) for off in coupons],
        tax_rates=[await desk.tax(tax)] if tax else [],
    )
    assert draft["total_prepaid_credits_applied"] == "0"
    hooks = WalletHooks(wallet)
    async with account.transaction() as session:
        invoice = await lock_row(session, Invoice, draft["id"])
        await transitions.finalize(session, invoice, NOW.now(), effects=hooks)
    made = await desk.get(draft)
    assert (made["total_prepaid_credits_applied"], made["total_tax"], made["total"]) == expected
    assert hooks.debited == [Decimal(expected[0])]
    paid = expected[2] == "0"
    assert made["payment_status"] == ("SUCCEEDED" if paid else "PENDING")
    assert hooks.became_paid == paid
    async with account.transaction() as session:
        assert await differences(session, await lock_row(session, Invoice, draft["id"])) == []


async def test_a_credit_invoice_takes_no_credits(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([usage("50")], invoice_status="DRAFT", invoice_type="CREDIT")
    async with account.transaction() as session:
        invoice = await lock_row(session, Invoice, draft["id"])
        await transitions.finalize(session, invoice, NOW.now(), effects=WalletHooks("80"))
    assert (await desk.get(draft))["total"] == "50"


async def test_the_service_can_complete_an_invoice_by_itself(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("50")], invoice_status="DRAFT")
    async with account.transaction() as session:
        invoice = await lock_row(session, Invoice, draft["id"])
        invoice.auto_completed = True
        await transitions.finalize(session, invoice, NOW.now(), effects=BillingHooks())
    made = await desk.get(draft)
    assert (made["payment_status"], made["amount_paid"]) == ("SUCCEEDED", "50")


@pytest.mark.parametrize(
    ("settles", "status"), [(True, "SUCCEEDED"), (False, "PENDING")], ids=["charged automatically", "only sent"]
)
async def test_the_opening_invoice_of_a_trial(account: Account, settles: bool, status: str) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("0")], invoice_status="DRAFT", tax_rates=[await desk.tax("5")])
    async with account.transaction() as session:
        invoice = await lock_row(session, Invoice, draft["id"])
        invoice.billing_reason, invoice.settles_at_zero = BillingReason.SUBSCRIPTION_TRIAL_START, settles
        await transitions.finalize(session, invoice, NOW.now(), effects=BillingHooks())
    made = await desk.get(draft)
    assert (made["total"], made["total_tax"], made["payment_status"]) == ("0", "0", status)
    marked = await account.put(f"/invoices/{draft['id']}/payment", {"payment_status": "SUCCEEDED"})
    assert marked["payment_status"] == "SUCCEEDED"


# --- payments -------------------------------------------------------------------------------------------------------


async def pay(account: Account, invoice: dict[str, Any], amount: str, payment_id: str | None = None) -> WalletHooks:
    hooks = WalletHooks()
    async with account.transaction() as session:
        row = await lock_row(session, Invoice, invoice["id"])
        payment_id = payment_id or new_id(Kind.PAYMENT)
        await transitions.receive(
            session, row, payment_id, transitions.ReceivedMoney(Decimal(amount), row.currency), NOW.now(), effects=hooks
        )
    return hooks


def standing(invoice: dict[str, Any]) -> tuple[str, ...]:
    return tuple(invoice[name] for name in ("amount_paid", "amount_remaining", "payment_status"))


async def test_two_payments_settle_an_invoice(account: Account) -> None:
    """The worked example W23."""
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    assert (await pay(account, made, "40")).became_paid == 0
    after = await desk.get(made)
    assert standing(after) == ("40", "60", "PENDING")
    assert "paid_at" not in after
    assert (await pay(account, made, "60")).became_paid == 1
    after = await desk.get(made)
    assert standing(after) == ("100", "0", "SUCCEEDED")
    assert "paid_at" in after
    assert (await told(account, made)).count("invoice.update.payment") == 2


async def test_more_than_is_due_is_overpaid(account: Account) -> None:
    """The worked example W24."""
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    await pay(account, made, "40")
    await pay(account, made, "80")
    after = await desk.get(made)
    assert (*standing(after), after["overpaid_amount"]) == ("120", "0", "OVERPAID", "20")


async def test_a_payment_reported_twice_counts_once(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    await asyncio.gather(*(pay(account, made, "40", "pay_one") for _ in range(8)))
    assert standing(await desk.get(made)) == ("40", "60", "PENDING")


async def test_payments_at_once_all_count(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    await asyncio.gather(*(pay(account, made, "10") for _ in range(10)))
    assert standing(await desk.get(made)) == ("100", "0", "SUCCEEDED")


async def test_money_for_a_draft_finalizes_it_in_full(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("100")], invoice_status="DRAFT", tax_rates=[await desk.tax("10%")])
    await pay(account, draft, "50")
    made = await desk.get(draft)
    assert (made["invoice_status"], *standing(made)) == ("FINALIZED", "50", "60", "PENDING")
    assert made["invoice_number"]


async def test_money_that_comes_too_late_is_on_the_books_of_the_voided_invoice(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    await pay(account, made, "100")
    assert standing(await desk.get(made)) == ("100", "0", "SUCCEEDED")


async def test_a_failed_attempt_shows_until_money_comes(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    async with account.transaction() as session:
        await transitions.payment_failed(session, await lock_row(session, Invoice, made["id"]), NOW.now())
    assert standing(await desk.get(made)) == ("0", "100", "FAILED")
    await pay(account, made, "30")
    assert standing(await desk.get(made)) == ("30", "70", "PENDING")


async def test_adjustments_and_their_undoing_move_the_standing(account: Account) -> None:
    """The worked examples W26 and W27, as credit notes will do it."""
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    await pay(account, made, "40")
    for adjusted, expected in (("50", ("50", "10", "PENDING")), ("60", ("40", "0", "SUCCEEDED")), ("50", None)):
        async with account.transaction() as session:
            row = await lock_row(session, Invoice, made["id"])
            row.adjustment_amount = Decimal(adjusted)
            await settle(session, row, NOW.now())
        after = await desk.get(made)
        due = (after["amount_due"], after["amount_remaining"], after["payment_status"])
        assert due == (expected or ("50", "10", "PENDING"))
        assert ("paid_at" in after) == (due[1] == "0")


# --- marks by hand ----------------------------------------------------------------------------------------------------


async def mark(
    account: Account, invoice: dict[str, Any], status: str, amount: str | None = None, expect: int = 200
) -> dict[str, Any]:
    body = {"payment_status": status, **({"amount": amount} if amount is not None else {})}
    answer: dict[str, Any] = await account.put(f"/invoices/{invoice['id']}/payment", body, expect)
    return answer


async def test_a_mark_replaces_the_one_before(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    assert standing(await mark(account, made, "PENDING", "30")) == ("30", "70", "PENDING")
    assert standing(await mark(account, made, "PENDING", "20")) == ("20", "80", "PENDING")
    assert standing(await mark(account, made, "FAILED")) == ("0", "100", "FAILED")
    assert standing(await mark(account, made, "PENDING")) == ("0", "100", "PENDING")
    paid = await mark(account, made, "SUCCEEDED", "1")
    assert standing(paid) == ("100", "0", "SUCCEEDED")
    assert "paid_at" in paid
    assert await mark(account, made, "SUCCEEDED") == paid
    refused = await mark(account, made, "PENDING", "10", expect=400)
    assert refused["code"] == "invalid_operation"
    assert (await told(account, made)).count("invoice.update.payment") == 5


async def test_pending_with_all_that_is_due_is_paid(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    assert standing(await mark(account, made, "PENDING", "100.00")) == ("100", "0", "SUCCEEDED")


async def test_marking_a_draft_paid_finalizes_it(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("100")], invoice_status="DRAFT")
    marked = await mark(account, draft, "SUCCEEDED", "100.00")
    assert (marked["invoice_status"], *standing(marked)) == ("FINALIZED", "100", "0", "SUCCEEDED")
    assert marked["invoice_number"]


async def test_a_part_paid_draft_stays_a_draft(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("100")], invoice_status="DRAFT")
    marked = await mark(account, draft, "PENDING", "30")
    assert (marked["invoice_status"], *standing(marked)) == ("DRAFT", "30", "70", "PENDING")


@pytest.mark.parametrize(
    ("status", "amount", "field"),
    [
        pytest.param("PENDING", "100.01", "amount", id="more than is due"),
        pytest.param("PENDING", "-1", "amount", id="less than nothing"),
        pytest.param("OVERPAID", None, "payment_status", id="a status that only money makes"),
        pytest.param("REFUNDED", None, "payment_status", id="a status that only a refund makes"),
        pytest.param("PAID", None, "payment_status", id="a status that is none"),
    ],
)
async def test_a_mark_is_refused(account: Account, status: str, amount: str | None, field: str) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    assert field in (await mark(account, made, status, amount, expect=400))["details"]
    assert await desk.get(made) == made


async def test_an_invoice_with_real_money_is_not_marked(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")])
    await pay(account, made, "1")
    for status in ("PENDING", "SUCCEEDED", "FAILED"):
        assert (await mark(account, made, status, expect=400))["code"] == "invalid_operation"


# --- void -------------------------------------------------------------------------------------------------------------


async def test_a_void_returns_what_was_paid_and_not_returned_yet(account: Account) -> None:
    """The worked example W29: paid 100, credits 50, refunded 30."""
    desk = Desk(account)
    draft = await desk.invoice([usage("50"), fixed("100")], invoice_status="DRAFT")
    hooks = WalletHooks("50")
    async with account.transaction() as session:
        row = await lock_row(session, Invoice, draft["id"])
        await transitions.finalize(session, row, NOW.now(), effects=hooks)
    await pay(account, draft, "100")
    async with account.transaction() as session:
        row = await lock_row(session, Invoice, draft["id"])
        row.refunded_amount = Decimal(30)
        await settle(session, row, NOW.now())
        assert row.payment_status is PaymentStatus.PARTIALLY_REFUNDED
    async with account.transaction() as session:
        row = await lock_row(session, Invoice, draft["id"])
        await transitions.void(session, row, NOW.now(), effects=hooks)
    assert hooks.returned == [Decimal(120)]
    voided = await desk.get(draft)
    assert (voided["refunded_amount"], voided["payment_status"]) == ("150", "REFUNDED")
    assert (voided["invoice_status"], voided["amount_paid"]) == ("VOIDED", "100")


async def test_a_void_by_hand(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100")], metadata={"po": "7"})
    await mark(account, made, "SUCCEEDED")
    answer = await account.post(f"/invoices/{made['id']}/void", {"metadata": {"why": "double"}}, expect=200)
    assert answer == {"message": "invoice voided successfully"}
    voided = await desk.get(made)
    assert (voided["payment_status"], voided["refunded_amount"]) == ("REFUNDED", "100")
    assert voided["metadata"] == {"po": "7", "why": "double"}
    assert voided["voided_at"]
    refused = await account.post(f"/invoices/{made['id']}/void", expect=400)
    assert refused["code"] == "invalid_operation"
    assert (await told(account, made)).count("invoice.update.voided") == 1


@pytest.mark.parametrize("status", ["DRAFT", "FINALIZED"])
async def test_an_unpaid_invoice_is_voided_without_refund(account: Account, status: str) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("75")], invoice_status=status)
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    voided = await desk.get(made)
    assert (voided["invoice_status"], voided["payment_status"], voided["refunded_amount"]) == ("VOIDED", "PENDING", "0")


async def test_an_invoice_that_sold_credits_is_voided_only_while_unpaid(account: Account) -> None:
    customer = await account.post("/customers", {"external_id": "buyer", "name": "Buyer"})
    wallet = await account.post("/wallets", {"customer_id": customer["id"], "currency": "usd"}, expect=200)
    purchase = {"credits_to_add": "75", "transaction_reason": "PURCHASED_CREDIT_INVOICED"}
    for paid in (False, True):
        sold = await account.post(f"/wallets/{wallet['id']}/top-up", purchase, expect=200)
        if paid:
            await mark(account, {"id": sold["invoice_id"]}, "SUCCEEDED")
        answer = await account.post(f"/invoices/{sold['invoice_id']}/void", expect=400 if paid else 200)
        assert not paid or answer["code"] == "invalid_operation"


async def test_what_floors_above_refuse_is_not_voided(account: Account) -> None:
    class Busy(BillingHooks):
        async def before_voiding(self, session: Any, invoice: Invoice) -> None:
            raise InvalidOperation("a payment is being processed")

    desk = Desk(account)
    made = await desk.invoice([fixed("75")])
    async with account.transaction() as session:
        row = await lock_row(session, Invoice, made["id"])
        with pytest.raises(InvalidOperation):
            await transitions.void(session, row, NOW.now(), effects=Busy())
        await session.rollback()
    assert await desk.get(made) == made


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("put", "", {"metadata": {}}),
        ("put", "/payment", {"payment_status": "SUCCEEDED"}),
        ("post", "/finalize", None),
        ("post", "/void", None),
        ("post", "/compute", None),
        (
            "post",
            "/modify/execute",
            {"type": "line_item", "line_item_params": {"action": "remove", "line_item_ids": ["x"]}},
        ),
    ],
)
async def test_nothing_changes_a_voided_invoice(
    account: Account, method: str, path: str, body: dict[str, Any] | None
) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("75")])
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    before = await desk.get(made)
    answer = await account.http.request(method, f"/invoices/{made['id']}{path}", json=body)
    assert answer.status_code == 400
    assert await desk.get(made) == before


def test_the_table_of_states() -> None:
    assert transitions.INVOICE.after(InvoiceStatus.VOIDED) == ()
    assert transitions.INVOICE.after(InvoiceStatus.FINALIZED) == (InvoiceStatus.VOIDED,)
