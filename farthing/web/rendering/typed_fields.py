"""What people type into forms, read as values, and what of it is wrong, said at the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from farthing.calendar.zones import first_instant_at
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.money import parse
from farthing.web.rendering.words import wording

_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
WHOLE_FORM = ""
"""The name under which stands what is wrong with no field alone."""


def number_in(field: str, typed: str) -> Decimal:
    """A number as people write it: "1,234.50". Raises ValidationFailed.

    A comma stands only between thousands: "49,00" is refused, because it may mean either 49 or 4,900.
    """
    compact = typed.replace(" ", "").replace("\N{NO-BREAK SPACE}", "")
    if not compact:
        raise ValidationFailed.of(field, "is required")
    if _GROUPED.fullmatch(compact):
        compact = compact.replace(",", "")
    if "," in compact:
        raise ValidationFailed.of(field, f"{typed} is no number: write 0.50 with a point, and a comma only as in 1,000")
    try:
        return parse(compact)
    except ValueError as error:
        raise ValidationFailed.of(field, str(error)) from error


def start_of_day(field: str, typed: str, zone: ZoneInfo) -> datetime:
    """The first instant of a day in a zone. Raises ValidationFailed for what is no day."""
    return _start(field, typed, zone, days_later=0)


def start_of_next_day(field: str, typed: str, zone: ZoneInfo) -> datetime:
    """The first instant after a day in a zone, however long the day is. Raises ValidationFailed for what is no day."""
    return _start(field, typed, zone, days_later=1)


def _start(field: str, typed: str, zone: ZoneInfo, days_later: int) -> datetime:
    try:
        day = date.fromisoformat(typed) + timedelta(days=days_later)
        return first_instant_at(datetime.combine(day, time()), zone)
    except (ValueError, OverflowError) as error:
        raise ValidationFailed.of(field, "must be a day, such as 2026-11-30") from error


def problems_at(error: FarthingError, place: Callable[[str], str], shown: Mapping[str, object]) -> dict[str, str]:
    """What is wrong, by the field of the form that `place` finds for a name of the wire; the rest at the whole form.

    `shown` are the fields that the form has.
    """
    problems: dict[str, str] = {}
    if isinstance(error, ValidationFailed):
        for name, reason in error.details.items():
            field = place(name)
            if field in shown and isinstance(reason, str):
                problems.setdefault(field, wording.sentence(wording.plainly(reason)))
    return problems or {WHOLE_FORM: wording.reason(error)}
