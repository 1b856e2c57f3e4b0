"""Corrections where invoices are converted, over a year with a rate that changes; every total is reconciled."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.account import Account
from tests.billing.charges.bureau import Bureau
from tests.billing.corrections.correcting import correct, preview, void
from tests.billing.counter import cancel, opened, owed
from tests.billing.late_usage.lateness import send, settled
from tests.reporting.reconciliation import unreconciled
from tests.subscriptions.shop import fixed


async def bureau_of(account: Account) -> Bureau:
    bureau = Bureau(account)
    await bureau.on("2026-01-01")
    await bureau.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    return bureau


async def euros(bureau: Bureau, rate: str) -> None:
    """The rate from euros to rupees from now on."""
    body = {"from_currency": "eur", "to_currency": "inr", "scope": "tenant", "rate": rate}
    listed = (await bureau.account.post("/forex/query", {}, 200))["items"]
    if listed:
        await bureau.account.put(f"/forex/{listed[0]['id']}", {"rate": rate}, 200)
    else:
        await bureau.account.post("/forex", body)


async def test_a_year_of_euros_in_rupees_is_corrected_at_the_rates_of_its_invoices(account: Account) -> None:
    bureau = await bureau_of(account)
    await bureau.settings(late_usage_policy="next_invoice")
    await euros(bureau, "90.10")
    calls = await bureau.feature("calls")
    plan = await bureau.plan(fixed("12.34", currency="eur"), bureau.usage(calls, "0.37", currency="eur"), name="Pro")
    await settled(bureau)
    customer = await bureau.payer()
    promise: dict[str, Any] = {"commitment_amount": "3.33", "overage_factor": "1.5", "enable_true_up": True}
    subscription = await opened(bureau, plan, customer, currency="eur", **promise)
    for month in range(1, 12):
        for number in range(month):
            await send(bureau, customer, f"m{month}-{number}", f"2026-{month:02}-10")
        if month > 1:
            await send(bureau, customer, f"late{month}", f"2026-{month - 1:02}-20")
        await bureau.run(f"2026-{month + 1:02}-01")
        await euros(bureau, str(Decimal("90.10") + Decimal("0.731") * month))
        invoices = await bureau.issued(subscription)
        if month % 3 == 0:
            await bureau.paid(invoices[-2])
        if month % 4 == 0:
            await void(bureau, f"m{month}-0", f"m{month}-1", f"m{month}-2")
            invoice = next(row for row in invoices if row["period_start"].startswith(f"2026-{month:02}"))
            await bureau.account.http.post(f"/invoices/{invoice['id']}/corrections", json={"resolution": "credit_note"})
        assert await unreconciled(account) == []
    await bureau.require_sound()
    assert [row for row in await owed(bureau, customer) if not row.startswith("inr ")] == ["eur 0/0/0/0"]


async def test_what_an_ended_subscription_used_more_is_invoiced_in_the_payers_currency(account: Account) -> None:
    bureau = await bureau_of(account)
    await euros(bureau, "90")
    plan = await bureau.plan(bureau.usage(await bureau.feature("calls"), "1", currency="eur"))
    await settled(bureau)
    customer = await bureau.payer()
    subscription = await opened(bureau, plan, customer, currency="eur")
    await send(bureau, customer, "a", "2026-01-05")
    await bureau.on("2026-01-20")
    await cancel(bureau, subscription, cancel_immediately_invoice_policy="generate_invoice")
    (last,) = await bureau.issued(subscription)
    assert (last["currency"], last["total"]) == ("inr", "90")
    await euros(bureau, "100")
    await send(bureau, customer, "b", "2026-01-06")
    (invoice,) = await bureau.invoices()
    seen = await preview(bureau, invoice)
    assert seen["difference"] == "1"
    made = await correct(bureau, invoice, "next_invoice")
    extra = await account.get(f"/invoices/{made['charged_invoice_id']}")
    assert (extra["currency"], extra["total"]) == ("inr", "100")
    await void(bureau, "a", "b")
    taken = await correct(bureau, invoice)
    assert [line["net_amount"] for line in taken["lines"]] == ["90", "100"]
    assert (await preview(bureau, invoice))["difference"] == "0"
    assert await unreconciled(account) == []
    await bureau.require_sound()
