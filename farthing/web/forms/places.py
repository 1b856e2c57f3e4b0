"""Countries and time zones as a form offers them."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

from babel import Locale

from farthing.core.standards.trade_codes import countries


@cache
def countries_by_name() -> list[tuple[str, str]]:
    """Codes of countries and their English names."""
    names = Locale("en").territories
    return sorted(((code, names.get(code, code)) for code in countries()), key=lambda option: option[1])


@cache
def zones() -> list[tuple[str, str]]:
    """The time zones that somebody may choose, by their names."""
    common = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in common)]
