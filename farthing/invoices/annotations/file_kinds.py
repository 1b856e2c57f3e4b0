"""Which files may be attached: by the ending of their name, and by what their first bytes show.

None of them is shown in a browser as part of a page: they are downloads, whatever they hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from farthing.core.errors import ValidationFailed

LARGEST_FILE_BYTES = 5 * 2**20
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: its media type, and the bytes that it begins with; text begins with any."""

    media_type: str
    beginnings: tuple[bytes, ...] = ()


_ZIP = (b"PK\x03\x04",)
_OFFICE = "application/vnd.openxmlformats-officedocument."
KINDS = {
    ".pdf": FileKind("application/pdf", (b"%PDF-",)),
    ".png": FileKind("image/png", (b"\x89PNG\r\n\x1a\n",)),
    ".jpg": FileKind("image/jpeg", (b"\xff\xd8\xff",)),
    ".jpeg": FileKind("image/jpeg", (b"\xff\xd8\xff",)),
    ".txt": FileKind("text/plain"),
    ".csv": FileKind("text/csv"),
    ".docx": FileKind(f"{_OFFICE}wordprocessingml.document", _ZIP),
    ".xlsx": FileKind(f"{_OFFICE}spreadsheetml.sheet", _ZIP),
    ".odt": FileKind("application/vnd.oasis.opendocument.text", _ZIP),
    ".ods": FileKind("application/vnd.oasis.opendocument.spreadsheet", _ZIP),
}
"""By the ending of a file's name."""


def clean_name(name: str) -> str:
    """The last part of a file's name, without what a system could take for more than a name."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if letter.isprintable() and letter not in '"<>:|?*').strip(". ")
    stem, dot, ending = kept.rpartition(".")
    return f"{stem[:LONGEST_NAME]}{dot}{ending[:10]}" if dot else kept[:LONGEST_NAME]


def require_kind(name: str, content: bytes) -> FileKind:
    """The kind of a file. Raises ValidationFailed for one that is not to be stored."""
    if not content:
        raise ValidationFailed.of("file", "must not be empty")
    if len(content) > LARGEST_FILE_BYTES:
        raise ValidationFailed.of("file", f"must be at most {LARGEST_FILE_BYTES // 2**20} MB")
    _, dot, ending = name.rpartition(".")
    kind = KINDS.get(f"{dot}{ending}".lower())
    if kind is None:
        raise ValidationFailed.of("file", f"must be one of {', '.join(KINDS)}")
    if not (content.startswith(kind.beginnings) if kind.beginnings else _is_text(content)):
        raise ValidationFailed.of("file", f"does not hold what a {dot}{ending} file holds")
    return kind


def _is_text(content: bytes) -> bool:
    try:
        return "\x00" not in content.decode()
    except UnicodeDecodeError:
        return False
