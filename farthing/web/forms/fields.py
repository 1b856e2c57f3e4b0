"""What a form consists of: fields, tables whose rows can be added and removed, and sections of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_ROWS = 50
"""How many rows a table on a form may have."""


class FieldKind(StrEnum):
    """How a field is typed, and what it says in a request."""

    TEXT = "text"
    EMAIL = "email"
    AREA = "area"
    AMOUNT = "amount"
    WHOLE = "whole"
    DURATION = "duration"
    """Seconds, shown and typed in words: 2 hours."""
    DATE = "date"
    """A day, whose first instant (UTC) is meant."""
    TICK = "tick"
    CHOICE = "choice"
    CURRENCY = "currency"
    """A code of three letters, shown in capitals and typed either way."""
    LIST = "list"
    """Texts, separated by commas."""
    NUMBERS = "numbers"
    """Whole numbers, separated by commas."""
    JSON = "json"
    SECRET = "secret"  # noqa: S105 (what a field is)
    """What is typed and never shown again, also not in a form that was refused."""
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class ShownWhen:
    """A part of a form counts only while another field has one of these values."""

    field: str
    values: frozenset[str]

    @property
    def text(self) -> str:
        """The condition for the script of the page."""
        return f"{self.field}={'|'.join(sorted(self.values))}"


def when(field: str, *values: str) -> tuple[ShownWhen, ...]:
    """The one condition that `field` has one of `values`."""
    return (ShownWhen(field, frozenset(values)),)


@dataclass(frozen=True, slots=True)
class FormField:
    """A field; `initial` is what it says before anybody typed."""

    name: str
    label: str
    kind: FieldKind = FieldKind.TEXT
    hint: str = ""
    required: bool = False
    options: Sequence[tuple[str, str]] = ()
    initial: str = ""
    placeholder: str = ""
    longest: int = 255
    only_when: tuple[ShownWhen, ...] = ()


@dataclass(frozen=True, slots=True)
class FormRows:
    """A table on a form; the fields of a row are named by their column: `tiers[0].up_to`."""

    name: str
    label: str
    row: str
    """What one row is called: "tier"."""
    columns: Sequence[FormField]
    hint: str = ""
    least: int = 0
    """How many rows are shown at least."""
    only_when: tuple[ShownWhen, ...] = ()


@dataclass(frozen=True, slots=True)
class FormSection:
    """Fields under one heading."""

    title: str
    parts: Sequence[FormField | FormRows]
    lead: str = ""
    folded: bool = False
    """Whether the section is closed until asked for."""
    only_when: tuple[ShownWhen, ...] = ()


Sections = Sequence[FormSection]


def parts_of(sections: Sections) -> Iterator[tuple[FormField | FormRows, tuple[ShownWhen, ...]]]:
    """Every field and table with all conditions under which it counts."""
    for section in sections:
        for part in section.parts:
            yield part, (*section.only_when, *part.only_when)


METADATA_COLUMNS = (FormField("key", "Key", longest=255), FormField("value", "Value", longest=1000))


def metadata_rows() -> FormRows:
    """The table of what a tenant notes by keys of its own."""
    return FormRows(
        "metadata", "Metadata", "entry", METADATA_COLUMNS, "Keys and values of your own, as the API has them."
    )
