"""What the customer portal is made of, unless a setting says otherwise: its look, its sections and tabs, and what
customers may see and do in it.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from farthing.core.encoding.wire import Request
from farthing.core.errors import ValidationFailed
from farthing.core.standards.colours import VISIBLE, Colour

Word = Annotated[str, Meta(min_length=1, max_length=100)]
Words = Annotated[str, Meta(max_length=255)]


class Theme(Request):
    """Colours; the portal has its own where none is given. `primary_color` is that of its buttons and links."""

    primary_color: Words | None = None
    secondary_color: Words | None = None
    tertiary_color: Words | None = None
    background: Literal["auto", "light", "dark"] | None = None
    """Auto, as also without one, is what the reader's device prefers."""


LIGHT_BACKGROUNDS = tuple(map(Colour.of_hex, ("#fbfaf7", "#ffffff", "#f4f1eb")))
DARK_BACKGROUNDS = tuple(map(Colour.of_hex, ("#15171a", "#1c1f23", "#23272c")))
"""What the pages' text stands on, as their style sheet has it."""


def require_visible_accent(theme: Theme) -> None:
    """Refuse an accent that is no colour, or that nobody would see on the background. Raises ValidationFailed.

    Called when a theme is set; one that stands from before is left out where it cannot be shown.
    """
    if not theme.primary_color:
        return
    try:
        accent = Colour.of_hex(theme.primary_color)
    except ValueError as error:
        raise ValidationFailed.of("theme.primary_color", str(error)) from error
    is_dark = theme.background == "dark"
    contrast = accent.least_contrast(DARK_BACKGROUNDS if is_dark else LIGHT_BACKGROUNDS)
    if contrast < VISIBLE:
        raise ValidationFailed.of(
            "theme.primary_color",
            f"cannot be seen on the {'dark' if is_dark else 'light'} background: the contrast of {accent.hex} is "
            f"{contrast:.1f} to 1, and buttons need {VISIBLE:.0f} to 1; choose a {'lighter' if is_dark else 'darker'} "
            "colour",
        )


Ending = Literal["none", "end_of_period", "immediate"]


class PortalItems(Request):
    """What customers may see and do by themselves. What changes a contract is off until somebody switches it on."""

    invoices: bool = True
    pay: bool = True
    payment_methods: bool = True
    buy_credits: bool = True
    usage: bool = True
    edit_details: bool = True
    """Name, address, telephone, e-mail address and language."""
    edit_tax_id: bool = False
    alerts: bool = False
    """Thresholds of their own for what they spend."""
    change_plan: Ending = "none"
    """`end_of_period`: at the end of the open period only; `immediate`: then or at once, as the customer chooses."""
    plans: Annotated[list[Annotated[str, Meta(min_length=1, max_length=50)]], Meta(max_length=100)] = field(
        default_factory=list
    )
    """The plans that they may change to; none by default."""
    cancel: Ending = "none"


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
