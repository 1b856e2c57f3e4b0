"""Corrections, one after the other, of lines that share in a fixed discount: to the cent, and all of it in the end.

Rule: docs/rules/late-usage.md#corrections-of-invoices
"""

from __future__ import annotations

import random
from decimal import ROUND_HALF_UP, Decimal

import pytest

from tests.billing.corrections.correcting import correct, faults, january, preview, void
from tests.billing.late_usage.lateness import settled
from tests.billing.office import Office

PRICES = {"calls": Decimal("0.335"), "bytes": Decimal("1.11"), "seats": Decimal("0.07")}
OFF = {
    "name": "off",
    "coupon_code": "off",
    "type": "fixed",
    "amount_off": "7.01",
    "currency": "usd",
    "cadence": "forever",
}
TAX = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "19"}


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


@pytest.mark.parametrize("seed", range(2))
async def test_each_line_keeps_its_share_of_a_fixed_discount_to_the_cent(office: Office, seed: int) -> None:
    """What is left of a line is what its usage costs now less its share of the discount, as long as it can take that,
    however many corrections it took to come there; when nothing is left, all that was charged is taken back."""
    chance = random.Random(seed)
    await office.account.post("/taxes/rates", TAX)
    await office.account.post("/coupons", OFF)
    plan = await office.plan(*[office.usage(await office.feature(name), str(price)) for name, price in PRICES.items()])
    await settled(office)
    customer = await office.customer()
    subscription = await office.subscribed(
        plan,
        customer,
        subscription_coupons=[{"coupon_code": "off"}],
        tax_rate_overrides=[{"tax_rate_code": "vat", "currency": "usd", "priority": 1, "auto_apply": True}],
    )
    live = [f"{name}-{number}" for name in PRICES for number in range(chance.randint(5, 25))]
    events = [
        {
            "event_id": event_id,
            "event_name": event_id.split("-")[0],
            "external_customer_id": customer["external_id"],
            "timestamp": "2026-01-15T00:00:00Z",
        }
        for event_id in live
    ]
    await office.account.post("/events/bulk", {"events": events}, expect=202)
    await office.run("2026-02-01")
    invoice = await january(office, subscription)
    rows = await office.rows(invoice)
    shares = {row.display_name: row.line_item_discount + row.invoice_level_discount for row in rows}
    assert sum(shares.values()) == min(Decimal("7.01"), invoice.subtotal)
    taken_net = taken_tax = Decimal(0)
    while live:
        gone = chance.sample(live, min(len(live), chance.randint(1, 20)))
        await void(office, *gone)
        live = [event_id for event_id in live if event_id not in gone]
        made = await office.account.http.post(f"/invoices/{invoice.id}/corrections", json={"resolution": "credit_note"})
        if made.status_code == 200:
            taken_net += Decimal(made.json()["net_amount"])
            taken_tax += Decimal(made.json()["tax_amount"])
        costs = {name: cents(price * sum(one.startswith(name) for one in live)) for name, price in PRICES.items()}
        left = sum(max(costs[name] - shares[name], Decimal(0)) for name in PRICES)
        assert sum(row.amount for row in rows) - sum(shares.values()) - taken_net == left
    assert taken_net + taken_tax == invoice.total
    assert (await preview(office, invoice))["total_credit"] == "0"
    await correct(office, invoice, "next_invoice", expect=400)
    assert await faults(office, [invoice]) == []
