"""What an email address looks like, and the form in which a mail server takes it."""

from __future__ import annotations

import re

LONGEST_ADDRESS = 254

_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\]\\.\x00-\x1f\x7f]+(\.[^\s@\"(),:;<>\[\]\\.\x00-\x1f\x7f]+)*")
_DOMAIN_LABEL = re.compile(r"[^\W_]([\w-]{0,61}[^\W_])?")
_LOCAL_PART_LENGTH = 64
_ENCODED = "=?"
"""How a word of a header begins that stands for other letters, a line's end among them (RFC 2047)."""


def is_email_address(text: str) -> bool:
    """Whether mail could be sent to `text`: one bare address, without a name, quotes or blanks."""
    local, at, domain = text.rpartition("@")
    labels = domain.split(".")
    return bool(
        at
        and len(text) <= LONGEST_ADDRESS
        and len(local) <= _LOCAL_PART_LENGTH
        and _LOCAL_PART.fullmatch(local)
        and _ENCODED not in local
        and len(labels) > 1
        and all(_DOMAIN_LABEL.fullmatch(label) for label in labels)
    )


def deliverable_address(text: str) -> str | None:
    """`text` as every mail server takes it, its domain in ASCII; None where it is no address, or needs SMTPUTF8."""
    if not is_email_address(text):
        return None
    local, _, domain = text.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return f"{local}@{ascii_domain}" if local.isascii() else None
