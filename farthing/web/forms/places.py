"""Countries, time zones and addresses as a form offers them."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

from babel import Locale

from farthing.core.standards.trade_codes import countries
from farthing.web.forms.fields import FieldKind, FormField


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


def address_fields(prefix: str, country_hint: str = "") -> tuple[FormField, ...]:
    """A postal address, in the order in which it is written; `prefix` is what the names of its fields begin with."""
    return (
        FormField(f"{prefix}line1", "Street"),
        FormField(f"{prefix}line2", "Second line"),
        FormField(f"{prefix}postal_code", "Postal code", longest=20),
        FormField(f"{prefix}city", "City", longest=100),
        FormField(f"{prefix}state", "State or region", longest=100),
        FormField(
            f"{prefix}country",
            "Country",
            FieldKind.CHOICE,
            options=countries_by_name(),
            placeholder="Not said",
            hint=country_hint,
        ),
    )
