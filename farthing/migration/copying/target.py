"""The environment that is filled: which record of the source became which, and what could not be carried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.migration.source.fields import SourceRecord
from farthing.migration.tables import SOURCE_ID_LENGTH, MigratedRecord, RecordOutcome
from farthing.storage.postgres import real_clock_of, scope_of
from farthing.storage.queries.rows import in_array

Body = TypeVar("Body")
LABEL_LENGTH = 255
PROBLEM_LENGTH, MOST_PROBLEMS = 1000, 100
FINAL = (RecordOutcome.CARRIED, RecordOutcome.CARRIED_IN_PART, RecordOutcome.LEFT_OUT)
"""Outcomes that no later run looks at again."""


class LeftOut(Exception):
    """A record is not carried on purpose; the message says why."""


@dataclass(slots=True)
class MigrationTarget:
    """One transaction in the environment that is filled, at `now` of its clock.

    `problems` are those of the record that is being copied. `known` are ids here by kind and id at the source, as far
    as they were asked for.
    """

    session: AsyncSession
    now: datetime
    known: dict[tuple[str, str], str]
    problems: list[str] = field(default_factory=list)
    parts: list[tuple[str, str, str]] = field(default_factory=list)
    """What else was copied with the record: kind, id at the source, id here."""

    async def find(self, kind: str, source_id: str | None) -> str | None:
        """The id here of a record of the source; None if it was not carried."""
        if not source_id:
            return None
        for part_kind, part_source, part_target in self.parts:
            if (part_kind, part_source) == (kind, source_id):
                return part_target
        if (kind, source_id) not in self.known:
            table = MigratedRecord
            query = select(table.target_id).where(table.kind == kind, table.source_id == source_id)
            found = await self.session.scalar(query)
            if found is None:
                return None
            self.known[kind, source_id] = found
        return self.known[kind, source_id]

    async def need(self, kind: str, source_id: str | None, field_name: str) -> str:
        """The same. Raises ValidationFailed if it was not carried."""
        found = await self.find(kind, source_id)
        if found is None:
            raise ValidationFailed.of(field_name, f"names {source_id or 'nothing'} of {kind}, which was not carried")
        return found

    async def find_unless_failed(self, kind: str, source_id: str | None, field_name: str) -> str | None:
        """The id here; None if the source never offered it. Raises ValidationFailed if it could not be carried."""
        found = await self.find(kind, source_id)
        if found is None and source_id:
            table = MigratedRecord
            failed = select(table.outcome).where(
                table.kind == kind, table.source_id == source_id, table.outcome == RecordOutcome.FAILED
            )
            if await self.session.scalar(failed) is not None:
                return await self.need(kind, source_id, field_name)
        return found

    def note_part(self, kind: str, source_id: str | None, target_id: str) -> None:
        """Note what was copied with the record and is named by others."""
        if source_id:
            self.parts.append((kind, source_id, target_id))

    def read(self, body: SourceRecord, kind: type[Body], optional: Collection[str] = ()) -> Body:
        """A record as a request of ours. Of the `optional` fields those that are wrong are left out, and named.

        Raises ValidationFailed for other fields that are wrong.
        """
        asked = dict(body)
        while True:
            try:
                return convert(asked, kind, strict=False)
            except ValidationFailed as error:
                wrong = {field_name.split(".")[0].split("[")[0]: why for field_name, why in error.details.items()}
                dropped = {name: why for name, why in wrong.items() if name in optional and name in asked}
                if not dropped or len(dropped) < len(wrong):
                    raise
                for name, why in dropped.items():
                    self.problems.append(f"{name} {why}; it was left out")
                    del asked[name]


async def finished_ids(session: AsyncSession, kind: str, source_ids: Collection[str]) -> set[str]:
    """Those of these records that no run has to look at again."""
    table = MigratedRecord
    rows = await session.scalars(
        select(table.source_id).where(
            table.kind == kind, in_array(table.source_id, list(source_ids)), table.outcome.in_(FINAL)
        )
    )
    return set(rows)


async def record_outcome(
    session: AsyncSession,
    kind: str,
    source_id: str,
    outcome: RecordOutcome,
    *,
    target_id: str | None = None,
    label: str = "",
    problems: Collection[str] = (),
) -> None:
    """Note what became of a record, in place of what an earlier run noted."""
    values: dict[str, Any] = {
        "target_id": target_id,
        "name": label.replace("\x00", "")[:LABEL_LENGTH],
        "outcome": outcome,
        "problems": [problem.replace("\x00", "")[:PROBLEM_LENGTH] for problem in list(problems)[:MOST_PROBLEMS]],
        "recorded_at": real_clock_of(session).now(),
    }
    statement = insert(MigratedRecord).values(
        environment_id=scope_of(session).environment_id,
        kind=kind,
        source_id=source_id.replace("\x00", "")[:SOURCE_ID_LENGTH],
        **values,
    )
    await session.execute(
        statement.on_conflict_do_update(index_elements=["environment_id", "kind", "source_id"], set_=values)
    )
