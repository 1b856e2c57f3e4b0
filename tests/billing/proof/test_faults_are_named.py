"""Whatever is changed behind the books in discounts, taxes, service time and settlements, the doctor names."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.proof.budgets import coupon_differences
from farthing.billing.proof.completeness import incomplete
from farthing.billing.proof.invoices import prove
from farthing.billing.proof.settlements import settlement_differences
from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.tables import Invoice
from tests.billing.counter import Body, cancel, coupon, do, open_items, opened, percent, seats
from tests.billing.office import ARREAR, Office
from tests.billing.proof.faults import require_each_named
from tests.subscriptions.shop import fixed

PRORATED = {"proration_behavior": "create_prorations"}

# the opening's line, the renewal that charges fees both ways, and the settlements of seats, of the plan and of the end
_OPENING = "(SELECT id FROM invoices WHERE billing_reason = 'SUBSCRIPTION_CREATE')"
_RENEWAL = "(SELECT id FROM invoices WHERE billing_reason = 'SUBSCRIPTION_CYCLE' ORDER BY period_start LIMIT 1)"
_MORE = "(SELECT id FROM invoices WHERE billing_reason = 'SUBSCRIPTION_UPDATE' ORDER BY period_start LIMIT 1)"
_FEE = f"(SELECT id FROM invoice_line_items WHERE invoice_id = {_OPENING})"
_MORE_FEE = f"(SELECT id FROM invoice_line_items WHERE invoice_id = {_MORE} LIMIT 1)"
_SEATS = "(SELECT id FROM proration_settlements WHERE action = 'quantity')"
_END = "(SELECT id FROM proration_settlements WHERE credited_to_payer > 0)"


def _line(change: str, line: str = _FEE) -> str:
    return f"UPDATE invoice_line_items SET {change} WHERE id = {line}"


def _settlement(change: str, settlement: str = _SEATS) -> str:
    return f"UPDATE proration_settlements SET {change} WHERE id = {settlement}"


def _terms(change: str, invoice: str = _OPENING) -> str:
    return f"UPDATE invoices SET coupon_terms = jsonb_set(coupon_terms, {change}) WHERE id = {invoice}"


FAULTS = {
    "a line's discount": _line("invoice_level_discount = invoice_level_discount - 1"),
    "a line's discount is one of the other kind": _line(
        "invoice_level_discount = 0, line_item_discount = invoice_level_discount"
    ),
    "what a coupon took": f"""
        UPDATE coupon_applications SET discounted_amount = discounted_amount + 1 WHERE invoice_id = {_OPENING}
    """,
    "what a coupon was computed on": f"""
        UPDATE coupon_applications SET original_price = original_price + 1 WHERE invoice_id = {_OPENING}
    """,
    "which period's budget a coupon drew on": f"""
        UPDATE coupon_applications SET period_start = period_start - interval '1 month'
        WHERE invoice_id = {_RENEWAL} AND period_start IS NOT NULL
    """,
    "what is left of a budget": _terms("""'{0,budgets,0,left}', '"3"'"""),
    "what is left of a budget, in every place": f"""
        WITH line AS (
            UPDATE invoice_line_items SET invoice_level_discount = invoice_level_discount - 1 WHERE id = {_FEE}
        ), application AS (
            UPDATE coupon_applications SET discounted_amount = 9, final_price = final_price + 1
            WHERE invoice_id = {_OPENING} AND period_start IS NOT NULL
        )
        UPDATE invoices SET coupon_terms = jsonb_set(coupon_terms, '{{0,budgets,0,left}}', '"9"') WHERE id = {_OPENING}
    """,
    "from when a coupon discounts": _terms("""'{0,start}', '"2026-03-01T00:00:00Z"'"""),
    "a coupon for one invoice on another": f"""
        INSERT INTO coupon_applications SELECT (jsonb_populate_record(application, jsonb_build_object(
            'id', 'ca_again', 'invoice_id', {_RENEWAL}))).*
        FROM coupon_applications AS application JOIN coupons ON coupons.id = coupon_id AND cadence = 'once'
        LIMIT 1
    """,
    "a tax": f"UPDATE taxes_applied SET tax_amount = tax_amount + 1 WHERE entity_id = {_OPENING}",
    "what a tax is on": f"UPDATE taxes_applied SET taxable_amount = taxable_amount + 1 WHERE entity_id = {_OPENING}",
    "a tax is missing": f"DELETE FROM taxes_applied WHERE entity_id = {_RENEWAL}",
    "until when a rate holds": f"""
        UPDATE invoices SET tax_terms = jsonb_set(tax_terms, '{{0,end}}', '"2026-03-01T00:00:00Z"')
        WHERE id = {_OPENING}
    """,
    "the service time of a fee": _line("whole_seconds = whole_seconds - 86400"),
    "the service time of a fee is unknown": _line("whole_seconds = NULL"),
    "the service time of more seats": _line("whole_seconds = whole_seconds + 1", _MORE_FEE),
    "the share of a fee": _line("""rating = jsonb_set(rating, '{share}', '"1/3"')""", _MORE_FEE),
    "the credit of a line": _line("proration_credit = proration_credit + 1", _MORE_FEE),
    "the credit of a line, with what was left": _line(
        "proration_credit = proration_credit + 1, amount = amount - 1", _MORE_FEE
    ),
    "the period of a line": _line("period_start = period_start - interval '1 month'"),
    "the end of a line's period": _line("period_end = period_end + interval '1 day'"),
    "the credit of a settlement": _settlement("credit = credit + 1"),
    "the charge of a settlement": _settlement("charge = charge + 1"),
    "the discount of a settlement": _settlement("discount = discount + 1"),
    "what a settlement returned to a budget": _settlement(
        """returned_discounts = jsonb_set(returned_discounts, '{0,amount}', '"1"')"""
    ),
    "a settlement returned nothing": _settlement("returned_discounts = '[]'"),
    "the service time of a settlement": _settlement("charged_seconds = charged_seconds + 3600"),
    "when a settlement took effect": _settlement("effective_at = effective_at - interval '1 day'", _END),
    "the window of a settlement": _settlement("window_start = window_start - interval '1 day'", _END),
    "the credit at the end": _settlement("credit = credit - 1", _END),
    "what is owed at the end": _settlement("credited_to_payer = credited_to_payer - 1", _END),
    "a carried quantity": """
        UPDATE subscription_line_items SET quantity = 4 WHERE display_name = 'seats'
        AND start_date = (SELECT max(start_date) FROM subscription_line_items)
    """,
}


async def _spring(office: Office) -> Body:
    """April to June under coupons and taxes: more seats in April, a pause, another plan in May, and an end in June."""
    await office.on("2026-04-01")
    await coupon(office, "ten", type="fixed", amount_off="10", currency="usd", cadence="forever")
    await percent(office, "first", "20", cadence="once")
    customer = await office.customer()
    for code, percentage, dates in (
        ("nineteen", "19", {"start_date": "2025-01-01T00:00:00Z", "end_date": "2026-05-01T00:00:00Z"}),
        ("sixteen", "16", {"start_date": "2026-05-01T00:00:00Z"}),
    ):
        rate = {"name": code, "code": code, "tax_rate_type": "percentage", "percentage_value": percentage}
        await office.account.post("/taxes/rates", rate)
        association = {"tax_rate_code": code, "external_customer_id": customer["external_id"], "auto_apply": True}
        await office.account.post("/taxes/associations", {**association, **dates}, expect=200)
    plan = await office.plan(fixed("50", display_name="seats"), fixed("20", display_name="support", **ARREAR))
    large = await office.plan(fixed("80", display_name="seats"), name="Large")
    coupons = [{"coupon_code": "ten"}, {"coupon_code": "first"}]
    made = await opened(office, plan, customer, subscription_coupons=coupons)
    await office.on("2026-04-16")
    (item,) = [item for item in await open_items(office, made) if item["display_name"] == "seats"]
    await seats(office, made, item, 3)
    await office.on("2026-04-20")
    await do(office, made, "pause")
    await office.on("2026-04-23")
    await do(office, made, "resume")
    await office.run("2026-05-04")
    await office.on("2026-05-14")
    await do(office, made, "change/v2/execute", {"target_plan_id": large["id"], **PRORATED})
    await office.run("2026-06-04")
    await office.on("2026-06-20")
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice", **PRORATED)
    return made


async def _named(session: AsyncSession) -> list[str]:
    invoices = list(await session.scalars(select(Invoice).order_by(Invoice.id)))
    differences = [
        *await all_differences(session, invoices),
        *(await prove(session, invoices)).differences,
        *await incomplete(session),
        *await coupon_differences(session),
        *await settlement_differences(session),
    ]
    return [f"{difference.figure}: {difference.stored}, not {difference.derived}" for difference in differences]


async def test_each_fault_is_named(office: Office) -> None:
    await _spring(office)
    await require_each_named(office.account, FAULTS, _named)
