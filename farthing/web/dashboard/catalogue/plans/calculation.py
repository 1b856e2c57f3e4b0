"""The calculator of a price: what a quantity costs, part by part, by the function that rates invoices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.prices.terms import PriceTerms, requested_terms, settle_terms
from farthing.core import currency
from farthing.core.enums import PriceType
from farthing.core.errors import FarthingError
from farthing.core.money import round_to
from farthing.rating.pricing.breakdown import CostPart
from farthing.rating.pricing.cost import explain
from farthing.rating.pricing.price import TierMode
from farthing.web.dashboard.catalogue.plans.price_words import PriceWords, UnitWords, price_words, span_words
from farthing.web.rendering.typed_fields import number_in
from farthing.web.rendering.words import wording

QUANTITY = "quantity"
"""The field of the calculator."""
FIRST_QUANTITIES = {PriceType.FIXED: "1", PriceType.USAGE: "2500"}


@dataclass(frozen=True, slots=True)
class CalculatedPart:
    """One line of a calculation: what is charged for, and how its amount comes about."""

    what: str
    sum: str
    amount: str


@dataclass(frozen=True, slots=True)
class Calculation:
    """What a quantity costs at a price; or why that cannot be said yet."""

    quantity: str
    """As it was typed."""
    words: PriceWords | None = None
    parts: tuple[CalculatedPart, ...] = ()
    counted: str = ""
    """The quantity as it reads: "2,500 calls"."""
    amount: str = ""
    exact: str = ""
    """The amount before it is rounded to the currency, where that is another one."""
    problem: str = ""


def price_of(request: CreatePriceRequest) -> Price:
    """The price that a request asks for, of which nothing is stored. Raises ValidationFailed."""
    return unstored_price(request, settle_columns(request))


def settle_columns(request: CreatePriceRequest) -> dict[str, object]:
    """The columns of its money. Raises ValidationFailed."""
    return settle_terms(requested_terms(request), request.currency, None)


def unstored_price(like: CreatePriceRequest | Price, columns: Mapping[str, object]) -> Price:
    """A price that is like another but for its money."""
    return Price(
        type=like.type,
        currency=like.currency,
        billing_period=like.billing_period,
        billing_period_count=like.billing_period_count or 1,
        invoice_cadence=like.invoice_cadence,
        trial_period_days=like.trial_period_days or 0,
        **columns,
    )


def repriced(price: Price, terms: PriceTerms) -> Price:
    """A price as it will be with other terms, of which nothing is stored. Raises ValidationFailed."""
    return unstored_price(price, settle_terms(terms, price.currency, None))


def calculate(price: Price, typed: str, units: UnitWords) -> Calculation:
    """What the typed quantity costs."""
    quantity = typed or FIRST_QUANTITIES[price.type]
    words = price_words(price, units)
    try:
        wanted = number_in(QUANTITY, quantity)
    except FarthingError as error:
        return Calculation(quantity, words, problem=error.details.get(QUANTITY, error.message))
    if wanted < 0:
        return Calculation(quantity, words, problem="A quantity is 0 or more.")
    breakdown = explain(rated(price), wanted)
    amount = round_to(breakdown.amount, currency.digits(price.currency))
    return Calculation(
        quantity,
        words,
        tuple(_part(part, price, units) for part in breakdown.parts),
        f"{wording.quantity(wanted)} {units.single if wanted == 1 else units.several}",
        wording.money(amount, price.currency),
        "" if amount == breakdown.amount else wording.money(breakdown.amount, price.currency),
    )


def _part(part: CostPart, price: Price, units: UnitWords) -> CalculatedPart:
    each, flat = (wording.money(amount, price.currency) for amount in (part.unit_amount, part.flat_amount))
    count = wording.quantity(part.quantity)
    product = f"{count} × {each}" + (f" + {flat}" if part.flat_amount else "")
    if part.package_size:
        packages = "package" if part.quantity == 1 else "packages"
        what = f"{count} {packages} of {wording.quantity(Decimal(part.package_size))} {units.several}"
    elif part.tier is None:
        what = f"{count} {units.single if part.quantity == 1 else units.several}"
    elif price.tier_mode is TierMode.VOLUME:
        what = f"All, at the tier {span_words(part.above, part.up_to)}"
    else:
        what = span_words(part.above, part.up_to).capitalize()
    return CalculatedPart(what, product, wording.money(part.amount, price.currency))


def unfinished(typed: str, error: FarthingError) -> Calculation:
    """A form that makes no price yet."""
    return Calculation(typed, problem=wording.reason(error))
