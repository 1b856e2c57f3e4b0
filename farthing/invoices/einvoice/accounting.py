"""The rate at which a document's tax is said in the currency that its seller accounts in.

Rule: docs/rules/e-invoices.md#accounting-currency
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.enums import FxScope, FxSource
from farthing.catalogue.fx.market import market_rate
from farthing.catalogue.fx.tables import FxRate
from farthing.core.money import round_to
from farthing.invoices.tables import Invoice

RATE_DECIMALS = 12


async def accounting_rate(
    session: AsyncSession, invoice: Invoice, seller: Sequence[Mapping[str, str]], day: date
) -> Decimal | None:
    """Units of the seller's accounting currency for one of the invoice's; None where they are the same, or there is
    none.

    An invoice that was converted from that currency keeps to the rate it was converted at; else it is the tenant's, one
    of the market as it was on the day of issue.
    """
    accounting = seller[0].get("accounting_currency", "") if seller else ""
    if not accounting or accounting == invoice.currency:
        return None
    if invoice.fx_rate is not None and invoice.charge_currency == accounting:
        return round_to(1 / Fraction(invoice.fx_rate), RATE_DECIMALS)
    rate = await session.scalar(
        select(FxRate).where(
            FxRate.scope == FxScope.TENANT,
            FxRate.from_currency == invoice.currency,
            FxRate.to_currency == accounting,
        )
    )
    if rate is None:
        return None
    if rate.source is FxSource.MARKET:
        of_the_day = await market_rate(session, invoice.currency, accounting, day)
        return None if of_the_day is None else of_the_day.rate
    return rate.rate
