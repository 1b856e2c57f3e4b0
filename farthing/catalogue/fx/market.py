"""Reference rates that were imported, and the market rates that follow them.

Rule: docs/rules/currencies.md#market-rates
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.enums import FxSource
from farthing.catalogue.fx.reference_file import EURO, ReferenceDay, cross_rate
from farthing.catalogue.fx.tables import EuroReferenceRate, FxRate
from farthing.core.enums import Status
from farthing.core.money import plain
from farthing.storage.postgres import scope_of

ONE_EURO = Decimal(1)

# the same day once more corrects it, as the bank does
_STORE = text(
    """
    INSERT INTO euro_reference_rates (tenant_id, environment_id, currency, day, units_per_euro)
    SELECT :tenant_id, :environment_id, currency, day, units
    FROM unnest(CAST(:currencies AS text[]), CAST(:days AS date[]), CAST(:units AS numeric[]))
        AS given (currency, day, units)
    ON CONFLICT (environment_id, currency, day) DO UPDATE SET units_per_euro = excluded.units_per_euro
    WHERE euro_reference_rates.units_per_euro <> excluded.units_per_euro
    """
)


@dataclass(frozen=True, slots=True)
class MarketRate:
    """What the reference rates of a day make of a pair."""

    rate: Decimal
    day: date


@dataclass(frozen=True, slots=True)
class ImportedRates:
    """What an import did: the market rates that took another figure or day, and the pairs that no day gives."""

    days: int
    newest_day: date
    moved: tuple[str, ...] = ()
    not_made: tuple[str, ...] = field(default=())


async def import_days(session: AsyncSession, days: Sequence[ReferenceDay]) -> ImportedRates:
    """Store days, of which there is at least one, and move the market rates; an older day moves none back."""
    rows = [(code, day.day, units) for day in days for code, units in sorted(day.units_per_euro.items())]
    scope = scope_of(session)
    await session.execute(
        _STORE,
        {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "currencies": [code for code, _, _ in rows],
            "days": [day for _, day, _ in rows],
            "units": [plain(units) for _, _, units in rows],
        },
    )
    moved, not_made = await _move_market_rates(session)
    return ImportedRates(len(days), days[-1].day, moved, not_made)


async def _move_market_rates(session: AsyncSession) -> tuple[tuple[str, ...], tuple[str, ...]]:
    following = await session.scalars(
        select(FxRate)
        .where(FxRate.source == FxSource.MARKET, FxRate.status == Status.PUBLISHED)
        .order_by(FxRate.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    moved, not_made = [], set()
    known: dict[tuple[str, str], MarketRate | None] = {}
    for row in following:
        pair = (row.from_currency, row.to_currency)
        if pair not in known:
            known[pair] = await market_rate(session, *pair)
        market = known[pair]
        if market is None or market.rate <= 0:
            not_made.add(row.pair)
        elif (market.day, market.rate) != (row.market_day, row.rate):
            row.rate, row.market_day = market.rate, market.day
            moved.append(row.id)
    await session.flush()
    return tuple(moved), tuple(sorted(not_made))


async def market_rate(
    session: AsyncSession, from_currency: str, to_currency: str, until: date = date.max
) -> MarketRate | None:
    """The rate of a pair on the newest day, at most `until`, that has both currencies; None where no day has."""
    table = EuroReferenceRate
    wanted = sorted({from_currency, to_currency} - {EURO})
    newest = (
        select(table.day)
        .where(table.id.in_(wanted), table.day <= until)
        .group_by(table.day)
        .having(func.count() == len(wanted))
        .order_by(table.day.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = await session.execute(
        select(table.id, table.units_per_euro, table.day).where(table.id.in_(wanted), table.day == newest)
    )
    units, day = {EURO: ONE_EURO}, None
    for code, of_euro, its_day in found:
        units[code], day = of_euro, its_day
    if day is None:
        return None
    return MarketRate(cross_rate(units[from_currency], units[to_currency]), day)
