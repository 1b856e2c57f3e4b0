"""An invoice carries the taxes of who pays it; a payer who is exempt is charged none."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.invoices.figures.derivation import differences
from farthing.invoices.tables import Invoice
from tests.billing.counter import Body, open_items, opened, seats
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def taxed(office: Office, name: str, percentage: str) -> Body:
    """A customer with a rate of its own, called like it."""
    customer = await office.customer(name)
    rate = {"name": name, "code": name, "tax_rate_type": "percentage", "percentage_value": percentage}
    await office.account.post("/taxes/rates", rate)
    association = {"tax_rate_code": name, "external_customer_id": customer["external_id"], "auto_apply": True}
    await office.account.post("/taxes/associations", {**association, "start_date": "2025-01-01T00:00:00Z"}, 200)
    return customer


async def taxes_of(office: Office) -> list[str]:
    """Subtotal and tax of each invoice, oldest first, as its facts bear out."""
    found = await office.invoices()
    async with office.account.transaction(read_only=True) as session:
        for invoice in found:
            stored = await session.get(Invoice, invoice.id)
            assert stored is not None
            assert await differences(session, stored) == []
    return [f"{invoice.subtotal:.2f} + {invoice.total_tax:.2f}" for invoice in found]


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        pytest.param(None, 10, id="the payer's"),
        pytest.param([], 0, id="none, as it was agreed"),
        pytest.param([{"tax_rate_code": "user", "currency": "usd", "auto_apply": True}], 20, id="its own"),
    ],
)
async def test_a_delegated_subscription_has_the_taxes_of_its_payer(office: Office, overrides: Any, rate: int) -> None:
    user, _ = await taxed(office, "user", "20"), await taxed(office, "payer", "10")
    terms: dict[str, Any] = {} if overrides is None else {"tax_rate_overrides": overrides}
    inheritance = {"invoicing_customer_external_id": "payer"}
    await opened(office, await office.plan(fixed("100")), user, inheritance=inheritance, **terms)
    await office.run("2026-02-01")
    assert await taxes_of(office) == [f"100.00 + {rate}.00"] * 2


async def test_a_family_s_invoices_have_the_taxes_of_its_payer_in_mid_period_too(office: Office) -> None:
    parent, child = await taxed(office, "parent", "10"), await taxed(office, "child", "20")
    seat = {"external_customer_id": child["external_id"], "plan_id": (await office.plan(fixed("30")))["id"]}
    inheritance = {"grouped_invoicing_children_to_create": [seat]}
    made = await opened(office, await office.plan(fixed("100")), parent, inheritance=inheritance)
    found = await office.account.post("/subscriptions/search", {"parent_subscription_ids": [made["id"]]}, 200)
    (grouped,) = found["items"]
    await office.on("2026-01-16T12:00")
    (item,) = await open_items(office, grouped)
    await seats(office, grouped, item, 2)
    assert await taxes_of(office) == ["130.00 + 13.00", "15.00 + 1.50"]


async def test_a_payer_who_is_exempt_is_charged_no_tax_from_the_next_invoice_on(office: Office) -> None:
    """Drafts follow, what is finalized stays; and back again.

    A second seat half-way is charged without tax: the taxed half of the first is taken back and lowers no charge.
    """
    customer = await taxed(office, "acme", "20")
    made = await opened(office, await office.plan(fixed("100")), customer)
    (item,) = await open_items(office, made)
    charge = {"display_name": "Work", "amount": "50", "quantity": "1"}
    one_off = {"customer_id": customer["id"], "currency": "usd", "line_items": [charge], "tax_rates": ["acme"]}
    one_off |= {"subtotal": "50", "total": "50", "amount_due": "50", "invoice_status": "DRAFT"}
    rates = await office.account.get("/taxes/rates")
    one_off["tax_rates"] = [rates["items"][0]["id"]]
    draft = await office.account.post("/invoices", one_off)
    assert await taxes_of(office) == ["100.00 + 20.00", "50.00 + 10.00"]
    path = f"/customers/{customer['id']}"
    await office.account.put(path, {"tax_treatment": "exempt"})
    await office.account.post(f"/invoices/{draft['id']}/finalize", {}, 200)
    await office.on("2026-01-16T12:00")
    await seats(office, made, item, 2)
    await office.run("2026-02-01")
    untaxed = ["100.00 + 0.00", "200.00 + 0.00", "50.00 + 0.00"]
    assert sorted(await taxes_of(office)) == sorted(["100.00 + 20.00", *untaxed])
    (note,) = (await office.account.get("/creditnotes"))["items"]
    assert (note["net_amount"], note["tax_amount"]) == ("50", "10")
    await office.account.put(path, {"tax_treatment": "taxable"})
    await office.run("2026-03-01")
    assert sorted(await taxes_of(office)) == sorted(["100.00 + 20.00", "200.00 + 40.00", *untaxed])
