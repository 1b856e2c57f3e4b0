"""A change as people read it: what differs, field by field, however deep in a structure it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farthing.web.rendering.words.field_names import in_words

MOST_DIFFERENCES = 100


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field and what it was before and after; both are simple, or lists of what is simple."""

    field: str
    """As the log names it, with the places of what it is in."""
    name: str
    before: Any
    after: Any
    is_kept: bool = True
    """False for a field whose values are not in the log."""


def differences(changes: Sequence[Mapping[str, Any]] | None) -> list[FieldDifference]:
    """What `changes` of an activity come to, in their order; of very many, the first."""
    found: list[FieldDifference] = []
    for change in changes or ():
        field = str(change["field"])
        if "after" not in change:
            found.append(FieldDifference(field, in_words(field), None, None, is_kept=False))
            continue
        found.extend(_compared(field, change.get("before"), change["after"]))
    return found[:MOST_DIFFERENCES]


def _compared(field: str, before: Any, after: Any) -> Iterator[FieldDifference]:
    if before == after:
        return
    if _is_structure(before) or _is_structure(after):
        former, latter = _members(before), _members(after)
        if former is not None and latter is not None:
            for name in dict.fromkeys([*former, *latter]):
                yield from _compared(f"{field}{name}", former.get(name), latter.get(name))
            return
    yield FieldDifference(field, in_words(field), before, after)


def _is_structure(value: Any) -> bool:
    """Whether a value has fields of its own."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value))


def _members(value: Any) -> dict[str, Any] | None:
    """The parts of a structure, by what is added to its name; nothing has none, and a simple value cannot be parted."""
    match value:
        case None | "":
            return {}
        case dict():
            return {f".{name}": member for name, member in value.items()}
        case list():
            return {f"[{place}]": member for place, member in enumerate(value)}
        case _:
            return None
