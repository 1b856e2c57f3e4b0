"""What of an answer is for those who keep the books, and not for those whom the books are about."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr

_INTERNAL = frozenset({"metadata", "created_by", "updated_by"})
"""What a merchant notes for itself: shown empty to a customer."""

Shown = TypeVar("Shown")


def without_internals(answer: Shown) -> Shown:
    """The same answer, changed in place: however deep, no metadata, and none of the merchant's people.

    Rule: docs/rules/customers.md#portal
    """
    if isinstance(answer, list):
        for item in answer:
            without_internals(item)
    elif isinstance(answer, dict):
        for name, value in answer.items():
            answer[name] = type(value)() if name in _INTERNAL else without_internals(value)
    elif isinstance(answer, Struct):
        for name in answer.__struct_fields__:
            value = getattr(answer, name)
            if name in _INTERNAL and value:
                force_setattr(answer, name, type(value)())
            elif name != "properties":  # of the customer's own events
                without_internals(value)
    return answer
