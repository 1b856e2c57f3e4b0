"""Numbers as a reader of the portal writes them, and the refusal of what is none, in the reader's language."""

from __future__ import annotations

import re
from decimal import Decimal

from farthing.core.errors import ValidationFailed
from farthing.web.rendering.languages import LocalWords
from farthing.web.rendering.typed_fields import number_in

_DECIMAL_COMMA = frozenset({"de", "es", "fr"})
"""Languages that write 1.234,50."""
_AMBIGUOUS = re.compile(r"-?[1-9]\d{0,2}[.,]\d{3}")
"""What these languages, or their readers' keyboards, write for a thousand times another number."""
_GROUPED = re.compile(r"-?\d{1,3}(\.\d{3})+,\d+|-?\d{1,3}(\.\d{3}){2,}")
_WITH_COMMA = re.compile(r"-?\d*,\d+")


class NotANumber(ValidationFailed):
    """What was typed where a number belongs is none, or could be two."""


def typed_number(words: LocalWords, field: str, typed: str) -> Decimal:
    """A number with the language's comma or with a point. Raises NotANumber, whose details have what was typed."""
    compact = re.sub(r"\s", "", typed)
    if words.language in _DECIMAL_COMMA:
        if _AMBIGUOUS.fullmatch(compact):
            raise NotANumber.of(field, typed)
        if _GROUPED.fullmatch(compact):
            compact = compact.replace(".", "")
        if _WITH_COMMA.fullmatch(compact):
            compact = compact.replace(",", ".")
    try:
        return number_in(field, compact)
    except ValidationFailed as error:
        raise NotANumber.of(field, typed) from error
