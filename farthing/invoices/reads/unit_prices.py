"""What one unit of a line cost, where the amount is quantity times price; tiers and shares of a period have none.

Rule: docs/rules/invoices-and-payments.md#what-documents-say
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, localcontext

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.tables import Price
from farthing.core import currency
from farthing.core.money import EXACT, decimals, round_to
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.rating.pricing.price import BillingModel
from farthing.storage.queries.rows import in_array

MOST_DECIMALS = 8
"""A quotient with more is no price that anybody asked for."""


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """`amount` for each `units` of the quantity."""

    amount: Decimal
    units: Decimal = Decimal(1)


async def unit_prices(session: AsyncSession, lines: Sequence[InvoiceLineItem]) -> dict[str, UnitPrice]:
    """The unit prices of an invoice's lines, by line; a line without one is left out."""
    ids = {line.price_id for line in lines if line.price_id}
    prices: Mapping[str, Price] = {}
    if ids:
        found = await session.scalars(select(Price).where(in_array(Price.id, sorted(ids))))
        prices = {price.id: price for price in found}
    shown = {line.id: _unit_price(line, prices.get(line.price_id or "")) for line in lines}
    return {line_id: price for line_id, price in shown.items() if price is not None}


def _unit_price(line: InvoiceLineItem, price: Price | None) -> UnitPrice | None:
    if not line.quantity:
        return None
    if price is None:
        return None if line.price_id else _quotient(line)
    if price.billing_model is BillingModel.FLAT_FEE:
        unit = UnitPrice(price.amount)
    elif price.billing_model is BillingModel.PACKAGE:
        unit = UnitPrice(price.amount, Decimal(price.transform_quantity.get("divide_by", 1)))
    else:
        return None
    return unit if _comes_to(unit, line) else None


def _comes_to(unit: UnitPrice, line: InvoiceLineItem) -> bool:
    """Whether a price gives the line's amount: not of a share of a period, or of what was converted."""
    assert line.quantity is not None, "a line without a quantity has no unit price"
    with localcontext(EXACT):
        packages = line.quantity
        if unit.units != 1:
            packages = (line.quantity / unit.units).to_integral_value(rounding=ROUND_CEILING)
        return round_to(packages * unit.amount, currency.digits(line.currency)) == line.amount


def _quotient(line: InvoiceLineItem) -> UnitPrice | None:
    assert line.quantity, "division by nothing"
    quotient = EXACT.divide(line.amount, line.quantity)
    if EXACT.multiply(quotient, line.quantity) != line.amount or decimals(quotient) > MOST_DECIMALS:
        return None
    return UnitPrice(quotient)
