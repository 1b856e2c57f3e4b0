"""Tables of figures as files: CSV for spreadsheets, Parquet for warehouses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from litestar import Response

from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE, csv_bytes
from farthing.core.encoding.parquet_table import PARQUET_MEDIA_TYPE, parquet_bytes


class TableFormat(StrEnum):
    """How a table is written."""

    CSV = "csv"
    PARQUET = "parquet"


OR_PARQUET = {"other_media_type": PARQUET_MEDIA_TYPE}
"""What a route that answers such a file says of itself, for the OpenAPI document."""


def table_file(head: Sequence[str], rows: Iterable[Sequence[str]], name: str, format: TableFormat) -> Response[bytes]:
    """A table as a file, with all its rows. Raises NotImplementedHere where Parquet cannot be written."""
    is_parquet = format is TableFormat.PARQUET
    content = parquet_bytes(head, rows) if is_parquet else csv_bytes(head, rows)
    return Response(
        content,
        media_type=PARQUET_MEDIA_TYPE if is_parquet else CSV_MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}.{format.value}"'},
    )
