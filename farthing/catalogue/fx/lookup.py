"""The rates that hold for many invoices at once: one query, and the refusal where there is none.

Rule: docs/rules/currencies.md#without-a-rate
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.fx.resolution import RateInForce, rate_at
from farthing.catalogue.fx.tables import FxRate
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.money import plain
from farthing.identity.settings.catalogue import FxConfig
from farthing.identity.settings.current import read


@dataclass(frozen=True, slots=True)
class ConversionNeed:
    """What is to be converted: from which currency into which, for whose subscription and which payer."""

    from_currency: str
    to_currency: str
    payer_id: str
    subscription_id: str | None


@dataclass(frozen=True, slots=True)
class NoRate:
    """No usable rate: none is in force, or the one in force is a market rate that is too old (`stale`)."""

    need: ConversionNeed
    stale: RateInForce | None = None

    def refusal(self) -> InvalidOperation:
        """Why nothing can be invoiced before there is a rate."""
        need = self.need
        pair = {"from_currency": need.from_currency, "to_currency": need.to_currency, "customer_id": need.payer_id}
        if self.stale is None:
            return InvalidOperation(
                f"No exchange rate from {need.from_currency} to {need.to_currency} is in force; create one first", pair
            )
        return InvalidOperation(
            f"The exchange rate from {need.from_currency} to {need.to_currency}, {plain(self.stale.rate)} of "
            f"{self.stale.market_day}, is too old; import newer reference rates first",
            {**pair, "fx_rate_id": self.stale.id},
        )


async def rates_for(
    session: AsyncSession, needs: Collection[ConversionNeed], at: datetime
) -> Mapping[ConversionNeed, RateInForce | NoRate]:
    """The rate of each need at an instant, or why there is none. One query beside the setting, none for no needs."""
    if not needs:
        return {}
    with session.no_autoflush:  # drafts wait to be written until their figures stand
        config = await read(session, FxConfig)
        rows = await session.scalars(_candidates(needs))
    candidates: dict[tuple[str, str, str | None], list[RateInForce]] = defaultdict(list)
    for row in rows:
        candidates[row.from_currency, row.to_currency, row.scope_id].append(
            RateInForce(row.id, row.rate, row.scope, row.start_date, row.end_date, row.market_day)
        )
    found: dict[ConversionNeed, RateInForce | NoRate] = {}
    for need in needs:
        reaching = [
            rate
            for scope_id in (None, need.payer_id, need.subscription_id)
            for rate in candidates.get((need.from_currency, need.to_currency, scope_id), ())
        ]
        rate = rate_at(reaching, at)
        if rate is None:
            found[need] = NoRate(need)
        else:
            stale = rate.is_older_than(config.market_rate_max_age_days, at)
            found[need] = NoRate(need, rate) if stale else rate
    return found


def _candidates(needs: Collection[ConversionNeed]) -> Select[FxRate]:
    pairs = sorted({(need.from_currency, need.to_currency) for need in needs})
    scope_ids = sorted({scope_id for need in needs for scope_id in (need.payer_id, need.subscription_id) if scope_id})
    of_pairs = or_(*(and_(FxRate.from_currency == code, FxRate.to_currency == to) for code, to in pairs))
    reaching = or_(FxRate.scope == FxScope.TENANT, FxRate.scope_id.in_(scope_ids))
    return select(FxRate).where(FxRate.status == Status.PUBLISHED, of_pairs, reaching)
