"""A value made of parts that are found by their type.

What packages are given from above is put together where all of them are known, in one frozen dataclass with a
required field for each part. A package below knows the type of its own part and nothing of the others, so it asks for
it by that type.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_type_hints

Part = TypeVar("Part")


class Composition:
    """The base of a frozen dataclass whose fields each have a class of their own as their type."""

    def part(self, kind: type[Part]) -> Part:
        """The part declared with this type. Raises LookupError for a type that no field has."""
        own: Any = type(self)
        name = _fields_by_type(own).get(kind)
        if name is None:
            raise LookupError(f"{type(self).__name__} has no part of type {kind.__name__}")
        found: Part = getattr(self, name)
        return found


@cache
def _fields_by_type(composition: Any) -> dict[Any, str]:
    fields = get_type_hints(composition)
    by_type = {kind: name for name, kind in fields.items()}
    if len(by_type) != len(fields):
        raise TypeError(f"two parts of {composition.__name__} have the same type")
    return by_type
