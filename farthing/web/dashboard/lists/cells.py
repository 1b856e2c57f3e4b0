"""What several lists write into their cells."""

from __future__ import annotations

from datetime import datetime

from markupsafe import Markup

from farthing.calendar.zones import to_local, zone_or_abbreviation


def linked(address: str, words: str) -> Markup:
    """Words that lead somewhere."""
    return Markup('<a href="{}">{}</a>').format(address, words)


def date_text(at: datetime | None, zone: str) -> str:
    """ "2026-11-14" on the wall of `zone`, for a file."""
    return "" if at is None else to_local(at, zone_or_abbreviation(zone)).date().isoformat()
