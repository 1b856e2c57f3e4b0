"""A form with what was typed into it and what was refused of it, for a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farthing.core.errors import AlreadyExists, FarthingError, ValidationFailed
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, Sections, ShownWhen, parts_of
from farthing.web.forms.reading import row_numbers
from farthing.web.rendering.words import wording
from farthing.web.rendering.words.field_names import in_words


@dataclass(frozen=True, slots=True)
class FilledForm:
    """Sections with what stands in their fields, what is wrong with some, and what is wrong beside them."""

    sections: Sections
    given: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    alert: str = ""
    is_filled: bool = False
    """Whether anybody has filled it in: then what is not in `given` is blank, and not as it was initially."""

    @property
    def first_problem(self) -> str:
        """The first field that is wrong, where whoever typed goes on; "" when none is."""
        return next((name for name in _names(self.sections, self.given) if name in self.problems), "")

    def value(self, part: FormField, name: str | None = None) -> str:
        """What stands in a field, or in the field of a row that is called `name`."""
        initial = "" if self.is_filled else part.initial
        value = self.given.get(name or part.name, initial)
        return value.upper() if part.kind is FieldKind.CURRENCY else value

    def ticked(self, part: FormField) -> bool:
        """Whether a box is ticked."""
        return part.name in self.given if self.is_filled else bool(self.given.get(part.name, part.initial))

    def rows(self, table: FormRows) -> range:
        """The numbers of the rows to show."""
        return range(max(len(row_numbers(table.name, self.given)), table.least))

    def is_open(self, section: FormSection) -> bool:
        """Whether a section that is folded away is shown open, because something in it stands or was refused."""
        names = [part.name for part in section.parts]
        said = [*self.problems, *(name for name, text in self.given.items() if text)]
        return any(name == part or name.startswith((f"{part}[", f"{part}.")) for name in said for part in names)


def conditions_text(conditions: tuple[ShownWhen, ...]) -> str:
    """Conditions for the script of the page."""
    return ";".join(condition.text for condition in conditions)


def refused_form(sections: Sections, given: Mapping[str, str], error: FarthingError) -> FilledForm:
    """A form as it was sent, with what `error` says at the fields it is about, and the rest above them."""
    names = _names(sections, given)
    placed: dict[str, str] = {}
    beside: list[str] = []
    for path, why in _reasons(error, names).items():
        name = _field_named(path, names)
        if name is None:
            beside.append(f"{in_words(path)}: {why}")
            continue
        within = path.removeprefix(name).lstrip(".") if path.startswith(name) else ""
        placed[name] = f"{in_words(within)}: {why}" if within else why
    if not placed:
        return FilledForm(sections, given, {}, wording.reason(error), is_filled=True)
    count = len(placed)
    alert = f"Nothing was saved. {count} {'field needs' if count == 1 else 'fields need'} another look."
    return FilledForm(sections, given, placed, " ".join([alert, *beside]), is_filled=True)


def _reasons(error: FarthingError, names: list[str]) -> dict[str, str]:
    """What is wrong, by path; what exists already is said at the first field that says what exists."""
    if isinstance(error, ValidationFailed):
        return {path: wording.plainly(why) for path, why in error.details.items() if isinstance(why, str)}
    if isinstance(error, AlreadyExists):
        field = next((name for name in error.details if _field_named(name, names) is not None), None)
        return {} if field is None else {field: error.message[:1].lower() + error.message[1:]}
    return {}


def _names(sections: Sections, given: Mapping[str, str]) -> list[str]:
    names: list[str] = []
    for part, _ in parts_of(sections):
        if isinstance(part, FormRows):
            numbers = row_numbers(part.name, given)
            names += [f"{part.name}[{number}].{column.name}" for number in numbers for column in part.columns]
            names.append(part.name)
        elif part.kind is not FieldKind.HIDDEN:
            names.append(part.name)
    return names


def _field_named(path: str, names: list[str]) -> str | None:
    """The field that a path means: the same, one of which the path is the end, or the table or object it is in."""
    if path in names:
        return path
    ends = [name for name in names if name.endswith(f".{path}")]
    if len(ends) == 1:
        return ends[0]
    inside = [name for name in names if path.startswith((f"{name}.", f"{name}["))]
    if inside:
        return max(inside, key=len)
    around = [name for name in names if name.startswith(f"{path}.")]
    return around[0] if around else None
