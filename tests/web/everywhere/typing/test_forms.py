"""What a form says in a request, where a refusal is shown, and how a price reads."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType
from farthing.core.errors import AlreadyExists, FarthingError, InvalidOperation, ValidationFailed
from farthing.rating.pricing.price import BillingModel, TierMode
from farthing.web.dashboard.catalogue.plans.calculation import calculate
from farthing.web.dashboard.catalogue.plans.price_words import UnitWords, price_words
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, metadata_rows, when
from farthing.web.forms.filled import refused_form
from farthing.web.forms.reading import change_of, creation_of, reshaped, shown_values
from farthing.web.rendering.typed_fields import number_in

FORM = (
    FormSection(
        "Thing",
        (
            FormField("name", "Name", required=True),
            FormField("note", "Note"),
            FormField(
                "kind", "Kind", FieldKind.CHOICE, initial="flat", options=(("flat", "Flat"), ("tiered", "Tiered"))
            ),
            FormField("amount", "Amount", FieldKind.AMOUNT, only_when=when("kind", "flat")),
            FormField("meter.field", "Property"),
            FormField("from", "From", FieldKind.DATE),
            FormField("metadata.unit_code", "Unit code"),
            FormRows(
                "tiers",
                "Tiers",
                "tier",
                (FormField("up_to", "Up to", FieldKind.WHOLE), FormField("price", "Price", FieldKind.AMOUNT)),
                only_when=when("kind", "tiered"),
            ),
            metadata_rows(),
        ),
    ),
)


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("1234.5", "1234.5"),
        ("1,234.50", "1234.50"),
        ("12 345", "12345"),
        ("1,234,567", "1234567"),
        ("0.000000000000001", "0.000000000000001"),
        ("-3", "-3"),
    ],
)
def test_a_number_as_people_write_it(typed: str, number: str) -> None:
    assert number_in("amount", typed) == Decimal(number)


@pytest.mark.parametrize("typed", ["0,50", "1,23", "12,34,567", "1.234,50", "abc", "1e999999", "NaN"])
def test_what_is_no_number_is_refused_and_never_read_as_another_one(typed: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        number_in("amount", typed)
    assert list(refused.value.details) == ["amount"]


@pytest.mark.parametrize(
    ("given", "body"),
    [
        pytest.param({"name": "x", "amount": "1,000"}, {"amount": Decimal(1000)}, id="a number"),
        pytest.param({"name": "x", "note": ""}, {}, id="what is blank is left out"),
        pytest.param({"name": "x", "meter.field": "calls"}, {"meter": {"field": "calls"}}, id="a path"),
        pytest.param({"name": "x", "from": "2026-05-01"}, {"from": "2026-05-01T00:00:00Z"}, id="a day"),
        pytest.param(
            {"name": "x", "kind": "tiered", "amount": "1"}, {"kind": "tiered"}, id="a field that does not count"
        ),
        pytest.param(
            {"name": "x", "kind": "tiered", "tiers[0].up_to": "1,000", "tiers[0].price": "2", "tiers[3].price": "1"},
            {"kind": "tiered", "tiers": [{"up_to": 1000, "price": Decimal(2)}, {"price": Decimal(1)}]},
            id="rows",
        ),
        pytest.param(
            {"name": "x", "metadata[0].key": "a", "metadata[0].value": "b", "metadata.unit_code": "HUR"},
            {"metadata": {"a": "b", "unit_code": "HUR"}},
            id="metadata in rows and in a field",
        ),
    ],
)
def test_what_a_form_says_of_something_new(given: dict[str, str], body: dict[str, Any]) -> None:
    assert creation_of(FORM, given) == {"name": "x", "metadata": {}} | body


def test_lines_end_as_they_did_before_a_browser_sent_them() -> None:
    form = (FormSection("Thing", (FormField("text", "Text", FieldKind.AREA),)),)
    assert change_of(form, {"text": "a\r\nb"}) == {"text": "a\nb"}


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        pytest.param("{", "must be JSON", id="not to its end"),
        pytest.param("[" * 5_000, "must be JSON", id="deeper than anybody reads"),
        pytest.param('{"a": "\\u0000"}', "must not hold the character NUL", id="what no text in the database holds"),
    ],
)
def test_json_that_no_request_may_hold_is_refused(typed: str, problem: str) -> None:
    form = (FormSection("Thing", (FormField("config", "Config", FieldKind.JSON),)),)
    with pytest.raises(ValidationFailed, match=problem):
        creation_of(form, {"config": typed})


def test_a_change_says_that_a_text_is_gone() -> None:
    body = change_of(FORM, {"name": "x", "note": "", "meter.field": ""})
    assert body == {"name": "x", "note": "", "kind": "", "metadata": {}}


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        pytest.param({}, {"name": "is required"}, id="a field that is needed"),
        pytest.param({"name": "x", "kind": "tiered", "tiers[0].up_to": "1.5"},
                     {"tiers[0].up_to": "must be a whole number"}, id="a part of a unit"),
        pytest.param({"name": "x", "metadata[0].value": "b"}, {"metadata[0].key": "is required"}, id="no key"),
        pytest.param({"name": "x", "metadata[0].key": "a", "metadata[1].key": "a"},
                     {"metadata[1].key": "is given twice"}, id="a key twice"),
        pytest.param({"name": "x", "metadata[0].key": "unit_code", "metadata.unit_code": "C62"},
                     {"metadata[0].key": "is given twice"}, id="a key that has a field"),
    ],
)  # fmt: skip
def test_what_a_form_cannot_say(given: dict[str, str], problems: dict[str, str]) -> None:
    with pytest.raises(ValidationFailed) as refused:
        creation_of(FORM, given)
    assert refused.value.details == problems


@pytest.mark.parametrize(
    ("button", "left"),
    [
        pytest.param({}, {"tiers[0].price": "1", "tiers[1].price": "2"}, id="blank rows go when the form is sent"),
        pytest.param({"fewer": "tiers:0"}, {"tiers[0].price": "", "tiers[1].price": "2"}, id="a row less"),
        pytest.param(
            {"more": "tiers"},
            {"tiers[0].price": "1", "tiers[1].price": "", "tiers[2].price": "2", "tiers[3].new": ""},
            id="a row more",
        ),
    ],
)
def test_rows_are_numbered_anew(button: dict[str, str], left: dict[str, str]) -> None:
    given = {"tiers[0].price": "1", "tiers[4].price": "", "tiers[7].price": "2", **button}
    assert {name: text for name, text in reshaped(given).items() if name.startswith("tiers")} == left


def test_what_stands_is_shown_and_read_again_as_the_same() -> None:
    stands = {
        "name": "x",
        "kind": "tiered",
        "from": datetime(2026, 5, 1, tzinfo=UTC),
        "tiers": [{"up_to": 5, "price": "0.10"}, {"price": "0.05"}],
        "metadata": {"unit_code": "HUR", "team": "a"},
    }
    shown = shown_values(FORM, stands)
    assert creation_of(FORM, shown) == {
        **stands,
        "from": "2026-05-01T00:00:00Z",
        "tiers": [{"up_to": 5, "price": Decimal("0.10")}, {"price": Decimal("0.05")}],
    }


@pytest.mark.parametrize(
    ("error", "at_fields", "above"),
    [
        (ValidationFailed.of("name", "must not be blank"), {"name": "must not be blank"}, "1 field needs"),
        (ValidationFailed.of("field", "is required"), {"meter.field": "is required"}, "1 field needs"),
        (ValidationFailed.of("tiers[0].price", "is bad"), {"tiers[0].price": "is bad"}, "1 field needs"),
        (ValidationFailed.of("tiers", "one is needed"), {"tiers": "one is needed"}, "1 field needs"),
        (ValidationFailed.of("metadata.gstin", "is bad"), {"metadata": "Gstin: is bad"}, "1 field needs"),
        (ValidationFailed.listing({"name": "a", "other": "b"}), {"name": "a"}, "Other: b"),
        (AlreadyExists("A thing exists", {"id": "1", "name": "x"}), {"name": "a thing exists"}, "1 field needs"),
        (InvalidOperation("It is archived", {"status": "archived"}), {}, "It is archived"),
    ],
)
def test_a_refusal_is_said_at_the_field_it_is_about(
    error: FarthingError, at_fields: dict[str, str], above: str
) -> None:
    form = refused_form(FORM, {"name": "x", "kind": "tiered", "tiers[0].price": "1"}, error)
    assert form.problems == at_fields
    assert above in form.alert


def _price(**columns: Any) -> Price:
    usual = {
        "type": PriceType.USAGE,
        "currency": "usd",
        "billing_model": BillingModel.FLAT_FEE,
        "billing_period": BillingPeriod.MONTHLY,
        "billing_period_count": 1,
        "invoice_cadence": InvoiceCadence.ARREAR,
        "amount": Decimal(0),
        "trial_period_days": 0,
        "transform_quantity": {"divide_by": 1},
        "price_unit_type": PriceUnitType.FIAT,
    }
    return Price(**usual | columns)


CALLS = UnitWords("call", "calls")
TIERS = [
    {"up_to": 1000, "unit_amount": "0.02"},
    {"up_to": 10000, "unit_amount": "0.015", "flat_amount": "5"},
    {"up_to": None, "unit_amount": "0.01"},
]
FIXED = {"type": PriceType.FIXED, "invoice_cadence": InvoiceCadence.ADVANCE, "amount": Decimal(49)}
PACKAGE = {"billing_model": BillingModel.PACKAGE, "amount": Decimal("0.5")}


@pytest.mark.parametrize(
    ("price", "charge", "billed"),
    [
        (_price(**FIXED), "$49.00 per month", "per month, in advance"),
        (_price(**FIXED, billing_period_count=3), "$49.00 every 3 months", "every 3 months, in advance"),
        (_price(**FIXED, billing_period=BillingPeriod.ONETIME), "$49.00 once", "once"),
        (_price(**FIXED, trial_period_days=1), "$49.00 per month", "per month, in advance, after 1 day of trial"),
        (_price(amount=Decimal("0.002")), "$0.002 per call", "per month, in arrears"),
        (
            _price(**PACKAGE, transform_quantity={"divide_by": 1000, "round": "up"}),
            "$0.50 per 1,000 calls; a package begun counts",
            "per month, in arrears",
        ),
        (
            _price(**PACKAGE, transform_quantity={"divide_by": 1, "round": "down"}, currency="jpy"),
            "¥0.5 per 1 call; full packages only",
            "per month, in arrears",
        ),
    ],
)
def test_how_a_price_reads(price: Price, charge: str, billed: str) -> None:
    words = price_words(price, CALLS)
    assert (words.charge, words.billed) == (charge, billed)


@pytest.mark.parametrize(
    ("mode", "quantity", "amount", "parts"),
    [
        (TierMode.SLAB, "500", "$10.00", ["$10.00"]),
        (TierMode.SLAB, "1,000", "$20.00", ["$20.00"]),
        (TierMode.SLAB, "12000", "$180.00", ["$20.00", "$140.00", "$20.00"]),
        (TierMode.VOLUME, "12,000", "$120.00", ["$120.00"]),
        (TierMode.VOLUME, "10000", "$155.00", ["$155.00"]),
        (TierMode.SLAB, "0.5", "$0.01", ["$0.01"]),
        (TierMode.SLAB, "0", "$0.00", []),
    ],
)
def test_what_a_quantity_costs_tier_by_tier(mode: TierMode, quantity: str, amount: str, parts: list[str]) -> None:
    price = _price(billing_model=BillingModel.TIERED, tier_mode=mode, tiers=TIERS)
    calculation = calculate(price, quantity, CALLS)
    assert (calculation.amount, [part.amount for part in calculation.parts]) == (amount, parts)
    assert [tier.span for tier in price_words(price, CALLS).tiers] == [
        "from 1 to 1,000",
        "from 1,001 to 10,000",
        "from 10,001 on",
    ]


def test_an_amount_is_rounded_once_and_what_it_was_before_is_shown() -> None:
    calculation = calculate(_price(amount=Decimal("0.0015")), "3", CALLS)
    assert (calculation.amount, calculation.exact) == ("$0.00", "$0.0045")


@pytest.mark.parametrize("typed", ["many", "-1", "0,5"])
def test_a_quantity_that_is_none_is_said_so(typed: str) -> None:
    assert calculate(_price(amount=Decimal(1)), typed, CALLS).problem
