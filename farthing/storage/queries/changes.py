"""What a transaction changes of the tables that are audited: noted where rows are written, read when it ends.

Every way to write a row passes here: what the unit of work flushes, statements that update or delete by a condition,
and the functions of `bulk` and `rows`. Nobody has to think of it.
Rule: docs/rules/activity.md#what-is-recorded
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import LargeBinary, event, select
from sqlalchemy.engine import Result
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.unitofwork import UOWTransaction

from farthing.core.encoding.wire import as_wire
from farthing.core.enums import Status
from farthing.storage.audited import ARCHIVED, CREATED, DELETED, UPDATED, Audited
from farthing.storage.tables import Base

LARGEST_VALUE = 8 * 1024
"""Bytes of JSON of one value in `changes`; of a larger one it is only said that it changed."""
LARGEST_STATE = 64 * 1024
RECORDED_BY_EVENT = "recorded_by_event"
"""Option of a statement that needs no look at its rows: an event of the same transaction records what it writes."""
_NOTES = "changes.notes"
_UNNOTED = "changes.unnoted"
_MARKS = "changes.marks"
_UNCHANGING = frozenset({"id", "tenant_id", "environment_id", "created_at", "created_by"})
_STAMPS = frozenset({"updated_at", "updated_by"})


_SHOWN_AS = MappingProxyType(
    {"meta": "metadata", "sealed": "secret", "password_hash": "password", "hash": "key", "credentials_key_id": "key_id"}
)
"""What people call an attribute that is called otherwise in the code."""


@dataclass(slots=True)
class RowNote:
    """One write of one row: what it was before, by attribute, and what it became."""

    row: Base
    verb: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class EntityChange:
    """All that a transaction did to one row."""

    row: Base
    audit: Audited
    verb: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def add(self, note: RowNote) -> None:
        if note.verb != UPDATED:
            self.verb = note.verb
        for name, value in note.before.items():
            self.before.setdefault(name, value)
        self.after.update(note.after)

    def settle(self) -> bool:
        """Say what became of the row; False when nothing that anybody changed differs."""
        if self.verb == CREATED:
            return not self.audit.is_created_by_event
        audit = self.audit
        # what a statement wrote behind the unit of work's back is known to the row
        self.after = {name: self.row.__dict__.get(name, value) for name, value in self.after.items()}
        for name in [name for name, value in self.after.items() if self.before[name] == value]:
            del self.before[name], self.after[name]
        if self.verb == UPDATED and self.after.get("status") is Status.ARCHIVED:
            self.verb = ARCHIVED
        elif self.verb == UPDATED and self.after.get("status") is Status.DELETED:
            self.verb = DELETED
        return self.verb == DELETED or any(name not in audit.bookkeeping for name in self.after)

    def listed(self) -> list[dict[str, Any]] | None:
        """`changes` as they travel, in the order of the table's columns; None for a row that was created."""
        if self.verb == CREATED or not self.after:
            return None
        shape, audit = shape_of(type(self.row)), self.audit
        names = sorted((name for name in self.after if name not in audit.bookkeeping), key=shape.places.__getitem__)
        return [
            {"field": shape.wire_names[name]}
            if name in audit.secret or name in shape.binary
            else {
                "field": shape.wire_names[name],
                "before": _bounded(self.before[name]),
                "after": _bounded(self.after[name]),
            }
            for name in names
        ]


@dataclass(frozen=True, slots=True)
class AuditedShape:
    """The attributes of an audited table that people see, and what they are called on the wire."""

    wire_names: Mapping[str, str]
    places: Mapping[str, int]
    """Their order."""
    binary: frozenset[str]
    in_state: tuple[tuple[str, str], ...]


@cache
def shape_of(table: type[Base]) -> AuditedShape:
    """The shape of an audited table."""
    assert table.audit is not None
    columns = {attribute.key: attribute.columns[0] for attribute in table.__mapper__.column_attrs}
    wire_names = {name: _SHOWN_AS.get(name, name) for name in columns}
    binary = frozenset(name for name, column in columns.items() if isinstance(column.type, LargeBinary))
    hidden = binary | table.audit.secret | table.audit.bookkeeping
    in_state = tuple((name, wire) for name, wire in wire_names.items() if name not in hidden)
    changing = {name: wire for name, wire in wire_names.items() if name not in _UNCHANGING | _STAMPS}
    places = {name: place for place, name in enumerate(changing)}
    return AuditedShape(changing, places, binary, in_state)


def state_of(row: Base) -> dict[str, Any]:
    """An entity as it stands, for the activity log: without secrets, and within its bounds."""
    return bounded_state({wire: as_wire(getattr(row, name)) for name, wire in shape_of(type(row)).in_state})


def bounded_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` if it is within its bounds, else without its lists, and at last without anything large."""
    kept = dict(state)
    if len(msgspec.json.encode(kept)) <= LARGEST_STATE:
        return kept
    kept = {name: value for name, value in kept.items() if not isinstance(value, list)}
    if len(msgspec.json.encode(kept)) > LARGEST_STATE:
        kept = {name: value for name, value in kept.items() if len(msgspec.json.encode(value)) <= 1024}
    return {**kept, "truncated": True}


def _bounded(value: Any) -> Any:
    value = as_wire(value)
    kind = type(value)
    may_be_large = kind is dict or kind is list or (kind is str and len(value) > LARGEST_VALUE // 8)
    if may_be_large and len(msgspec.json.encode(value)) > LARGEST_VALUE:
        return {"truncated": True}
    return value


# --- noting -----------------------------------------------------------------------------------------------------------


def notes_of(session: Session) -> list[RowNote]:
    """What was noted in the session's transaction so far."""
    notes: list[RowNote] = session.info.setdefault(_NOTES, [])
    return notes


def leave_unnoted(session: AsyncSession) -> None:
    """Note nothing of what the session changes: it keeps the service's own secrets, and is nobody's change."""
    session.info[_UNNOTED] = True


def _add_notes(session: Session, notes: Iterable[RowNote]) -> None:
    if _UNNOTED not in session.info:
        notes_of(session).extend(notes)


def note_new(session: Session, rows: Iterable[Base]) -> None:
    """Note rows that are being written for the first time."""
    _add_notes(session, (RowNote(row, CREATED) for row in rows if row.audit is not None))


def note_changed(session: Session, rows: Iterable[Base]) -> None:
    """Note what differs of rows that are about to be written again; call it before what they held is forgotten."""
    for row in rows:
        if row.audit is None:
            continue
        held = row.__dict__
        names = shape_of(type(row)).wire_names
        before = {name: value for name, value in instance_state(row).committed_state.items() if name in names}
        # what was never loaded is unknown, and is not said to have been anything
        known = {
            name: value
            for name, value in before.items()
            if name in held and not _is_unknown(value) and not _is_unknown(held[name])
        }
        if known:
            _add_notes(session, [RowNote(row, UPDATED, known, {name: held[name] for name in known})])


def note_stored(session: Session, row: Base, before: Mapping[str, Any] | None) -> None:
    """Note a row that a statement wrote over what it was `before`, or anew if it was nothing."""
    if before is None:
        note_new(session, [row])
        return
    _add_notes(session, [RowNote(row, UPDATED, before, {name: getattr(row, name) for name in before})])


def changed_attributes(row: Base) -> list[str]:
    """What a row holds otherwise than it was read; what it has not held before counts as changed."""
    held = row.__dict__
    before = instance_state(row).committed_state
    return [name for name, value in before.items() if name in held and not _is_same(value, held[name])]


def _is_same(before: object, held: object) -> bool:
    return before is held or bool(before == held)


def _is_unknown(value: Any) -> bool:
    return type(value).__module__.startswith("sqlalchemy")


def changes_of(session: Session) -> dict[str, EntityChange]:
    """What the transaction did to each row of an audited table, by id, in the order of the first write."""
    changed: dict[str, EntityChange] = {}
    for note in notes_of(session):
        row_id = note.row.__dict__.get("id") or note.row.id
        change = changed.get(row_id)
        if change is None:
            assert note.row.audit is not None
            change = changed[row_id] = EntityChange(note.row, note.row.audit, note.verb)
        change.add(note)
    return {row_id: change for row_id, change in changed.items() if change.settle()}


@event.listens_for(Session, "before_flush")
def _note_flush(session: Session, _context: UOWTransaction, _instances: object) -> None:
    note_new(session, session.new)
    note_changed(session, session.dirty)
    gone = [row for row in session.deleted if row.audit is not None]
    _add_notes(session, (RowNote(row, DELETED) for row in gone))


@event.listens_for(Session, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> Result[Any] | None:
    """An UPDATE or DELETE by a condition: its rows are read before and after, unless it only does bookkeeping."""
    if not (state.is_update or state.is_delete) or state.bind_mapper is None:
        return None
    table: type[Base] = state.bind_mapper.class_
    if table.audit is None or RECORDED_BY_EVENT in state.execution_options or _UNNOTED in state.session.info:
        return None
    if state.is_update and _is_bookkeeping(state, table):
        return None
    session = state.session
    session.flush()
    conditions = state.statement._where_criteria  # type: ignore[attr-defined]  # public as `whereclause`, joined by AND
    shape = shape_of(table)
    names = [*shape.wire_names]
    query = select(table).where(*conditions).with_for_update(key_share=True)
    query = query.execution_options(populate_existing=True)
    rows: Sequence[Base] = session.scalars(query, state.parameters).all()
    if state.is_delete:
        notes_of(session).extend(RowNote(row, DELETED) for row in rows)
        return None
    before = {row.id: {name: getattr(row, name) for name in names} for row in rows}
    result = state.invoke_statement()
    if before:
        again = select(table).where(table.id.in_(list(before))).execution_options(populate_existing=True)
        for row in session.scalars(again).all():
            was, now = before[row.id], {name: getattr(row, name) for name in names}
            changed = [name for name in names if was[name] != now[name]]
            notes_of(session).append(
                RowNote(row, UPDATED, {name: was[name] for name in changed}, {name: now[name] for name in changed})
            )
    return result


def _is_bookkeeping(state: ORMExecuteState, table: type[Base]) -> bool:
    assert table.audit is not None
    written = {getattr(column, "key", column) for column in getattr(state.statement, "_values", None) or ()}
    return bool(written) and written <= table.audit.bookkeeping | _STAMPS


def _marks(session: Session) -> dict[SessionTransaction, int]:
    marks: dict[SessionTransaction, int] = session.info.setdefault(_MARKS, {})
    return marks


@event.listens_for(Session, "after_transaction_create")
def _mark(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        _marks(session)[transaction] = len(notes_of(session))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, undone: SessionTransaction) -> None:
    mark = _marks(session).get(undone)
    if mark is not None:
        del notes_of(session)[mark:]


@event.listens_for(Session, "after_transaction_end")
def _end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        notes_of(session).clear()
        _marks(session).clear()
