"""Fields of a request that the endpoint does not know: named in the answer, or refused where the caller wants that.

Rule: docs/rules/conventions.md#unknown-fields
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from litestar.connection import ASGIConnection

from farthing.api.work import unit_of_work
from farthing.core.errors import ValidationFailed

HEADER = "Farthing-Ignored-Fields"
STRICT_HEADER = "Farthing-Strict"
MOST_NAMED = 20
LONGEST_PATH = 100
_PLAIN = ".[]_-$@/ "
"""What may stand in the header as it is, besides letters and digits; a comma would end the path."""


def note_ignored_fields(connection: ASGIConnection[Any, Any, Any, Any], paths: Sequence[str]) -> None:
    """Name `paths` in the answer's header. Raises ValidationFailed when the caller or its environment is strict."""
    if not paths:
        return
    work = unit_of_work(connection)
    if refuses_unknown_fields(connection):
        raise ValidationFailed.listing(dict.fromkeys(paths[:MOST_NAMED], "is not a known field"))
    work.ignored_fields = [*work.ignored_fields, *paths][:MOST_NAMED]


def refuses_unknown_fields(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether the request asks for it, or its environment's setting does, which the request may overrule."""
    asked = connection.headers.get(STRICT_HEADER, "").strip().lower()
    if asked in {"true", "false"}:
        return asked == "true"
    if asked:
        raise ValidationFailed.of(STRICT_HEADER, "must be true or false")
    caller = unit_of_work(connection).caller
    return caller is not None and caller.terms.refuses_unknown_fields


def header_value(paths: Sequence[str]) -> bytes:
    """The paths as one header: separated by commas, shortened, and what no header may hold percent-encoded."""
    return ", ".join(quote(path[:LONGEST_PATH], safe=_PLAIN) for path in paths).encode()
