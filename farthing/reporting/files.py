"""Tables of figures as files: CSV for spreadsheets, Parquet for warehouses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from litestar import Response
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE, csv_lines
from farthing.core.encoding.file_names import content_disposition
from farthing.core.encoding.parquet_table import PARQUET_MEDIA_TYPE, parquet_bytes
from farthing.core.event_loop.slices import collect
from farthing.reporting.turns import owner_of_reports


class TableFormat(StrEnum):
    """How a table is written."""

    CSV = "csv"
    PARQUET = "parquet"


OR_PARQUET = {"other_media_type": PARQUET_MEDIA_TYPE}
"""What a route that answers such a file says of itself, for the OpenAPI document."""


async def table_file(
    session: AsyncSession, head: Sequence[str], rows: Iterable[Sequence[str]], name: str, format: TableFormat
) -> Response[bytes]:
    """A table as a file, with all its rows, written in the turns of the tenant's reports. Raises NotImplementedHere
    where Parquet cannot be written."""
    is_parquet, owner = format is TableFormat.PARQUET, owner_of_reports(session)
    if is_parquet:
        content = parquet_bytes(head, await collect(iter(rows), owner))
    else:
        content = "".join(await collect(csv_lines(head, rows), owner)).encode()
    return Response(
        content,
        media_type=PARQUET_MEDIA_TYPE if is_parquet else CSV_MEDIA_TYPE,
        headers={"Content-Disposition": content_disposition("attachment", f"{name}.{format.value}")},
    )
