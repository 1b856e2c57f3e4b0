"""From what a transaction recorded and changed to the rows of its outbox: one activity for each entity.

Where several events are recorded about one entity, the most telling is the activity and the others are echoes of it.
Rule: docs/rules/activity.md#one-activity-for-each-entity
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy.orm import Session

from farthing.core.clock import Clock
from farthing.core.ids import Kind, new_id
from farthing.core.origin import LONGEST_LABEL, ChangeOrigin
from farthing.storage.audited import Audited
from farthing.storage.postgres import ORIGIN
from farthing.storage.queries.changes import EntityChange, state_of
from farthing.storage.scope import Scope
from farthing.storage.tables import Base, OfTenant

_LEAST_TELLING = (".updated", ".update", ".update.payment", ".communication.triggered")
"""Ends of names that say only that something changed, the least telling first."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event that waits for the end of its transaction; without a payload it is an activity alone."""

    event_name: str
    entity_type: str
    entity_id: str
    payload: Mapping[str, Any] | None
    at: datetime
    label: str | None = None
    customer_id: str | None = None
    is_repeated: bool = False
    """It is told once more; nothing happened."""

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The entity in the payload."""
        return _NOTHING if self.payload is None else entity_in(self.payload)


def entity_in(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entity that a payload is about: the first object in it."""
    return next((value for value in payload.values() if isinstance(value, dict)), _NOTHING)


@cache
def audited_tables() -> Mapping[str, Audited]:
    """What each audited table declares, by entity type."""
    declared = (mapper.class_.audit for mapper in Base.registry.mappers)
    return {audit.entity_type: audit for audit in declared if audit is not None}


class HeldRows:
    """The rows that a session holds, by id; looked through once, and only if anybody asks."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_id: dict[str, Mapping[str, Any]] | None = None

    def find(self, id: Any) -> Mapping[str, Any] | None:
        if not id:
            return None
        if self._by_id is None:
            held = (row.__dict__ for row in self._session.identity_map.values())
            self._by_id = {values["id"]: values for values in held if "id" in values}
        return self._by_id.get(id)


def records(
    session: Session, events: Sequence[RecordedEvent], changes: Mapping[str, EntityChange]
) -> list[dict[str, Any]]:
    """The rows to write, by column: each event, and each change that no event tells of."""
    scope: Scope = session.info["scope"]
    common = _origin_columns(session.info[ORIGIN])
    listed = _most_telling(events)
    touched = {*listed, *changes}
    held = HeldRows(session)
    rows = []
    for recorded in events:
        change, audit = changes.get(recorded.entity_id), audited_tables().get(recorded.entity_type)
        told_by_parent = audit is not None and _belongs_to(audit, recorded.snapshot, change, touched)
        is_echo = told_by_parent or recorded.is_repeated or listed[recorded.entity_id] is not recorded
        rows.append({**_event_columns(scope, recorded, change, held, is_echo=is_echo), **common})
    clock: Clock = session.info["clock"]
    now = clock.now()
    for entity_id, change in changes.items():
        if entity_id not in listed and not _belongs_to(change.audit, _NOTHING, change, touched - {entity_id}):
            rows.append({**_change_columns(scope, entity_id, change, held, now), **common})
    return rows


def _origin_columns(origin: ChangeOrigin) -> dict[str, Any]:
    actor = origin.actor
    return {
        "actor_type": actor.type.value,
        "actor_id": actor.id,
        "actor_label": actor.label,
        "owner_id": actor.owner_id or None,
        "source": origin.source.value,
        "request_id": origin.request_id or None,
        "ip": origin.ip or None,
        "user_agent": origin.user_agent or None,
    }


def _most_telling(events: Iterable[RecordedEvent]) -> dict[str, RecordedEvent]:
    """The event that stands for each entity: the last of the most telling ones."""
    chosen: dict[str, RecordedEvent] = {}
    for recorded in events:
        rival = chosen.get(recorded.entity_id)
        if rival is None or _rank(recorded) >= _rank(rival):
            chosen[recorded.entity_id] = recorded
    return chosen


def _rank(recorded: RecordedEvent) -> int:
    name = recorded.event_name
    return next((rank for rank, end in enumerate(_LEAST_TELLING) if name.endswith(end)), len(_LEAST_TELLING))


def _belongs_to(
    audit: Audited, snapshot: Mapping[str, Any], change: EntityChange | None, touched: Container[Any]
) -> bool:
    """Whether what the entity is a part of has an activity of its own in the transaction."""
    values = _NOTHING if change is None else change.row.__dict__
    return any((values.get(name) or snapshot.get(name)) in touched for name in audit.part_of)


def _event_columns(
    scope: Scope, recorded: RecordedEvent, change: EntityChange | None, held: HeldRows, *, is_echo: bool
) -> dict[str, Any]:
    audit = audited_tables().get(recorded.entity_type)
    values = recorded.snapshot if change is None else {**recorded.snapshot, **change.row.__dict__}
    payload = recorded.payload
    return {
        "id": new_id(Kind.SYSTEM_EVENT),
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "event_name": recorded.event_name,
        "entity_type": recorded.entity_type,
        "entity_id": recorded.entity_id,
        "payload": None if payload is None else {"event_type": recorded.event_name, **payload},
        "created_at": recorded.at,
        "is_echo": is_echo,
        "customer_id": recorded.customer_id
        or _customer_of(recorded.entity_type, recorded.entity_id, audit, values, held),
        "entity_label": recorded.label or _label(audit, values, held, recorded.entity_id),
        "state": None,
        "changes": None if is_echo or change is None else change.listed(),
    }


def _change_columns(scope: Scope, id: str, change: EntityChange, held: HeldRows, now: datetime) -> dict[str, Any]:
    row, audit = change.row, change.audit
    state = state_of(row)
    environment_id = scope.environment_id
    tenant_id = scope.tenant_id
    if isinstance(row, OfTenant) or row.__tablename__ == "tenants":
        # an environment's own rows of such a table, as its keys and settings are, belong to its books
        tenant_id = str(state.get("tenant_id") or id)
        mine = str(state.get("environment_id") or "")
        environment_id = mine if mine and mine == scope.environment_id else tenant_id
    return {
        "id": new_id(Kind.SYSTEM_EVENT),
        "tenant_id": tenant_id,
        "environment_id": environment_id,
        "event_name": audit.action(change.verb),
        "entity_type": audit.entity_type,
        "entity_id": id,
        "payload": None,
        "created_at": now,
        "is_echo": False,
        "customer_id": _customer_of(audit.entity_type, id, audit, row.__dict__, held),
        "entity_label": _label(audit, row.__dict__, held, id),
        "state": state,
        "changes": change.listed(),
    }


def _owned_by(audit: Audited, row: Mapping[str, Any], held: HeldRows) -> Iterator[Mapping[str, Any]]:
    """What the row is a part of, or called after, where the session holds it."""
    for name in (*audit.part_of, *audit.named_after):
        other = held.find(row.get(name))
        if other is not None:
            yield other


def _customer_of(
    entity_type: str, id: str, audit: Audited | None, values: Mapping[str, Any], held: HeldRows
) -> str | None:
    if entity_type == "customer":
        return id
    if values.get("customer_id"):
        return str(values["customer_id"])
    for other in () if audit is None else _owned_by(audit, values, held):
        if other.get("customer_id") or other.get("external_id"):
            return str(other.get("customer_id") or other["id"])
    return None


_NAMES = ("name", "display_name", "invoice_number")


def _label(audit: Audited | None, values: Mapping[str, Any], held: HeldRows, id: str) -> str:
    names = ("name",) if audit is None else audit.named_by
    own = next((str(values[name]) for name in names if values.get(name)), "")
    if not own and audit is not None:
        others = (other.get(name) for other in _owned_by(audit, values, held) for name in _NAMES)
        own = next((str(name) for name in others if name), "")
    return (own or id)[:LONGEST_LABEL]
