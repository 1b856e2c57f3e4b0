"""Prices as people read them: "$0.50 per 1,000 calls", "from 1,001 to 10,000: $0.02 per call"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.enums import PriceType
from farthing.core.money import ZERO
from farthing.rating.pricing.price import BillingModel, PackageRounding, RatedPrice, Tier, TierMode
from farthing.storage.queries.rows import in_array
from farthing.web.rendering.words import wording

_EACH = MappingProxyType(
    {
        BillingPeriod.DAILY: ("per day", "days"),
        BillingPeriod.WEEKLY: ("per week", "weeks"),
        BillingPeriod.MONTHLY: ("per month", "months"),
        BillingPeriod.QUARTERLY: ("per quarter", "quarters"),
        BillingPeriod.HALF_YEARLY: ("per half-year", "half-years"),
        BillingPeriod.ANNUAL: ("per year", "years"),
    }
)


@dataclass(frozen=True, slots=True)
class UnitWords:
    """What one and what several of the units are called that a price charges for."""

    single: str = "unit"
    several: str = "units"

    @classmethod
    def of_feature(cls, feature: Feature | None) -> UnitWords:
        """The words of a feature, or "unit" where it has none."""
        if feature is None or not (feature.unit_singular or feature.unit_plural):
            return cls()
        return cls(feature.unit_singular or feature.unit_plural, feature.unit_plural or feature.unit_singular)


@dataclass(frozen=True, slots=True)
class TierWords:
    """A tier: for which quantities, and what it charges."""

    span: str
    charge: str


@dataclass(frozen=True, slots=True)
class PriceWords:
    """A price in words: what it charges, its tiers if it has any, and when."""

    charge: str
    tiers: Sequence[TierWords]
    billed: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """A price with its words and with what it counts."""

    row: Price
    words: PriceWords
    counts: str
    feature_id: str


def price_words(price: Price, units: UnitWords) -> PriceWords:
    """What a price charges, in words."""
    terms = rated(price)
    note = ""
    if price.price_unit_type is PriceUnitType.CUSTOM and price.display_price_unit_amount:
        quote = "in tiers" if price.billing_model is BillingModel.TIERED else price.display_price_unit_amount
        note = f"Quoted {quote} of {(price.price_unit or '').upper()}"
    return PriceWords(_charge(price, terms, units), _tiers(price, terms, units), billed_words(price), note)


def _charge(price: Price, terms: RatedPrice, units: UnitWords) -> str:
    amount = wording.money(terms.amount, price.currency)
    match terms.model:
        case BillingModel.TIERED:
            whole = f"the whole quantity at one tier's price, per {units.single}"
            sliced = f"each slice at its tier's price, per {units.single}"
            return f"In tiers: {whole if terms.tier_mode is TierMode.VOLUME else sliced}"
        case BillingModel.PACKAGE:
            unit = units.single if terms.package_size == 1 else units.several
            size = f"{wording.quantity(Decimal(terms.package_size))} {unit}"
            begun = "a package begun counts" if terms.package_rounding is PackageRounding.UP else "full packages only"
            return f"{amount} per {size}; {begun}"
        case BillingModel.FLAT_FEE if price.type is PriceType.FIXED:
            return f"{amount} {period_words(price.billing_period, price.billing_period_count)}"
        case BillingModel.FLAT_FEE:
            return f"{amount} per {units.single}"


def _tiers(price: Price, terms: RatedPrice, units: UnitWords) -> list[TierWords]:
    spans: list[TierWords] = []
    above = ZERO
    for tier in terms.tiers:
        spans.append(TierWords(span_words(above, tier.up_to), tier_charge(tier, price.currency, units)))
        above = tier.up_to or above
    return spans


def span_words(above: Decimal, up_to: Decimal | None) -> str:
    """ "from 1,001 to 10,000", "from 10,001 on"."""
    first = wording.quantity(above + 1)
    return f"from {first} on" if up_to is None else f"from {first} to {wording.quantity(up_to)}"


def tier_charge(tier: Tier, currency: str, units: UnitWords) -> str:
    """ "$0.02 per call, and $5.00 once"."""
    unit = f"{wording.money(tier.unit_amount, currency)} per {units.single}"
    flat = wording.money(tier.flat_amount, currency)
    if not tier.flat_amount:
        return unit
    return f"{unit}, and {flat} once" if tier.unit_amount else f"{flat} once"


def period_words(period: BillingPeriod, count: int) -> str:
    """ "per month", "every 3 months", "once"."""
    if period is BillingPeriod.ONETIME:
        return "once"
    single, several = _EACH[period]
    return single if count == 1 else f"every {count} {several}"


def billed_words(price: Price) -> str:
    """When a price is charged: "per month, in advance"."""
    when = period_words(price.billing_period, price.billing_period_count)
    if price.billing_period is BillingPeriod.ONETIME:
        return when
    cadence = "in advance" if price.invoice_cadence is InvoiceCadence.ADVANCE else "in arrears"
    trial = f", after {wording.counted(price.trial_period_days, 'day')} of trial" if price.trial_period_days else ""
    return f"{when}, {cadence}{trial}"


async def shown_prices(session: AsyncSession, prices: Iterable[Price]) -> list[ShownPrice]:
    """Prices with their words, in the order given."""
    rows = list(prices)
    meter_ids = {row.meter_id for row in rows if row.meter_id}
    meters = {
        meter.id: meter for meter in await session.scalars(select(MeterRow).where(in_array(MeterRow.id, meter_ids)))
    }
    found = await session.scalars(
        select(Feature).where(in_array(Feature.meter_id, meter_ids)).order_by(Feature.created_at)
    )
    features = {feature.meter_id: feature for feature in found}
    shown = []
    for row in rows:
        feature, meter = features.get(row.meter_id or ""), meters.get(row.meter_id or "")
        counts = feature.name if feature is not None else meter.name if meter is not None else ""
        words = price_words(row, UnitWords.of_feature(feature))
        shown.append(ShownPrice(row, words, counts, feature.id if feature is not None else ""))
    return shown


def by_currency(shown: Sequence[ShownPrice]) -> dict[str, list[ShownPrice]]:
    """Prices by currency, in order of its code; fixed fees before usage."""
    groups: dict[str, list[ShownPrice]] = {}
    for price in sorted(shown, key=lambda each: (each.row.currency, each.row.type is PriceType.USAGE)):
        groups.setdefault(price.row.currency, []).append(price)
    return groups
