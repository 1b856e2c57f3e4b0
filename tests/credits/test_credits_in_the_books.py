"""Credits from their sale to the last void, over HTTP: every figure that a finance person looks at, to the cent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.billing.office import Office
from tests.credits.ledger_desk import LedgerDesk
from tests.credits.notes.notebook import Notebook
from tests.invoices.desk import fixed, usage
from tests.reporting.reconciliation import unreconciled

BONUS = {
    "threshold": "1000",
    "operator": "gte",
    "bonus": {"type": "percentage", "value": "10"},
    "expiration_duration": 30,
    "expiration_duration_unit": "DAY",
}


async def _sell(office: Office, desk: LedgerDesk, customer: str) -> dict[str, Any]:
    """1,000 credits at 0.80 with a bonus of 100 for 30 days; the customer pays 20.00 too much, which are set aside."""
    value = {"enabled": True, "slabs": [BONUS]}
    await office.account.put("/settings/bonus_credits_topup_config", {"value": value})
    wallet = await desk.wallet(customer, topup_conversion_rate="0.8")
    sold = await desk.top_up(wallet, "1000", transaction_reason="PURCHASED_CREDIT_INVOICED")
    asked = await office.account.get(f"/invoices/{sold['invoice_id']}")
    assert (asked["total"], await desk.balance(wallet)) == ("800", "0")
    await Notebook(office.account).till.pay(asked, "820")
    await office.account.post(f"/invoices/{asked['id']}/overpayment/move", None, 200)
    assert await desk.balance(wallet) == "1100"
    return wallet


async def _bill(office: Office, desk: LedgerDesk, customer: str) -> None:
    """An unpaid invoice with tax is paid in part, adjusted, and takes what was set aside; a paid one is refunded."""
    notebook = Notebook(office.account)
    taxed = await desk.billed(customer, [usage("60"), fixed("50")], tax_rates=[await desk.tax("19%")])
    assert (taxed["total_prepaid_credits_applied"], taxed["total_tax"], taxed["total"]) == ("60", "20.9", "70.9")
    await notebook.till.pay(taxed, "30")
    await notebook.credit(taxed, "", "11.90")
    allocations = [{"invoice_id": taxed["id"], "amount": "20"}]
    path = f"/customers/{customer}/unapplied-money/allocate"
    await office.account.post(path, {"currency": "usd", "allocations": allocations}, 200)
    paid = await desk.billed(customer, [fixed("200")])
    await notebook.till.pay(paid, "200")
    await notebook.credit(paid, "25")


async def _void(office: Office, desk: LedgerDesk, customer: str) -> None:
    """An invoice that credits paid, and one that money paid."""
    by_credits, by_money = await desk.billed(customer, [usage("150")]), await desk.billed(customer, [fixed("30")])
    await Notebook(office.account).till.pay(by_money, "30")
    for invoice in (by_credits, by_money):
        await office.account.post(f"/invoices/{invoice['id']}/void", {}, 200)


async def test_credits_reconcile_to_the_cent(office: Office) -> None:
    account, desk = office.account, LedgerDesk(office.account)
    customer = await desk.customer()
    wallet = await _sell(office, desk, customer)
    await _bill(office, desk, customer)
    clock = f"/environments/{account.environment_id}/clock"
    await account.post(clock, {"frozen_time": "2026-02-02T00:00:00Z"}, 200)
    assert await desk.balance(wallet) == "1025"  # 1,100 less 60 used and 40 expired, and 25 refunded
    await _void(office, desk, customer)

    ledger = [(row["transaction_reason"], row["credit_amount"], row["amount"]) for row in await desk.rows(wallet)]
    assert ledger == [
        ("PURCHASED_CREDIT_INVOICED", "1000", "800"),
        ("PURCHASED_CREDIT_BONUS", "100", "80"),
        ("CREDIT_ADJUSTMENT", "60", "60"),
        ("CREDIT_NOTE", "25", "25"),
        ("CREDIT_EXPIRED", "40", "40"),
        ("CREDIT_ADJUSTMENT", "150", "150"),
        ("INVOICE_VOID_REFUND", "150", "150"),
        ("INVOICE_VOID_REFUND", "30", "30"),
    ]
    period: dict[str, Any] = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-03-01T00:00:00Z"}
    stated = await account.get(f"/wallets/{wallet['id']}/statement", **period)
    figures = ("opening_credit_balance", "credits_added", "credits_taken", "closing_credit_balance", "closing_balance")
    assert [stated[name] for name in figures] == ["0", "1305", "250", "1055", "1055"]
    shown = await account.get(f"/wallets/{wallet['id']}/balance/real-time", expand="credits_available_breakdown")
    assert (shown["balance"], shown["real_time_balance"], shown["unpaid_invoices_amount"]) == ("1055", "1055", "0")
    assert shown["credits_available_breakdown"] == {"purchased": "1055", "free": "0"}

    (summary,) = (await account.get(f"/customers/{customer}/invoices/summary"))["summaries"]
    names = ("total_revenue_amount", "total_unpaid_amount", "total_invoice_count", "unpaid_invoice_count")
    assert [summary[name] for name in names] == ["1034", "9", 3, 1]  # 800, 59 after the note, 200 less 25
    (ageing,) = (await account.get(f"/customers/{customer}/invoices/aging"))["items"]
    assert ageing["total"] == "9"
    assert (await account.get(f"/customers/{customer}/unapplied-money"))["balances"] == []
    payments = (await account.get("/payments", limit=100))["items"]
    assert sorted(Decimal(payment["amount"]) for payment in payments) == [30, 30, 200, 820]
    notes = (await account.get("/creditnotes"))["items"]
    assert {(note["credit_note_type"], note["net_amount"], note["tax_amount"]) for note in notes} == {
        ("ADJUSTMENT", "10", "1.9"),
        ("REFUND", "25", "0"),
    }
    assert await unreconciled(account) == []
    await desk.require_sound()
