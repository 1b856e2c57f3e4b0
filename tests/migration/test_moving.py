"""A company moves from a running server to an empty environment, and finds what it left."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.billing.counter import cancel, opened
from tests.migration.removal import (
    MOVED_ON,
    NEXT_PERIOD,
    Removal,
    billed_after,
    customers_of,
    groups_of,
    open_invoices_of,
    summaries_of,
    terms_of,
)
from tests.subscriptions.shop import fixed


async def test_each_customer_owes_the_same_and_is_billed_the_same(own_removal: Removal) -> None:
    removal = own_removal
    draft = await _draft(removal)
    status, output = await removal.migrate()
    assert status == 1
    assert "is DRAFT; finalize or delete it at the source and run again" in output

    await removal.source.account.post(f"/invoices/{draft}/finalize", expect=200)
    status, output = await removal.migrate()
    assert "Both sides agree." in output, output
    assert status == 0, output
    assert await summaries_of(removal.target) == await summaries_of(removal.source)
    assert await open_invoices_of(removal.target) == await open_invoices_of(removal.source)
    agreed = await _same_terms(removal)
    assert agreed["wayne-labs"]["parent"] == "wayne"
    assert agreed["oscorp-team"]["parent"] == "oscorp"
    assert len(agreed["stark"]["phases"]) == 2
    assert agreed["tyrell"]["pauses"]
    assert agreed["umbrella"]["commitment_amount"] == "30"
    assert await removal.differences() == []

    await removal.bill_both()
    expected = await billed_after(removal.source, NEXT_PERIOD)
    assert {row[0] for row in expected} >= {"acme", "globex", "stark", "wayne", "umbrella", "oscorp"}
    assert await billed_after(removal.target, NEXT_PERIOD) == expected
    assert await summaries_of(removal.target) == await summaries_of(removal.source)
    assert await removal.differences() == []
    await _require_numbers_go_on(removal)

    # a pause has made its period longer, and the second phase has begun
    await removal.bill_both("2026-05-01")
    assert await billed_after(removal.target, NEXT_PERIOD) == await billed_after(removal.source, NEXT_PERIOD)
    await _same_terms(removal)


async def _draft(removal: Removal) -> str:
    line = {"display_name": "Extra", "amount": "10", "quantity": "1"}
    body = {
        "customer_id": (await customers_of(removal.source))["hooli"],
        "currency": "usd",
        **dict.fromkeys(("amount_due", "subtotal", "total"), "10"),
        "invoice_status": "DRAFT",
        "line_items": [line],
    }
    return str((await removal.source.account.post("/invoices", body))["id"])


async def _same_terms(removal: Removal) -> dict[str, Any]:
    """What was agreed with each customer, which is the same on both sides."""
    agreed = await terms_of(removal.source)
    assert await terms_of(removal.target) == agreed
    assert await groups_of(removal.target) == await groups_of(removal.source)
    return agreed


async def _require_numbers_go_on(removal: Removal) -> None:
    """New numbers go on after those of the source."""
    for office in (removal.source, removal.target):
        numbers = [invoice.invoice_number for invoice in await office.invoices()]
        assert len(numbers) == len(set(numbers))
    newest = [max(number for number in await open_invoices_of(office)) for office in (removal.source, removal.target)]
    assert newest[0] == newest[1]


async def test_a_converted_invoice_gives_back_the_same_on_both_sides(own_removal: Removal) -> None:
    """Ten days of a month that was charged in dollars and invoiced in rupees."""
    source, target = own_removal.source, own_removal.target
    rate = {"from_currency": "usd", "to_currency": "inr", "scope": "tenant", "rate": "83.125"}
    await source.on(MOVED_ON)
    await source.account.post("/forex", rate)
    customer = await source.customer("rupees", billing_currency="inr")
    await opened(source, await source.plan(fixed("31"), name="Converted"), customer)
    status, output = await own_removal.migrate(events_since=None)
    assert status == 0, output
    # copied with the books; an invoice keeps the rate that it was converted at
    (copied,) = (await target.account.post("/forex/query", {"scope": "tenant"}, expect=200))["items"]
    assert Decimal(copied["rate"]) == Decimal(rate["rate"])
    await target.account.put(f"/forex/{copied['id']}", {"rate": "90"})
    seen = []
    for office in (source, target):
        await office.on("2026-03-20")
        owner = (await customers_of(office))["rupees"]
        (subscription,) = (await office.account.get("/subscriptions", customer_id=owner))["items"]
        (row,) = (await office.account.get("/invoices", customer_id=owner))["items"]
        await cancel(office, subscription, proration_behavior="create_prorations")
        invoice = await office.account.get(f"/invoices/{row['id']}")
        conversion = {**invoice["fx_conversion"], "rate_id": ""}
        lines = [(line["amount"], line["fx_conversion"]["source"]["net"]) for line in invoice["line_items"]]
        seen.append((conversion, lines, invoice["total"], invoice["adjustment_amount"], invoice["amount_due"]))
    assert seen[0] == seen[1]
    assert Decimal(seen[0][3]) > 0
    assert await own_removal.differences() == []
