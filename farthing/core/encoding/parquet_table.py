"""A table as a Parquet file, written as its rows come. The library for it is large, and loaded when it is used."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import IO, Any

from farthing.core.errors import NotImplementedHere
from farthing.core.money import EXACT

PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
_DIGITS, _DECIMALS = 38, 15
_STEP = Decimal(1).scaleb(-_DECIMALS)


class ColumnKind(StrEnum):
    """What a column of an exported table holds."""

    TEXT = "text"
    DECIMAL = "decimal"
    INTEGER = "integer"
    MOMENT = "moment"


class ParquetWriter:
    """Writes rows to a file, a group of rows at a time. Decimals have 15 digits after the point.

    Raises NotImplementedHere where the library is not installed.
    """

    def __init__(self, target: IO[bytes], columns: Sequence[tuple[str, ColumnKind]]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise NotImplementedHere(
                "Parquet needs the package pyarrow: install farthing[parquet]", {"format": "parquet"}
            ) from error
        self._arrow: Any = pyarrow
        types = {
            ColumnKind.TEXT: pyarrow.string(),
            ColumnKind.DECIMAL: pyarrow.decimal128(_DIGITS, _DECIMALS),
            ColumnKind.INTEGER: pyarrow.int64(),
            ColumnKind.MOMENT: pyarrow.timestamp("us", tz="UTC"),
        }
        self._schema = pyarrow.schema([(name, types[kind]) for name, kind in columns])
        self._kinds = [kind for _, kind in columns]
        self._writer: Any = pyarrow.parquet.ParquetWriter(target, self._schema)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows, whose values are None or of their columns' kinds."""
        if not rows:
            return
        values = [
            [_fitted(cell) for cell in cells] if kind is ColumnKind.DECIMAL else list(cells)
            for kind, cells in zip(self._kinds, zip(*rows, strict=True), strict=True)
        ]
        arrays = [self._arrow.array(cells, type=field.type) for cells, field in zip(values, self._schema, strict=True)]
        self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the end of the file, without which it is none."""
        self._writer.close()


def _fitted(number: Decimal | None) -> Decimal | None:
    return None if number is None else EXACT.quantize(number, _STEP)


def parquet_bytes(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A table of text as a Parquet file. Raises NotImplementedHere where the library is not installed."""
    target = io.BytesIO()
    writer = ParquetWriter(target, [(name, ColumnKind.TEXT) for name in columns])
    writer.write(list(rows))
    writer.close()
    return target.getvalue()
