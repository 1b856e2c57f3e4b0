"""What somebody typed into a form about a subscription, read into the fields of the API's requests.

A field of the form has the name of the wire's field; one of several lines has the line's id behind a colon, as in
`quantity:price_01...`. Refusals name fields as the wire does and are shown at the field of the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from farthing.calendar.zones import to_utc
from farthing.core.clock import instant
from farthing.core.encoding.times import read_time
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.web.rendering.typed_fields import number_in
from farthing.web.rendering.words.wording import plainly

AS_OF, AGREED, ONCE = "as_of", "agreed", "once"
OF_THE_STEPS = frozenset({"form_token", AS_OF, AGREED, ONCE})
"""Fields that belong to the two steps and not to what was typed."""


@dataclass(slots=True)
class TypedForm:
    """The fields that were typed, and the moment that counts as now: that of the preview, so that the confirmation
    does what was shown. `places` says which line's fields a place in the request was read from.
    """

    fields: Mapping[str, str]
    as_of: datetime
    places: dict[str, str] = field(default_factory=dict)

    @classmethod
    def confirmed(cls, fields: Mapping[str, str]) -> TypedForm:
        """The form as it was looked at. Raises ValidationFailed."""
        try:
            return cls(fields, read_time(fields.get(AS_OF, "")))
        except ValueError as error:
            raise ValidationFailed.of(AS_OF, str(error)) from error

    @property
    def moment(self) -> str:
        """The moment of the form, as its confirmation brings it back."""
        return instant(self.as_of)

    def text(self, name: str) -> str:
        return self.fields.get(name, "")

    def given(self, *names: str) -> dict[str, str]:
        """The named fields that are not empty, as a request has them."""
        return {name: self.fields[name] for name in names if self.fields.get(name)}

    def of_lines(self, name: str) -> dict[str, str]:
        """The values of a field that every line has, by the line's id; empty ones are left out."""
        start = f"{name}:"
        return {key.removeprefix(start): text for key, text in self.fields.items() if key.startswith(start) and text}

    def number(self, name: str) -> Decimal | None:
        """A number as people write it: "1,250.50"; None for nothing. Raises ValidationFailed."""
        written = self.text(name)
        return None if not written else number_in(name, written)

    def midnight(self, name: str, zone: ZoneInfo) -> str | None:
        """The beginning of a day in `zone`; None for nothing. Raises ValidationFailed."""
        written = self.text(name)
        if not written:
            return None
        try:
            day = date.fromisoformat(written)
            return instant(to_utc(datetime(day.year, day.month, day.day), zone))  # noqa: DTZ001 (the wall's time)
        except (ValueError, OverflowError) as error:
            raise ValidationFailed.of(name, "must be a day, for example 2026-11-01") from error


def problems_of(error: FarthingError, form: TypedForm) -> dict[str, str]:
    """Why fields of the form were refused, by their names there."""
    if not isinstance(error, ValidationFailed):
        return {}
    return {_field_of(place, form): plainly(str(reason)) for place, reason in error.details.items()}


def _field_of(place: str, form: TypedForm) -> str:
    name = place.rpartition(".")[2]
    line = next((line for within, line in form.places.items() if within in place), "")
    return f"{name}:{line}" if line and ":" not in name else name


def body_without_nothing(**fields: Any) -> dict[str, Any]:
    """The fields of a request that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
