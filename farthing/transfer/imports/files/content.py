"""The bytes of a file to import: unpacked, and cut into lines of a bounded length.

Rule: docs/rules/imports-and-exports.md#files
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.transfer.imports.files.rows import LONGEST_ROW_BYTES, MOST_ROWS, UnreadableFile

MOST_UNPACKED_BYTES = 16 * 2**30
"""A few kilobytes can unpack to any size."""
_GZIP = b"\x1f\x8b"
_OTHER_KINDS = (
    (b"PK\x03\x04", "is a ZIP archive or an Excel workbook; save the sheet as CSV, or unpack the archive"),
    (b"PK\x05\x06", "is an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook; save the sheet as CSV"),
    (b"PAR1", "is a Parquet file; imports take CSV and JSON"),
    (b"BZh", "is compressed with bzip2; only gzip is taken"),
    (b"\xfd7zXZ", "is compressed with xz; only gzip is taken"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; only gzip is taken"),
    (b"%PDF", "is a PDF"),
)
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"
_FAILURES = (EOFError, zlib.error, gzip.BadGzipFile)
"""What a damaged gzip stream raises."""


@dataclass(frozen=True, slots=True)
class FileLine:
    """A line with its end, by number from 1; `is_cut` when it is longer than lines may be and the rest was skipped."""

    number: int
    content: bytes
    is_cut: bool = False


class FileContent:
    """A file that is read once, from its beginning. Raises UnreadableFile for what is no text at all."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self._raw = path.open("rb")
        self._unpacked = 0
        beginning = self._raw.read(4)
        self._raw.seek(0)
        self._text: io.BufferedReader[Any] = self._raw
        if beginning.startswith(_GZIP):
            packed = gzip.GzipFile(fileobj=self._raw, mode="rb")
            self._text = io.BufferedReader(packed, 256 * 1024)
            beginning = self.peek(4)
        _refuse_other_kinds(beginning)
        self._skip_mark(beginning)

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._raw.close()

    @property
    def bytes_done(self) -> int:
        """How much of the file, as it was sent, is read."""
        return self._raw.tell()

    def lines(self) -> Iterator[FileLine]:
        """The lines, each with its end. Raises UnreadableFile where a compressed file is damaged."""
        number = blank = 0
        while content := self._read(LONGEST_ROW_BYTES + 1):
            number += 1
            blank += content.isspace()
            if blank > MOST_ROWS:
                # a few megabytes unpack to more of them than can be read in hours
                raise UnreadableFile(f"has more than {MOST_ROWS} blank lines")
            if len(content) <= LONGEST_ROW_BYTES or content.endswith(b"\n"):
                yield FileLine(number, content)
                continue
            rest = content
            while rest and not rest.endswith(b"\n"):
                rest = self._read(LONGEST_ROW_BYTES)
            yield FileLine(number, content[:LONGEST_ROW_BYTES], is_cut=True)

    def read(self, size: int) -> bytes:
        """The next bytes; b"" at the end. Raises UnreadableFile where a compressed file is damaged."""
        try:
            return self._counted(self._text.read(size))
        except _FAILURES as error:
            raise _damaged() from error

    def _read(self, most: int) -> bytes:
        try:
            return self._counted(self._text.readline(most))
        except _FAILURES as error:
            raise _damaged() from error

    def _counted(self, content: bytes) -> bytes:
        self._unpacked += len(content)
        if self._unpacked > MOST_UNPACKED_BYTES:
            raise UnreadableFile(f"unpacks to more than {MOST_UNPACKED_BYTES // 2**30} GiB")
        return content

    def peek(self, size: int) -> bytes:
        """Bytes that come next, at most `size`, which are still to be read."""
        try:
            return self._text.peek(size)[:size]
        except _FAILURES as error:
            raise _damaged() from error

    def _skip_mark(self, beginning: bytes) -> None:
        if beginning.startswith(_UTF8_MARK):
            self._text.read(len(_UTF8_MARK))


def _refuse_other_kinds(beginning: bytes) -> None:
    if beginning.startswith(_WIDE_MARKS) or b"\x00" in beginning:
        raise UnreadableFile("is not UTF-8 but UTF-16 or binary; save it as UTF-8 text")
    for mark, reason in _OTHER_KINDS:
        if beginning.startswith(mark):
            raise UnreadableFile(reason)


def _damaged() -> UnreadableFile:
    return UnreadableFile("is not a whole gzip file: it ends too early, or is damaged")
