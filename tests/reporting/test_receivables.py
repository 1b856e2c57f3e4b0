"""What was owed at any moment, and how old it was."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from farthing.reporting.commands import RequestedReport, print_report
from tests.reporting.ledger import Ledger


async def test_receivables_at_the_end_of_each_month(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100")
    await ledger.on("2026-02-10")
    await ledger.paid(invoice, "30")
    other = await ledger.invoiced(customer, "50")
    await ledger.on("2026-03-10")
    await ledger.account.post(f"/invoices/{other['id']}/void", {}, expect=200)
    await ledger.on("2026-04-10")
    await ledger.paid(invoice, "70")
    assert list((await ledger.over("total_receivables")).values()) == ["100", "120", "70", "0"]


AS_OF = "2026-01-01..2026-07-01"


@pytest.mark.parametrize(
    ("due", "age"),
    [
        pytest.param(None, "not_due", id="no due date"),
        pytest.param("2026-07-01T00:00:00Z", "not_due", id="due exactly then"),
        pytest.param("2026-06-30T23:59:59Z", "1_30", id="a second late is a day"),
        pytest.param("2026-06-01T00:00:00Z", "1_30", id="thirty days"),
        pytest.param("2026-05-31T23:59:59Z", "31_60", id="thirty days and a second"),
        pytest.param("2026-05-02T00:00:00Z", "31_60", id="sixty days"),
        pytest.param("2026-04-02T00:00:00Z", "61_90", id="ninety days"),
        pytest.param("2026-04-01T23:59:59Z", "over_90", id="ninety days and a second"),
    ],
)
@pytest.mark.parametrize("looked_at", ["2026-07-01", "2026-09-01"])
async def test_ages(ledger: Ledger, due: str | None, age: str, looked_at: str) -> None:
    customer = await ledger.customer()
    await ledger.invoiced(customer, "10", **({"due_date": due} if due else {}))
    await ledger.on(looked_at)
    assert await ledger.by("receivables_aging", range=AS_OF) == {age: "10"}


async def test_what_is_owed_now_is_what_invoices_say(ledger: Ledger) -> None:
    customer = await ledger.customer()
    for amount, paid in (("100", "30"), ("50", "50"), ("20", None)):
        await ledger.invoiced(customer, amount, paid=paid)
    summary = await ledger.account.get(f"/customers/{customer['id']}/invoices/summary")
    assert await ledger.figure("total_receivables") == summary["summaries"][0]["total_unpaid_amount"] == "90"


async def test_days_to_pay(ledger: Ledger) -> None:
    customer = await ledger.customer()
    first, second = await ledger.invoiced(customer, "10"), await ledger.invoiced(customer, "10")
    await ledger.on("2026-01-04")
    await ledger.paid(first, "10")
    await ledger.on("2026-01-05T08:00")
    await ledger.paid(second, "10")
    assert await ledger.table("days_to_pay", currency="usd") == [["3.67"]]
    assert (await ledger.over("days_to_pay"))["2026-01-01"] == "3.67"


async def test_money_that_came_in(ledger: Ledger) -> None:
    paying, owing = await ledger.customer(), await ledger.customer()
    await ledger.invoiced(paying, "100", paid="60")
    await ledger.invoiced(owing, "10")
    assert await ledger.by("collected", "payment_method_type") == {"OFFLINE": "60"}
    assert await ledger.figure("arpu_paid") == "60"


async def test_reports_show_the_loss_when_it_happened_and_the_money_when_it_came(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(customer, "100")
    await ledger.on("2026-02-10")
    await ledger.account.post(f"/invoices/{invoice['id']}/write-off", {"reason": "gone"}, expect=200)
    await ledger.on("2026-03-10")
    await ledger.paid(invoice, "30")
    await ledger.on("2026-04-10")
    await ledger.account.post(f"/invoices/{invoice['id']}/write-off/undo", {}, expect=200)
    await ledger.on("2026-05-10")
    lost = await ledger.over("written_off")
    assert list(lost.values())[:5] == ["0", "100", "-30", "-70", "0"]
    assert list((await ledger.over("total_receivables")).values()) == ["100", "0", "0", "70", "70"]
    # what was invoiced stays invoiced
    assert await ledger.figure("invoice_total_issued") == "100"
    assert await ledger.by("written_off", "customer_id") == {customer["id"]: "0"}


async def test_the_command_prints_a_table_or_csv(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    await ledger.on("2026-01-10")
    await ledger.invoiced(await ledger.customer(), "123.45")
    year = RequestedReport("net_billing", "2026-01-01..2026-12-31", None, (), None, ledger.account.environment_id)
    for as_csv in (False, True):
        printed = io.StringIO()
        await print_report(ledger.account.database, Console(file=printed, width=200), year, csv=as_csv)
        said = printed.getvalue() + capsys.readouterr().out
        assert "123.45" in said
        assert ("currency,net_billing" in said) is as_csv
