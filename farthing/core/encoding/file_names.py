"""Names of files as headers say them, and as they end up in somebody's folder."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

Disposition = Literal["inline", "attachment"]
_LONGEST = 200
_BEYOND_A_NAME = frozenset('/\\:*?"<>|%;')
"""What a system, or a reader of headers, takes for more than a part of a name."""


def file_name(name: str) -> str:
    """`name` as the name of one file: letters of any script stay, what could be more than a part of a name does not."""
    return "".join(_kept(letter) for letter in name).strip(". ")[-_LONGEST:] or "file"


def content_disposition(disposition: Disposition, name: str) -> str:
    """The header `Content-Disposition` of a file of this name.

    Letters of any script stay, in the form that every browser reads; whoever does not is given them as underscores.
    As RFC 6266 says, with the encoding of RFC 8187.
    """
    safe = file_name(name)
    ascii_name = "".join(letter if letter.isascii() else "_" for letter in safe)
    header = f'{disposition}; filename="{ascii_name}"'
    return header if safe.isascii() else f"{header}; filename*=UTF-8''{quote(safe, safe='')}"


def _kept(letter: str) -> str:
    # what is not printable includes line breaks, the marks that turn the direction of writing, and lone surrogates
    return letter if letter.isprintable() and letter not in _BEYOND_A_NAME else "_"
