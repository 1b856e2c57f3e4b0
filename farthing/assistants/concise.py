"""Answers of the API made short: what only programs need is left out, what stays keeps its name and its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LARGEST_ANSWER_BYTES = 100 * 1024
_FOR_PROGRAMS = frozenset(
    {
        "tenant_id",
        "environment_id",
        "created_by",
        "updated_by",
        "updated_at",
        "status",
        "idempotency_key",
        "metadata",
        "version",
    }
)


def concise(value: Any) -> Any:
    """An answer without nulls, empty lists and texts, and the fields that only programs need."""
    if isinstance(value, dict):
        return {
            name: concise(field)
            for name, field in value.items()
            if name not in _FOR_PROGRAMS and field is not None and field not in ("", [], {})
        }
    return [concise(member) for member in value] if isinstance(value, list) else value


def picked(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of these fields that say something, in this order."""
    short = concise(dict(record))
    return {name: short[name] for name in names if name in short}


def page_of(answer: Mapping[str, Any], names: Iterable[str], offset: int) -> dict[str, Any]:
    """A page of a list: its records with these fields, how many there are in all, and where the next page begins."""
    fields = tuple(names)
    items = [picked(record, fields) for record in answer["items"]]
    total = answer["pagination"]["total"]
    following = offset + len(items)
    page: dict[str, Any] = {"items": items, "total": total}
    return {**page, "next_offset": following} if items and following < total else page
