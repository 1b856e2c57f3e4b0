"""A form that was opened before somebody changed what it shows says so, before it writes over that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from farthing.core.errors import ValidationFailed

SEEN = "seen"
"""The field with the mark of what a form showed when it was opened."""


def with_mark(shown: Mapping[str, str]) -> dict[str, str]:
    """What a form shows, and the mark by which a change of it is noticed."""
    return {**shown, SEEN: _mark(shown)}


def require_unchanged(given: dict[str, str], stands: Mapping[str, str]) -> None:
    """Raises ValidationFailed if what a form showed was changed meanwhile, at each field that was typed otherwise.

    The form is shown again with the mark of what stands: sent once more, it is taken as it is typed. A form without a
    mark was not made from what stood.
    """
    mark = _mark(stands)
    if given.get(SEEN, mark) == mark:
        return
    given[SEEN] = mark
    otherwise = {name: text for name, text in stands.items() if text != given.get(name, "")}
    if otherwise:
        raise ValidationFailed.listing({name: _told(text) for name, text in otherwise.items()})


def _told(text: str) -> str:
    stands = f"is “{text}” by now" if text else "is blank by now"
    return f"{stands}: this was changed while the form was open. Save again to keep what is typed"


def _mark(shown: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(shown.items())).encode()).hexdigest()[:16]
