"""What was invoiced, in its two views, with worked numbers."""

from __future__ import annotations

from tests.reporting.ledger import Ledger

USAGE = {"price_type": "USAGE", "quantity": "1"}


async def voided(ledger: Ledger, invoice: dict[str, str]) -> None:
    await ledger.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)


async def noted(ledger: Ledger, invoice: dict[str, str], amount: str, **more: str) -> dict[str, str]:
    line = (await ledger.account.get(f"/invoices/{invoice['id']}"))["line_items"][0]
    made: dict[str, str] = await ledger.account.post(
        "/creditnotes",
        {
            "invoice_id": invoice["id"],
            "reason": "BILLING_ERROR",
            "process_credit_note": True,
            "line_items": [{"invoice_line_item_id": line["id"], "amount": amount}],
            **more,
        },
    )
    return made


async def test_a_closed_month_keeps_its_figure_as_issued_and_is_restated_by_period(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    wrong = await ledger.invoiced(customer, "100")
    await ledger.invoiced(customer, "40")
    await ledger.on("2026-03-05")
    await voided(ledger, wrong)
    await ledger.invoiced(customer, "90")
    by_period = await ledger.over("invoice_total")
    assert (by_period["2026-01-01"], by_period["2026-03-01"]) == ("40", "90")
    issued = await ledger.over("invoice_total_issued")
    assert (issued["2026-01-01"], issued["2026-03-01"]) == ("140", "-10")
    assert await ledger.figure("invoice_total") == await ledger.figure("invoice_total_issued") == "130"


async def test_a_note_counts_at_its_invoice_or_when_it_took_effect(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100")
    await ledger.on("2026-02-10")
    await noted(ledger, invoice, "25")
    assert (await ledger.over("net_billing"))["2026-01-01"] == "75"
    issued = await ledger.over("net_billing_issued")
    assert (issued["2026-01-01"], issued["2026-02-01"]) == ("100", "-25")


async def test_the_void_of_an_invoice_takes_its_notes_back_too(ledger: Ledger) -> None:
    customer = await ledger.customer()
    invoice = await ledger.invoiced(customer, "100")
    await noted(ledger, invoice, "25")
    await ledger.on("2026-02-10")
    await voided(ledger, invoice)
    assert await ledger.figure("net_billing") == await ledger.figure("net_billing_issued") == "0"
    assert (await ledger.over("net_billing_issued"))["2026-02-01"] == "-75"


async def test_the_void_of_a_note_leaves_a_closed_month_as_it_was(ledger: Ledger) -> None:
    customer = await ledger.customer()
    rate = await ledger.account.post(
        "/taxes/rates", {"name": "VAT", "code": "VAT", "tax_rate_type": "percentage", "percentage_value": "25"}
    )
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100", tax_rates=[rate["id"]])
    await ledger.on("2026-02-10")
    note = await noted(ledger, invoice, "50")
    as_issued = ("net_billing_issued", "tax_charged", "total_receivables", "recognized_revenue")
    until_then = [list((await ledger.over(key)).values())[:2] for key in as_issued]
    assert until_then == [["125", "-50"], ["25", "-10"], ["125", "75"], ["100", "-40"]]
    await ledger.on("2026-04-10")
    await ledger.account.post(f"/creditnotes/{note['id']}/void", {}, expect=200)
    assert [list((await ledger.over(key)).values())[:2] for key in as_issued] == until_then
    april = [(await ledger.over(key))["2026-04-01"] for key in as_issued]
    assert april == ["50", "10", "125", "40"]
    assert (await ledger.over("net_billing"))["2026-01-01"] == "125"
    revenue = {"start_time": "2026-02-01T00:00:00Z", "end_time": "2026-05-01T00:00:00Z", "granularity": "day"}
    rows = (await ledger.account.post("/analytics/revenue", revenue, expect=200))["rows"]
    assert [(row["day"], row["net_amount"]) for row in rows] == [("2026-02-10", -40), ("2026-04-10", 40)]


async def test_currencies_are_never_added(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.invoiced(customer, "100")
    await ledger.invoiced(customer, "7", currency="eur")
    assert await ledger.table("invoice_total") == [["eur", "7"], ["usd", "100"]]
    assert await ledger.table("invoice_total", currency="EUR") == [["7"]]


async def test_the_parts_by_line_add_up_to_the_invoice(ledger: Ledger) -> None:
    rate = await ledger.account.post(
        "/taxes/rates", {"name": "VAT", "code": "VAT", "tax_rate_type": "percentage", "percentage_value": "19"}
    )
    calls = await ledger.feature("calls")
    customer = await ledger.customer()
    lines = [
        {**USAGE, "display_name": "Calls", "amount": "33.33", "meter_id": calls["meter_id"]},
        {"display_name": "Fee", "amount": "33.34", "quantity": "1"},
    ]
    invoice = await ledger.invoiced(customer, "66.67", *lines, tax_rates=[rate["id"]])
    total = (await ledger.account.get(f"/invoices/{invoice['id']}"))["total"]
    by_meter = await ledger.by("invoice_total", "meter_id")
    assert sum(map(float, by_meter.values())) == float(total)
    assert await ledger.by("tax_charged", "tax_rate_id") == {rate["id"]: "12.67"}
