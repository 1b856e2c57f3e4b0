"""The forms of the settings about credits, usage, exchange rates, and how long things are kept."""

from __future__ import annotations

from farthing.web.administration.settings.setting_form import choice, days, tick
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, Sections

UNITS = (("DAY", "days"), ("WEEK", "weeks"), ("MONTH", "months"), ("YEAR", "years"))
LEVELS = {"critical": "Critical", "warning": "Warning", "info": "Information"}


def _level(name: str, title: str) -> FormSection:
    return FormSection(
        title,
        (
            FormField(
                f"{name}.threshold",
                "Balance",
                FieldKind.AMOUNT,
                placeholder="none",
                hint="Blank: there is no such level",
            ),
            choice(
                f"{name}.condition",
                "Reached when the balance is",
                "All levels look to the same side",
                ("below", "Below it"),
                ("above", "Above it"),
            ),
        ),
    )


def wallet_alerts() -> Sections:
    """When a wallet's balance raises an alert."""
    return (
        FormSection(
            "Alerts",
            (
                tick(
                    "alert_enabled",
                    "Watch the balance of wallets",
                    "Of every wallet that has no thresholds of its own, from its next change on",
                ),
                tick(
                    "notify_all_levels",
                    "Tell of every level",
                    "Webhooks hear of warnings and information too, not of what is critical alone",
                ),
            ),
        ),
        *(_level(name, title) for name, title in LEVELS.items()),
    )


def bonus_credits() -> Sections:
    """Bonus credits by the size of a top-up."""
    columns = (
        FormField("threshold", "From credits", FieldKind.AMOUNT),
        FormField("bonus.type", "Bonus", FieldKind.CHOICE, options=(("flat", "Credits"), ("percentage", "Per cent"))),
        FormField("bonus.value", "How much", FieldKind.AMOUNT),
        FormField("expiration_duration", "Expires after", FieldKind.WHOLE, placeholder="never"),
        FormField("expiration_duration_unit", "Unit", FieldKind.CHOICE, options=UNITS, placeholder="-"),
    )
    return (
        FormSection(
            "Bonus credits",
            (
                tick("enabled", "Give bonus credits", "Every top-up from now on gets the bonus of its size on top"),
                FormRows(
                    "slabs", "By the size of the top-up", "size", columns, "The largest comes first; one bonus counts."
                ),
            ),
        ),
    )


def draft_recompute() -> Sections:
    """Whether drafts are computed again as usage arrives."""
    return (
        FormSection(
            "Drafts",
            (
                tick(
                    "enabled",
                    "Compute drafts again every night",
                    "Usage that arrived since stands on invoices that are drafts still and that nobody edited",
                ),
            ),
        ),
    )


def requests() -> Sections:
    """What is done with unknown fields of requests, and which times events may have."""
    return (
        FormSection(
            "Requests",
            (
                tick(
                    "refuse_unknown_fields",
                    "Refuse fields that are unknown",
                    "A request over the API with a field that its endpoint does not know is refused, not answered "
                    "without it",
                ),
                FormField(
                    "earliest_event_time",
                    "No events before",
                    FieldKind.DATE,
                    required=True,
                    hint="Events with an earlier time are refused. The day begins at 00:00 UTC",
                ),
                FormField(
                    "event_years_ahead",
                    "No events beyond years",
                    FieldKind.WHOLE,
                    required=True,
                    hint="Events that lie further ahead of their arrival are refused",
                ),
            ),
        ),
    )


def activity() -> Sections:
    """How long the activity log is kept."""
    return (
        FormSection(
            "Activity",
            (
                days(
                    "retention_days",
                    "Days to keep it",
                    "Older entries of the activity log are forgotten month by month. 0: it is kept for ever; else 365 "
                    "or more",
                ),
            ),
        ),
    )


def marketplaces() -> Sections:
    """What a cloud marketplace is told of beside usage."""
    return (
        FormSection(
            "Marketplaces",
            (
                tick(
                    "include_fixed",
                    "Report fixed fees too",
                    "Each in the hour in which its service begins; else they are part of the contract there",
                ),
            ),
        ),
    )


def exchange_rates() -> Sections:
    """How old the reference rates may be that invoices are converted at."""
    return (
        FormSection(
            "Reference rates",
            (
                days(
                    "market_rate_max_age_days",
                    "Days until a rate is too old",
                    "An invoice that needs a rate which is older waits as a draft until there is a new one",
                ),
            ),
        ),
    )


def erasure() -> Sections:
    """What stays of a customer that is erased."""
    return (
        FormSection(
            "Erasure",
            (
                FormField(
                    "document_retention_years",
                    "Years to keep documents",
                    FieldKind.WHOLE,
                    required=True,
                    hint="Invoices name an erased customer for so long after the year of the last one",
                ),
            ),
        ),
    )
