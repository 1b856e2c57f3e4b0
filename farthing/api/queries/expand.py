"""The `expand` parameter: which related entities a response should carry, one nested level deep."""

from __future__ import annotations

from collections.abc import Mapping

from farthing.core.errors import ValidationFailed

Allowed = Mapping[str, frozenset[str]]
"""Root to the nested names it allows."""


def expansions(text: str | None, allowed: Allowed) -> dict[str, set[str]]:
    """`"prices.meters,entitlements"` as `{"prices": {"meters"}, "entitlements": set()}`. Raises ValidationFailed.

    Entries of one root are merged.
    """
    wanted: dict[str, set[str]] = {}
    for entry in filter(None, (part.strip() for part in (text or "").split(","))):
        root, _, nested = entry.partition(".")
        if root not in allowed or (nested and nested not in allowed[root]):
            raise ValidationFailed.listing({"expand": f"'{entry}' is not allowed"}, field=entry)
        wanted.setdefault(root, set())
        if nested:
            wanted[root].add(nested)
    return wanted
