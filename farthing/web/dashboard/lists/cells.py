"""What several lists write into their cells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from markupsafe import Markup
from sqlalchemy import ColumnElement

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.web.rendering.listing import ListColumn
from farthing.web.rendering.words import wording


class RowInZone(Protocol):
    """A row whose days are those of a zone."""

    @property
    def zone(self) -> str: ...


RowT = TypeVar("RowT", bound=RowInZone)


def linked(address: str, words: str) -> Markup:
    """Words that lead somewhere."""
    return Markup('<a href="{}">{}</a>').format(address, words)


def date_text(at: datetime | None, zone: str) -> str:
    """ "2026-11-14" on the wall of `zone`, for a file."""
    return "" if at is None else to_local(at, zone_or_abbreviation(zone)).date().isoformat()


def day_column(
    key: str,
    label: str,
    column: ColumnElement[Any],
    read: Callable[[RowT], datetime | None],
    *,
    is_shown: bool = False,
) -> ListColumn[RowT]:
    """A column of a day, in the zone of its row."""
    return ListColumn(
        key,
        label,
        lambda row: wording.day(read(row), row.zone),
        lambda row: date_text(read(row), row.zone),
        sort=column,
        is_number=True,
        is_shown=is_shown,
        is_wide=True,
    )
