"""Reading the file of an import in chunks, beside the event loop, and going on after the rows that are done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from farthing.transfer.enums import FileType
from farthing.transfer.imports.files.columns import ColumnSet
from farthing.transfer.imports.files.content import FileContent
from farthing.transfer.imports.files.csv_rows import CsvRows
from farthing.transfer.imports.files.json_rows import JsonRows
from farthing.transfer.imports.files.rows import MOST_ROWS, RowSource, SourceRow, UnreadableFile


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows, how much of the file is read with them, and why nothing can be read after them, if so."""

    rows: Sequence[SourceRow]
    bytes_done: int
    broken: str | None = None


class ImportFile:
    """An open file whose header is right. Raises UnreadableFile."""

    def __init__(self, path: Path, file_type: FileType, columns: ColumnSet) -> None:
        self._content = FileContent(path)
        try:
            self._source: RowSource = CsvRows(self._content) if file_type is FileType.CSV else JsonRows(self._content)
            if self._source.columns is not None:
                columns.check(self._source.columns)
        except BaseException:
            self._content.close()
            raise

    @property
    def size(self) -> int:
        return self._content.size

    def close(self) -> None:
        """Close the file."""
        self._content.close()

    async def chunks(self, rows_each: int, skipped: int) -> AsyncGenerator[Chunk, None]:
        """The rows after the first `skipped` ones; the next chunk is read while one is worked on."""
        rows = iter(self._source)
        await asyncio.to_thread(_skip, rows, skipped)
        coming = self._coming(rows, rows_each)
        try:
            while True:
                chunk = await coming
                if chunk.rows and not chunk.broken:
                    coming = self._coming(rows, rows_each)
                yield chunk
                if not chunk.rows or chunk.broken:
                    return
        finally:
            # the thread reads from the file that is about to be closed
            await asyncio.wait({coming})

    def _coming(self, rows: Iterator[SourceRow], rows_each: int) -> asyncio.Task[Chunk]:
        return asyncio.create_task(asyncio.to_thread(self._take, rows, rows_each), name="rows of an import")

    def _take(self, rows: Iterator[SourceRow], rows_each: int) -> Chunk:
        taken: list[SourceRow] = []
        broken = None
        try:
            for row in islice(rows, rows_each):
                if row.number > MOST_ROWS:
                    broken = f"has more than {MOST_ROWS} rows"
                    break
                taken.append(row)
        except UnreadableFile as error:
            broken = str(error)
        return Chunk(taken, self._content.bytes_done, broken)


def _skip(rows: Iterator[SourceRow], count: int) -> None:
    next(islice(rows, count, count), None)
