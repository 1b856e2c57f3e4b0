"""The fields of a feature and of the meter behind it."""

from __future__ import annotations

from farthing.calendar.windows import WindowSize
from farthing.catalogue.products.enums import FeatureType
from farthing.metering.meter import BUCKETABLE, EXPRESSIBLE, AggregationType, ResetUsage
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, metadata_rows, when
from farthing.web.rendering.words.wording import words

_TYPES = (
    (FeatureType.METERED.value, "Metered: counts events"),
    (FeatureType.BOOLEAN.value, "On or off"),
    (FeatureType.STATIC.value, "A fixed value, such as a level of support"),
    (FeatureType.CONFIG.value, "A configuration, as JSON"),
)
_METERED = when("type", FeatureType.METERED)
_AGGREGATIONS = (
    (AggregationType.COUNT, "The number of events"),
    (AggregationType.SUM, "The sum of a property"),
    (AggregationType.COUNT_UNIQUE, "The number of different values of a property"),
    (AggregationType.MAX, "The largest value of a property"),
    (AggregationType.LATEST, "The latest value of a property"),
    (AggregationType.AVG, "The average of a property"),
    (AggregationType.SUM_WITH_MULTIPLIER, "The sum of a property, times a number"),
    (AggregationType.WEIGHTED_SUM, "A level over time: value times how long it held"),
)
_AGGREGATION = "meter.aggregation.type"
_WITH_PROPERTY = when(_AGGREGATION, *(kind for kind in AggregationType if kind is not AggregationType.COUNT))
_FILTERS = (
    FormField("key", "Property"),
    FormField("values", "Values, separated by commas", FieldKind.LIST, longest=4000),
)

_NAMES = (
    FormField("name", "Name", required=True, hint="As invoices and the portal show it: API calls"),
    FormField("lookup_key", "Key", hint="For programs. Without one it is made of the name: api_calls"),
)
_UNITS = FormSection(
    "Unit",
    (
        FormField("unit_singular", "One is called", longest=50, placeholder="call"),
        FormField("unit_plural", "Several are called", longest=50, placeholder="calls"),
        FormField(
            "metadata.unit_code", "Unit code for e-invoices", hint="UN/ECE Recommendation 20: C62 is one, HUR an hour"
        ),
    ),
    "Prices read by it: $0.50 per 1,000 calls.",
)
_REPORTING = FormSection(
    "Another unit to show usage in",
    (
        FormField("reporting_unit.unit_singular", "One is called", longest=50, placeholder="million tokens"),
        FormField("reporting_unit.unit_plural", "Several are called", longest=50, placeholder="million tokens"),
        FormField("reporting_unit.conversion_rate", "For one unit counted", FieldKind.AMOUNT, placeholder="0.000001"),
    ),
    "Invoices always charge for what is counted.",
    folded=True,
)
_MORE = FormSection(
    "Description and metadata",
    (FormField("description", "Description", FieldKind.AREA, longest=10_000), metadata_rows()),
    folded=True,
)

NEW_FEATURE = (
    FormSection(
        "Feature",
        (
            *_NAMES,
            FormField(
                "type", "Kind", FieldKind.CHOICE, required=True, options=_TYPES, initial=FeatureType.METERED.value
            ),
        ),
    ),
    FormSection(
        "What is counted",
        (
            FormField(
                "meter.event_name",
                "Name of the events",
                required=True,
                placeholder="api_call",
                hint="Exactly as your program sends it",
            ),
            FormField(
                _AGGREGATION,
                "Counted is",
                FieldKind.CHOICE,
                required=True,
                options=_AGGREGATIONS,
                initial=AggregationType.COUNT.value,
            ),
            FormField(
                "meter.aggregation.field",
                "Property",
                placeholder="tokens",
                only_when=_WITH_PROPERTY,
                hint="The property of an event that has the number",
            ),
            FormField(
                "meter.aggregation.expression",
                "Or an expression",
                longest=4096,
                placeholder="input + output * 3",
                only_when=when(_AGGREGATION, *EXPRESSIBLE),
                hint="Of several properties, instead of one",
            ),
            FormField(
                "meter.aggregation.multiplier",
                "Times",
                FieldKind.AMOUNT,
                placeholder="0.001",
                only_when=when(_AGGREGATION, AggregationType.SUM_WITH_MULTIPLIER),
            ),
            FormField(
                "meter.aggregation.bucket_size",
                "In windows of",
                FieldKind.CHOICE,
                placeholder="The whole period",
                options=[(size.value, words(size)) for size in WindowSize],
                only_when=when(_AGGREGATION, *BUCKETABLE),
                hint="Each window is counted and priced by itself",
            ),
            FormField(
                "meter.aggregation.group_by",
                "By the values of",
                placeholder="region",
                only_when=when(_AGGREGATION, AggregationType.MAX),
                hint="Only with windows",
            ),
            FormField(
                "meter.reset_usage",
                "When a period ends",
                FieldKind.CHOICE,
                required=True,
                options=(
                    (ResetUsage.BILLING_PERIOD.value, "Counting begins again"),
                    (ResetUsage.NEVER.value, "The count goes on"),
                ),
                initial=ResetUsage.BILLING_PERIOD.value,
            ),
            FormRows("meter.filters", "Only events whose properties have these values", "filter", _FILTERS),
        ),
        "This never changes afterwards, but for values that are added to filters.",
        only_when=_METERED,
    ),
    _UNITS,
    _REPORTING,
    _MORE,
)

CHANGED_FEATURE = (FormSection("Feature", _NAMES[:1]), _UNITS, _REPORTING, _MORE)
CHANGED_METER = FormSection(
    "Count more events",
    (FormRows("filters", "Values to add to its filters", "filter", _FILTERS),),
    "What counts now goes on counting; events that have these values count as well.",
    folded=True,
)
