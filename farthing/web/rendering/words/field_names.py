"""What people call the field that a refusal is about: the label that it has on the page on which they read of it.

A refusal names fields as the wire does. `named_field` marks such a name in a text, and `with_labels` puts the label in
its place once the page is there; a field without one is called by its name, in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

BEGIN, END = "\ue000", "\ue001"
"""Characters of nobody's, around the name of a field."""
_MARKED = re.compile(f"{BEGIN}([^{BEGIN}{END}]*){END}")
_LABELLED = re.compile(
    r'<label[^>]*>\s*(?P<label>[^<]*[^<\s])\s*<(?:input|select|textarea)\b[^>]*?\bname="(?P<name>[^"]+)"'
)
_PLACE = re.compile(r"\[(\d+)\]")


def named_field(field: str) -> str:
    """The name of a field, to be read by `with_labels`."""
    return f"{BEGIN}{field}{END}"


def with_labels(page: str) -> str:
    """The page with the label of each field whose name is marked in it."""
    if BEGIN not in page:
        return page
    labels = {found["name"]: found["label"] for found in _LABELLED.finditer(page)}

    def label_of(marked: re.Match[str]) -> str:
        field = marked[1]
        found = (labels[name] for name in _names_of(field) if name in labels)
        return next(found, None) or escape(in_words(field))

    return _MARKED.sub(label_of, page)


def in_words(field: str) -> str:
    """ "line_items[0].amount" is "Line items 1, amount"."""
    text = _PLACE.sub(lambda place: f" {int(place[1]) + 1}", field).replace(".", ", ").replace("_", " ")
    return text[:1].upper() + text[1:]


def _names_of(field: str) -> Iterator[str]:
    """What a form may call the field: the whole of it, or a part, the innermost first."""
    yield field
    yield from reversed(_PLACE.sub("", field).split("."))
