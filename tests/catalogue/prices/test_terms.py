"""Terms as values: what is settled into a row says the same as what was asked for."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.catalogue.prices.display import display, symbol
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.schemas import CreatePriceTier
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.prices.terms import PriceTerms, Rate, settle_terms, terms_of
from farthing.core.money import EXACT
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import BillingModel, TierMode

amounts = st.decimals(min_value=0, max_value=10**9, places=15)
quantities = st.decimals(min_value=0, max_value=10**6, places=6)
rates = st.decimals(min_value="0.000001", max_value=10**5, places=6)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[CreatePriceTier, ...]:
    bounds: list[int | None] = [*draw(st.lists(st.integers(1, 10**6), unique=True, max_size=4))]
    if not bounds or draw(st.booleans()):
        bounds.append(None)
    return tuple(
        CreatePriceTier(unit_amount=draw(amounts), up_to=bound, flat_amount=draw(st.none() | amounts))
        for bound in draw(st.permutations(bounds))
    )


@st.composite
def terms(draw: st.DrawFn, custom: bool) -> PriceTerms:
    match draw(st.sampled_from(BillingModel)):
        case BillingModel.FLAT_FEE:
            return PriceTerms(BillingModel.FLAT_FEE, custom, draw(amounts))
        case BillingModel.PACKAGE:
            size, rounding = draw(st.integers(1, 1000)), draw(st.sampled_from([None, "up", "down"]))
            return PriceTerms(BillingModel.PACKAGE, custom, draw(amounts), divide_by=size, round=rounding)
        case _:
            mode = draw(st.sampled_from(TierMode))
            return PriceTerms(BillingModel.TIERED, custom, tier_mode=mode, tiers=draw(tiers()))


@settings(max_examples=100)
@given(asked=terms(custom=False))
def test_a_row_remembers_what_was_asked(asked: PriceTerms) -> None:
    assert terms_of(Price(**settle_terms(asked, "usd", None))) == asked


@settings(max_examples=100)
@given(asked=terms(custom=True), rate=rates, quantity=quantities)
def test_a_quote_costs_its_price_in_units_times_the_rate_to_the_last_digit(
    asked: PriceTerms, rate: Decimal, quantity: Decimal
) -> None:
    quoted = Price(**settle_terms(asked, "usd", Rate("price_unit_1", "crd", "c", rate)))
    in_units = Price(**settle_terms(PriceTerms(asked.model, False, *_rest(asked)), "usd", None))
    assert terms_of(quoted) == asked
    assert price_quantity(rated(quoted), quantity) == EXACT.multiply(price_quantity(rated(in_units), quantity), rate)


def _rest(
    asked: PriceTerms,
) -> tuple[Decimal | None, TierMode | None, tuple[CreatePriceTier, ...], int | None, str | None]:
    return asked.amount, asked.tier_mode, asked.tiers, asked.divide_by, asked.round


def test_labels_carry_the_symbol_and_every_digit() -> None:
    assert display(Decimal("10.50"), symbol("usd")) == "$10.5"
    assert [symbol(code) for code in ("jpy", "kwd", "aed", "xyz")] == ["¥", "KD", "AED", "XYZ"]
