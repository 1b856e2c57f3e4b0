"""Events from a file, appended as ingest appends them.

An event without an id gets one that follows from the import and its row, so that a chunk may be appended again after
a crash without counting twice.
Rule: docs/rules/imports-and-exports.md#events
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, stable_id
from farthing.events.ingest.arrivals import Arrival, Sender
from farthing.events.ingest.incoming import LARGEST_EVENT_BYTES, AcceptedTimes, IngestEventRequest, arrival_of
from farthing.transfer.imports.files.columns import BadCell, ColumnSet, problems_of
from farthing.transfer.imports.files.rows import SourceRow
from farthing.transfer.tasks.problems import RowProblem

COLUMNS = ColumnSet(
    required=("event_name", "external_customer_id"),
    optional=("event_id", "customer_id", "timestamp", "source"),
    maps=("properties",),
)
_SENDER = Sender(None, corrects_all=True)


class EventRows:
    """Turns the rows of one import into arrivals. Events without a time happen when the import was asked for."""

    def __init__(self, task_id: str, asked_at: Any, times: AcceptedTimes) -> None:
        self._task_id = task_id
        self._asked_at = asked_at
        self._times = times

    def arrivals(self, rows: Sequence[SourceRow]) -> tuple[list[Arrival], list[RowProblem]]:
        """The events of those rows that are right, and what is wrong with the others."""
        arrivals: list[Arrival] = []
        problems: list[RowProblem] = []
        for row in rows:
            if row.problems:
                problems += row.problems
                continue
            try:
                arrivals.append(self._arrival(row))
            except BadCell as error:
                problems.append(row.problem(error.column, error.reason))
            except ValidationFailed as error:
                problems += problems_of(row, error.details, error.message)
        return arrivals, problems

    def _arrival(self, row: SourceRow) -> Arrival:
        fields = COLUMNS.fields_of(row)
        if "event_id" not in fields:
            fields["event_id"] = stable_id(Kind.EVENT, self._task_id, str(row.number))
        if sum([len(value) for value in row.values.values() if type(value) is str]) > LARGEST_EVENT_BYTES:
            raise BadCell("", f"the event is larger than {LARGEST_EVENT_BYTES} bytes")
        request = convert(fields, IngestEventRequest)
        return arrival_of(request, self._asked_at, _SENDER, None, self._times)
