"""The statement of account: each kind of entry, its balance, and that it ends where the next one begins."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from farthing.calendar.period import Period
from farthing.core.errors import ValidationFailed
from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference
from farthing.reporting.proof import report_differences
from farthing.reporting.statement import account as account_module
from farthing.reporting.statement import proof
from farthing.reporting.statement.account import AccountStatement, account_currencies, account_statement
from farthing.reporting.statement.proof import statement_differences
from farthing.reporting.statement.tabulated import as_csv
from tests.reporting.ledger import Ledger
from tests.reporting.reconciliation import unreconciled


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def stated(
    ledger: Ledger, customer: dict[str, Any], since: str = "2026-01-01", until: str = "2027-01-01"
) -> AccountStatement:
    async with ledger.account.transaction(read_only=True) as session:
        return await account_statement(session, customer["id"], "usd", Period(day(since), day(until)))


def entries(statement: AccountStatement) -> list[tuple[str, str]]:
    return [(entry.kind.value, plain(entry.amount)) for entry in statement.entries]


def figures(statement: AccountStatement) -> tuple[str, ...]:
    amounts = (statement.opening, statement.closing, statement.unpaid, statement.in_credit)
    return tuple(plain(amount) for amount in amounts)


async def credited(ledger: Ledger, invoice: dict[str, Any], amount: str, **more: Any) -> dict[str, Any]:
    lines = [{"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": amount}]
    body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "process_credit_note": True, "line_items": lines}
    made: dict[str, Any] = await ledger.account.post("/creditnotes", {**body, **more})
    return made


async def unassigned(ledger: Ledger, customer: dict[str, Any], amount: str) -> dict[str, Any]:
    body = {"destination_type": "CUSTOMER", "destination_id": customer["id"], "payment_method_type": "OFFLINE"}
    body = {**body, "amount": amount, "currency": "usd", "process_payment": True}
    made: dict[str, Any] = await ledger.account.post("/payments", body)
    return made


async def test_the_worked_numbers(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    first = await ledger.invoiced(customer, "100")
    await ledger.on("2026-01-20")
    await credited(ledger, first, "10")
    await ledger.on("2026-02-05")
    await ledger.paid(first, "95")
    await ledger.on("2026-02-10")
    second = await ledger.invoiced(customer, "50")
    await ledger.on("2026-03-01")
    await ledger.account.post(f"/invoices/{first['id']}/overpayment/move", None, 200)
    allocations = [{"invoice_id": second["id"], "amount": "5"}]
    path = f"/customers/{customer['id']}/unapplied-money"
    await ledger.account.post(f"{path}/allocate", {"currency": "usd", "allocations": allocations}, 200)
    await ledger.on("2026-03-31")
    await ledger.account.post(f"/invoices/{second['id']}/write-off", {"reason": "gone"}, 200)
    whole = await stated(ledger, customer)
    assert entries(whole) == [
        ("invoice", "100"),
        ("credit_note", "-10"),
        ("payment", "-95"),
        ("invoice", "50"),
        ("write_off", "-45"),
    ]
    assert [plain(entry.balance) for entry in whole.entries] == ["100", "90", "-5", "45", "0"]
    assert figures(whole) == ("0", "0", "0", "0")
    assert figures(await stated(ledger, customer, until="2026-02-06")) == ("0", "-5", "0", "5")
    assert figures(await stated(ledger, customer, "2026-02-06", "2026-02-11")) == ("-5", "45", "50", "5")
    assert figures(await stated(ledger, customer, "2026-02-11", "2026-03-02")) == ("45", "45", "45", "0")
    table = as_csv(whole).decode().splitlines()
    assert table[3].split(",")[1:2] + table[3].split(",")[4:7] == ["Credit note", "", "10", "90"]


async def test_a_void_takes_back_the_charge_and_gives_back_what_was_paid(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100", paid="40")
    await credited(ledger, invoice, "25")
    await ledger.on("2026-02-10")
    await ledger.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
    statement = await stated(ledger, customer)
    assert sorted(entries(statement)[-2:]) == [("invoice_voided", "-75"), ("refund", "40")]
    assert figures(statement) == ("0", "0", "0", "0")
    assert figures(await stated(ledger, customer, until="2026-02-01")) == ("0", "35", "35", "0")


@pytest.mark.parametrize(
    ("split", "expected", "in_credit"),
    [
        pytest.param({"prepaid_wallet": "30"}, [("credit_note", "-30"), ("refund", "30")], "0", id="into the wallet"),
        pytest.param({"back_to_source": "30"}, [("credit_note", "-30"), ("refund", "30")], "0", id="back"),
        pytest.param({"next_invoice": "30"}, [("credit_note", "-30")], "30", id="kept for the next invoice"),
        pytest.param(
            {"next_invoice": "10", "prepaid_wallet": "20"},
            [("credit_note", "-30"), ("refund", "20")],
            "10",
            id="in parts",
        ),
    ],
)
async def test_a_refund_note_is_a_credit_and_what_goes_back_of_it(
    ledger: Ledger, split: dict[str, str], expected: list[tuple[str, str]], in_credit: str
) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100", paid="100")
    await ledger.on("2026-01-20")
    await credited(ledger, invoice, "30", split=split)
    statement = await stated(ledger, customer, "2026-01-20")
    assert entries(statement) == expected
    assert plain(statement.in_credit) == in_credit
    assert statement.closing == -statement.in_credit


async def test_money_on_no_invoice_and_its_refund(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    await unassigned(ledger, customer, "80")
    await ledger.on("2026-02-10")
    body = {"currency": "usd", "amount": "30", "refund_reason": "REQUESTED_BY_CUSTOMER", "reference": "RF18"}
    await ledger.account.post(f"/customers/{customer['id']}/unapplied-money/refund", body, 200)
    statement = await stated(ledger, customer)
    assert entries(statement) == [("payment", "-80"), ("refund", "30")]
    assert figures(statement) == ("0", "-50", "0", "50")
    async with ledger.account.transaction(read_only=True) as session:
        assert await account_currencies(session, customer["id"]) == ["usd"]


@pytest.mark.parametrize(
    ("last", "in_credit", "went_back", "left_charged", "left_tax"),
    [
        pytest.param(("68", "61"), "0", "149", "0", "0", id="all of it went back, and nothing is in credit"),
        pytest.param(("50", "60"), "17.6", "130", "1.4", "0.23", id="what did not go back yet is in credit"),
    ],
)
async def test_an_overpayment_that_went_back_lowers_no_charge(
    ledger: Ledger, last: tuple[str, str], in_credit: str, went_back: str, left_charged: str, left_tax: str
) -> None:
    """Lines of 60 and 40 with 19 % are 119, of which 149 were paid. Notes that give back more than 119 give back what
    was paid too much: no report of what was billed or earned is below 0, by line neither."""
    rate = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "19"}
    vat = (await ledger.account.post("/taxes/rates", rate))["id"]
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    lines = [{"display_name": name, "quantity": "1", "amount": name} for name in ("60", "40")]
    invoice = await ledger.invoiced(customer, "100", *lines, paid="149", tax_rates=[vat])
    await ledger.on("2026-02-10")
    await credited(ledger, invoice, "20")
    ids = [line["id"] for line in invoice["line_items"]]
    parts = [{"invoice_line_item_id": line, "amount": amount} for line, amount in zip(ids, last, strict=True)]
    await ledger.on("2026-02-11")
    await credited(ledger, invoice, "1", line_items=parts)
    statement = await stated(ledger, customer)
    assert figures(statement) == ("0", plain(-Decimal(in_credit)), "0", in_credit)
    notes = [amount for kind, amount in entries(statement) if kind == "credit_note"]
    assert notes == ["-20", plain(Decimal(left_charged) - 99)]
    assert await ledger.figure("net_billing_issued") == await ledger.figure("net_billing") == left_charged
    by_line = await ledger.by("net_billing_issued", "price_id")
    assert sum(Decimal(figure) for figure in by_line.values()) == Decimal(left_charged)
    tax = await ledger.figure("tax_charged")
    assert tax == left_tax
    earned_in_all = Decimal(left_charged) - Decimal(tax)
    assert Decimal(await ledger.figure("recognized_revenue")) == earned_in_all
    asked = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-03-01T00:00:00Z"}
    earned = (await ledger.account.post("/analytics/revenue", asked, expect=200))["rows"]
    assert sum(Decimal(str(row["net_amount"])) for row in earned) == earned_in_all
    assert (await ledger.account.get(f"/invoices/{invoice['id']}"))["refunded_amount"] == went_back
    assert await _faults(ledger) == []
    if Decimal(in_credit):
        await ledger.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
        assert figures(await stated(ledger, customer)) == ("0", "0", "0", "0")
        assert await ledger.figure("net_billing_issued") == await ledger.figure("net_billing") == "0"
        assert await _faults(ledger) == []


async def _faults(ledger: Ledger) -> list[Any]:
    async with ledger.account.transaction(read_only=True) as session:
        found = [*await statement_differences(session), *await report_differences(session, ledger.now)]
    return [*found, *await unreconciled(ledger.account)]


async def test_more_entries_than_one_can_list_are_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    for _ in range(3):
        await ledger.invoiced(customer, "1")
    monkeypatch.setattr(account_module, "MOST_ENTRIES", 2)
    with pytest.raises(ValidationFailed, match="at most 2 entries"):
        await stated(ledger, customer)


async def test_each_day_agrees_with_the_report_of_receivables(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100")
    await ledger.on("2026-02-10")
    await ledger.paid(invoice, "30")
    await ledger.on("2026-03-10")
    await ledger.invoiced(customer, "50", paid="70")
    await ledger.on("2026-04-10")
    await ledger.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
    reported = await ledger.over("total_receivables")
    for month, amount in zip(range(2, 6), reported.values(), strict=False):
        statement = await stated(ledger, customer, until=f"2026-{month:02}-01")
        assert plain(statement.unpaid) == amount
        assert statement.closing == statement.unpaid - statement.in_credit


_FAULTS = {
    "a payment that stands on its invoice as another amount": (
        "UPDATE invoice_settlements SET amount = amount - 1 WHERE kind = 'payment'",
        ("unpaid in usd on the statement", "6", "5"),
    ),
    "an invoice that says it is owed less": (
        "UPDATE invoices SET amount_paid = amount_paid + 2, amount_remaining = amount_remaining - 2 "
        "WHERE amount_remaining > 2",
        ("unpaid in usd on the statement", "5", "3"),
    ),
    "money on no invoice that is not all there": (
        "UPDATE unapplied_money SET allocated = allocated + 3",
        ("in credit in usd on the statement", "20", "17"),
    ),
}


@pytest.mark.parametrize("fault", _FAULTS)
async def test_a_closing_balance_that_is_not_what_is_owed_is_named(ledger: Ledger, fault: str) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    await ledger.invoiced(customer, "100", paid="95")
    await unassigned(ledger, customer, "20")
    async with ledger.account.transaction() as session:
        assert await statement_differences(session) == []
        statement, (figure, stated_amount, owed) = _FAULTS[fault]
        await session.execute(text(statement))
        found = await statement_differences(session)
        assert found == [Difference(customer["id"], figure, stated_amount, owed)]
        await session.rollback()


async def test_accounts_beyond_a_page_are_looked_at(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "PAGE", 1)
    customers = [await ledger.customer() for _ in range(3)]
    for customer in customers:
        await unassigned(ledger, customer, "20")
    async with ledger.account.transaction() as session:
        await session.execute(text("UPDATE unapplied_money SET allocated = 1"))
        found = [difference.where for difference in await statement_differences(session)]
        assert found == sorted(customer["id"] for customer in customers)
        await session.rollback()
