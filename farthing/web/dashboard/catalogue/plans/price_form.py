"""The fields of a price, of its labels, and of a change of what it charges."""

from __future__ import annotations

from collections.abc import Sequence

from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.core.enums import PriceType
from farthing.rating.pricing.price import BillingModel, PackageRounding, TierMode
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, Sections, metadata_rows, when

_PERIODS = (
    (BillingPeriod.MONTHLY, "Month"),
    (BillingPeriod.ANNUAL, "Year"),
    (BillingPeriod.QUARTERLY, "Quarter"),
    (BillingPeriod.HALF_YEARLY, "Half-year"),
    (BillingPeriod.WEEKLY, "Week"),
    (BillingPeriod.DAILY, "Day"),
    (BillingPeriod.ONETIME, "Once, and never again"),
)
_RECURRING = tuple(period for period in BillingPeriod if period is not BillingPeriod.ONETIME)
RECURRING_PERIODS = tuple((period.value, words) for period, words in _PERIODS if period in _RECURRING)
_FIXED, _USAGE = when("type", PriceType.FIXED), when("type", PriceType.USAGE)
_TIERED = when("billing_model", BillingModel.TIERED)
_PACKAGE = when("billing_model", BillingModel.PACKAGE)
_TIER = (
    FormField("up_to", "Up to", FieldKind.WHOLE, placeholder="no end"),
    FormField("unit_amount", "Per unit", FieldKind.AMOUNT, placeholder="0.02"),
    FormField("flat_amount", "Once, if reached", FieldKind.AMOUNT, placeholder="none"),
)

MONEY = (
    FormField(
        "billing_model",
        "The price is",
        FieldKind.CHOICE,
        required=True,
        initial=BillingModel.FLAT_FEE.value,
        options=(
            (BillingModel.FLAT_FEE.value, "The same for each unit"),
            (BillingModel.PACKAGE.value, "Per package of units"),
            (BillingModel.TIERED.value, "In tiers"),
        ),
    ),
    FormField(
        "amount",
        "Amount",
        FieldKind.AMOUNT,
        placeholder="49.00",
        only_when=when("billing_model", BillingModel.FLAT_FEE, BillingModel.PACKAGE),
    ),
    FormField(
        "transform_quantity.divide_by", "For so many units", FieldKind.WHOLE, placeholder="1000", only_when=_PACKAGE
    ),
    FormField(
        "transform_quantity.round",
        "A package begun",
        FieldKind.CHOICE,
        required=True,
        only_when=_PACKAGE,
        options=((PackageRounding.UP.value, "Counts in full"), (PackageRounding.DOWN.value, "Does not count yet")),
        initial=PackageRounding.UP.value,
    ),
    FormField(
        "tier_mode",
        "How tiers apply",
        FieldKind.CHOICE,
        required=True,
        only_when=_TIERED,
        options=(
            (TierMode.SLAB.value, "Each tier to the slice that falls into it"),
            (TierMode.VOLUME.value, "One tier to the whole quantity"),
        ),
        initial=TierMode.SLAB.value,
    ),
    FormRows("tiers", "Tiers", "tier", _TIER, "“Up to” is inclusive; leave it blank in the last tier.", 2, _TIERED),
)
_LABELS = (
    FormField("display_name", "Name on the invoice", hint="Without one: the feature's or the plan's"),
    FormField("lookup_key", "Key", hint="For programs"),
)
_MORE = FormSection(
    "Description and metadata",
    (
        FormField("description", "Description", FieldKind.AREA, longest=10_000),
        FormField("metadata.unit_code", "Unit code for e-invoices", placeholder="C62"),
        FormField("metadata.hsn_sac", "HSN or SAC code", hint="4, 6 or 8 digits"),
        metadata_rows(),
    ),
    folded=True,
)


_CHARGED = FormField(
    "type",
    "It charges for",
    FieldKind.CHOICE,
    required=True,
    initial=PriceType.FIXED.value,
    options=(
        (PriceType.FIXED.value, "A fixed fee, once or for each seat"),
        (PriceType.USAGE.value, "Usage of a feature"),
    ),
)
_SEATS = FormField(
    "min_quantity",
    "How many, unless the subscription says",
    FieldKind.WHOLE,
    only_when=_FIXED,
    placeholder="1",
    hint="Seats, for example. The amount is for each",
)
_RECURS = when("billing_period", *_RECURRING)
_CADENCES = ((InvoiceCadence.ADVANCE.value, "In advance"), (InvoiceCadence.ARREAR.value, "In arrears"))
_WHEN = FormSection(
    "When",
    (
        FormField(
            "billing_period",
            "Per",
            FieldKind.CHOICE,
            required=True,
            options=_PERIODS,
            initial=BillingPeriod.MONTHLY.value,
        ),
        FormField(
            "billing_period_count",
            "So many at a time",
            FieldKind.WHOLE,
            placeholder="1",
            hint="2, where it is per month: every other month",
            only_when=_RECURS,
        ),
        FormField(
            "invoice_cadence",
            "Invoiced",
            FieldKind.CHOICE,
            required=True,
            initial=InvoiceCadence.ADVANCE.value,
            options=_CADENCES,
            only_when=(*_FIXED, *_RECURS),
        ),
        FormField(
            "trial_period_days", "Days of trial", FieldKind.WHOLE, placeholder="0", only_when=(*_FIXED, *_RECURS)
        ),
        FormField("start_date", "Holds from", FieldKind.DATE, hint="Blank: from now on. Days begin at 00:00 UTC"),
        FormField("end_date", "Until, exclusive", FieldKind.DATE, hint="Blank: without end"),
    ),
    "Usage is always invoiced in arrears: it is known only afterwards.",
)


def new_price(features: Sequence[tuple[str, str]], currency: str) -> Sections:
    """A new price; `features` are the meters that usage may be charged by, with their names."""
    meter = FormField(
        "meter_id",
        "Feature",
        FieldKind.CHOICE,
        options=features,
        only_when=_USAGE,
        placeholder="Choose a feature",
        hint="Only metered features are here",
    )
    code = FormField("currency", "Currency", FieldKind.CURRENCY, required=True, initial=currency, longest=3)
    return (
        FormSection("What is charged for", (_CHARGED, meter, _SEATS, *_LABELS)),
        FormSection("How much", (code, *MONEY)),
        _WHEN,
        _MORE,
    )


CHANGED_LABELS = (FormSection("Labels", _LABELS), _MORE)
CHANGED_MONEY = (
    FormSection("How much", MONEY),
    FormSection(
        "From when",
        (
            FormField(
                "effective_from", "New price from", FieldKind.DATE, hint="Blank: from now on. Days begin at 00:00 UTC"
            ),
        ),
    ),
)
