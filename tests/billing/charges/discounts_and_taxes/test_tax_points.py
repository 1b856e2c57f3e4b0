"""19 % until 1 July and 16 % from then on: each line carries the rate of its own tax point."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.invoices.figures.derivation import differences
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

TURN = "2026-07-01T00:00:00Z"


async def taxed(office: Office, *prices: Any, addons: Any = (), **more: Any) -> Subscription:
    """A subscription whose customer has both rates, begun now."""
    customer = await office.customer()
    for code, percentage, window in (
        ("nineteen", "19", {"start_date": "2025-01-01T00:00:00Z", "end_date": TURN}),
        ("sixteen", "16", {"start_date": TURN}),
    ):
        rate = {"name": code, "code": code, "tax_rate_type": "percentage", "percentage_value": percentage}
        await office.account.post("/taxes/rates", rate)
        association = {"tax_rate_code": code, "external_customer_id": customer["external_id"], "auto_apply": True}
        await office.account.post("/taxes/associations", {**association, **window}, expect=200)
    return await office.subscribed(await office.plan(*prices), customer, addons=list(addons), **more)


async def taxes(office: Office, invoice: Invoice) -> list[tuple[str, str, str]]:
    """Rate, taxable amount and tax of each tax of an invoice that its facts bear out."""
    async with office.account.transaction(read_only=True) as session:
        stored = await session.get(Invoice, invoice.id)
        assert stored is not None
        assert await differences(session, stored) == []
    shown = await office.account.get(f"/invoices/{invoice.id}")
    names = {rate["id"]: rate["code"] for rate in (await office.account.get("/taxes/rates"))["items"]}
    return [(names[tax["tax_rate_id"]], tax["taxable_amount"], tax["tax_amount"]) for tax in shown["taxes"]]


def plain(found: list[tuple[str, str, str]]) -> list[tuple[str, float, float]]:
    return [(code, float(base), float(tax)) for code, base, tax in found]


async def test_arrear_and_advance_on_one_invoice(office: Office) -> None:
    await office.on("2026-06-01")
    subscription = await taxed(office, fixed("100"), fixed("100", **ARREAR))
    await office.run("2026-07-01")
    opening, renewal = await office.invoices(subscription)
    assert plain(await taxes(office, opening)) == [("nineteen", 100, 19)]
    assert plain(await taxes(office, renewal)) == [("nineteen", 100, 19), ("sixteen", 100, 16)]
    assert renewal.total == 235


async def test_a_year_in_advance(office: Office) -> None:
    subscription = await taxed(office, fixed("1200", billing_period="ANNUAL"), billing_period="ANNUAL")
    (opening,) = await office.invoices(subscription)
    assert plain(await taxes(office, opening)) == [("nineteen", 1200, 228)]


async def test_a_period_in_arrear_that_spans_the_turn(office: Office) -> None:
    await office.on("2026-06-15")
    subscription = await taxed(office, fixed("100", **ARREAR))
    await office.run("2026-07-15")
    (invoice,) = await office.invoices(subscription)
    assert plain(await taxes(office, invoice)) == [("sixteen", 100, 16)]


async def test_more_seats_before_the_turn(office: Office) -> None:
    await office.on("2026-06-01")
    subscription = await taxed(office, fixed("30", min_quantity=1))
    await office.on("2026-06-21")
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    change = {"id": read["line_items"][0]["id"], "quantity": "2"}
    body = {"type": "quantity_change", "quantity_change_params": {"line_items": [change]}}
    await office.account.post(f"/subscriptions/{subscription.id}/modify/execute", body, expect=200)
    (seats,) = [
        invoice for invoice in await office.invoices(subscription) if invoice.billing_reason == "SUBSCRIPTION_UPDATE"
    ]
    assert plain(await taxes(office, seats)) == [("nineteen", 10, 1.9)]


@pytest.mark.parametrize("day", ["2026-07-01", "2026-07-03"])
async def test_a_preview_shows_what_the_invoice_will_show(office: Office, day: str) -> None:
    await office.on("2026-06-01")
    subscription = await taxed(office, fixed("100"), fixed("40", **ARREAR))
    shown = await office.account.post("/invoices/preview", {"subscription_id": subscription.id}, expect=200)
    await office.run(day)
    renewal = (await office.invoices(subscription))[-1]
    assert float(shown["total_tax"]) == float(renewal.total_tax) == 23.6


async def test_proof_finds_a_tax_on_the_wrong_line(office: Office) -> None:
    await office.on("2026-06-01")
    subscription = await taxed(office, fixed("100"), fixed("50", **ARREAR))
    await office.run("2026-07-01")
    renewal = (await office.invoices(subscription))[-1]
    async with office.account.transaction() as session:
        stored = await session.get(Invoice, renewal.id)
        assert stored is not None
        stored.tax_terms = [{**term, "start": None, "end": None} for term in stored.tax_terms]
        wrong = await differences(session, stored)
        await session.rollback()
    assert {difference.figure for difference in wrong} >= {"taxes", "total_tax", "total"}
