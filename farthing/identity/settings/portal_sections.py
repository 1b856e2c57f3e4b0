"""What the customer portal is made of, unless a setting says otherwise: sections, and tabs in them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from farthing.core.encoding.wire import Request

Word = Annotated[str, Meta(min_length=1, max_length=100)]
Words = Annotated[str, Meta(max_length=255)]


class Theme(Request):
    """Colours; the portal has its own where none is given."""

    primary_color: Words | None = None
    secondary_color: Words | None = None
    tertiary_color: Words | None = None


class TabOptions(Request):
    """What a tab shows; each type of tab reads its own."""

    show_cost_metrics: bool | None = None
    show_custom_metrics: bool | None = None
    show_revenue_metric: bool | None = None
    date_presets: list[Word] | None = None
    default_preset: Words | None = None
    feature_filter_mode: Words | None = None
    allow_custom_date_range: bool | None = None


class Tab(Request):
    """One tab of a section."""

    id: Word
    type: Word
    label: Words = ""
    order: int = 0
    enabled: bool = True
    config: TabOptions | None = None


class Section(Request):
    """One page of the portal."""

    id: Word
    label: Words = ""
    order: int = 0
    enabled: bool = True
    tabs: Annotated[list[Tab], Meta(max_length=50)] = field(default_factory=list)


def _graph(presets: list[str], filter_mode: str) -> TabOptions:
    return TabOptions(
        date_presets=presets,
        default_preset="last_7_days",
        feature_filter_mode=filter_mode,
        allow_custom_date_range=True,
    )


def _section(id: str, order: int, *tabs: tuple[str, str, TabOptions | None]) -> Section:
    return Section(
        id=id,
        label=id.title(),
        order=order,
        tabs=[
            Tab(id=tab, type=kind, label=kind.replace("_", " ").title(), order=place, config=options)
            for place, (tab, kind, options) in enumerate(tabs, start=1)
        ],
    )


SECTIONS = (
    _section(
        "usage",
        1,
        (
            "1",
            "metric_cards",
            TabOptions(show_cost_metrics=False, show_custom_metrics=True, show_revenue_metric=True),
        ),
        (
            "2",
            "usage_graph",
            _graph(["today", "last_7_days", "last_30_days", "current_month", "last_month"], "inc"),
        ),
        ("4", "current_usage", None),
        ("3", "usage_breakdown", None),
    ),
    _section("credits", 2, ("6", "wallet_balance", None), ("7", "wallet_transactions", None)),
    _section("invoices", 3, ("8", "invoices", None)),
    _section(
        "overview",
        4,
        ("9", "wallet_balance", None),
        ("10", "subscriptions", None),
        ("11", "usage_graph", _graph(["last_7_days", "last_30_days"], "all")),
    ),
)
