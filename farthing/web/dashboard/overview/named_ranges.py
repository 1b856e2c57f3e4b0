"""Ranges of days that have a name, as the first page and the reports offer them. Pure."""

from __future__ import annotations

from datetime import date, timedelta

from farthing.core.errors import ValidationFailed

_DAY = timedelta(days=1)
RANGES = (
    ("12_months", "Last 12 months"),
    ("this_month", "This month"),
    ("last_month", "Last month"),
    ("this_year", "This year"),
    ("last_year", "Last year"),
    ("last_30_days", "Last 30 days"),
    ("last_90_days", "Last 90 days"),
)


def named_days(name: str, today: date) -> tuple[date, date]:
    """The first and the last day of a range with a name. Raises ValidationFailed for an unknown one."""
    month = today.replace(day=1)
    next_month = _month_after(month)
    match name:
        case "12_months":
            return next_month.replace(year=next_month.year - 1), next_month - _DAY
        case "this_month":
            return month, next_month - _DAY
        case "last_month":
            return (month - _DAY).replace(day=1), month - _DAY
        case "this_year":
            return today.replace(month=1, day=1), today.replace(month=12, day=31)
        case "last_year":
            return date(today.year - 1, 1, 1), date(today.year - 1, 12, 31)
        case "last_30_days":
            return today - 29 * _DAY, today
        case "last_90_days":
            return today - 89 * _DAY, today
    raise ValidationFailed.of("range", f"must be one of {', '.join(key for key, _ in RANGES)}; not '{name}'")


def _month_after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
