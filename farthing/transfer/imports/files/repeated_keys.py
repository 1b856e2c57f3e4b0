"""Keys that an object of JSON has twice: which of the two was meant nobody can know, so that neither is taken."""

from __future__ import annotations

import json
from typing import Any

LONGEST_KEY = 80
"""Characters of a key that are told."""


class RepeatedKey(ValueError):
    """An object has a key twice; the message says so."""

    def __init__(self, key: str) -> None:
        super().__init__("stands twice in its object")
        self.key = key.replace("\x00", "")[:LONGEST_KEY]


def refuse_repeated_keys(text: bytes | str) -> None:
    """Raises RepeatedKey for valid JSON with a key twice in an object, and RecursionError for what nests deeply."""
    _DECODER.decode(text.decode() if isinstance(text, bytes) else text)


def _checked(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise RepeatedKey(key)
        keys.add(key)


_DECODER = json.JSONDecoder(object_pairs_hook=_checked, parse_float=str, parse_int=str, parse_constant=str)
"""Numbers are not converted."""
