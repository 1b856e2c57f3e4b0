"""Writing the file of an export as its rows come: CSV or Parquet, compressed or not.

Rule: docs/rules/imports-and-exports.md#exported-files
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import msgspec

from farthing.core.clock import instant
from farthing.core.encoding.csv_table import harmless, inert
from farthing.core.encoding.parquet_table import ColumnKind, ParquetWriter
from farthing.core.money import plain
from farthing.transfer.enums import ExportCompression, ExportFormat
from farthing.transfer.exports.selections.selection import Column, Rows

_FAST = 6


class ExportSink:
    """An export's file while it is written; it is whole once the block has ended."""

    def __init__(
        self, path: Path, columns: Sequence[Column], format: ExportFormat, compression: ExportCompression
    ) -> None:
        self.rows = 0
        self._columns = columns
        self._file: IO[bytes] = path.open("wb")
        if compression is ExportCompression.GZIP:
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=_FAST, fileobj=self._file, mtime=0)
            self._target = cast("IO[bytes]", packed)
        else:
            self._target = self._file
        self._parquet: ParquetWriter | None = None
        self._text: io.TextIOWrapper | None = None
        if format is ExportFormat.PARQUET:
            self._parquet = ParquetWriter(self._target, [(column.name, column.kind) for column in columns])
        else:
            self._text = io.TextIOWrapper(self._target, encoding="utf-8", newline="", write_through=False)
            self._csv = csv.writer(self._text, lineterminator="\r\n")
            self._csv.writerow([inert(column.name) for column in columns])  # names of metadata are anybody's

    def __enter__(self) -> ExportSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._parquet is not None:
                self._parquet.close()
            if self._text is not None:
                self._text.flush()
                self._text.detach()
            if self._target is not self._file:
                self._target.close()
        finally:
            self._file.close()

    def write(self, rows: Rows) -> None:
        """Add rows."""
        self.rows += len(rows)
        if self._parquet is not None:
            kinds = [column.kind for column in self._columns]
            self._parquet.write([[_of_kind(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in rows])
        else:
            self._csv.writerows([[as_text(cell) for cell in row] for row in rows])


def as_text(value: Any) -> str:
    """A value as a cell of CSV: text made harmless, decimals plain, times as in RFC 3339, objects as JSON."""
    if isinstance(value, str):
        return harmless(value.value if isinstance(value, Enum) else value)
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, (Mapping, list)):
        # the same to whoever reads JSON, and no end of a cell for a spreadsheet that parts them by semicolons
        return msgspec.json.encode(value).decode().replace(";", "\\u003b")
    return str(value)


def _of_kind(value: Any, kind: ColumnKind) -> Any:
    if kind is not ColumnKind.TEXT or value is None:
        return value
    if isinstance(value, str):
        return value.value if isinstance(value, Enum) else value
    return as_text(value)
