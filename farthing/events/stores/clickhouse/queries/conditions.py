"""Conditions of a statement in ClickHouse, with the values that they name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from farthing.events.stores.clickhouse.moments import first_millisecond_from, milliseconds
from farthing.events.usage.event_store import EventSelection
from farthing.events.usage.ownership import OwnedEvents


class WhereClause:
    """Conditions that all have to be met; that of the environment is always the first."""

    def __init__(self, environment: str) -> None:
        self.texts = ["environment_id = %(environment)s"]
        self.parameters: dict[str, Any] = {"environment": environment}

    def add(self, text: str, **parameters: Any) -> None:
        self.texts.append(text)
        self.parameters |= parameters

    @property
    def text(self) -> str:
        return " AND ".join(self.texts)


def selected(environment: str, selection: EventSelection) -> WhereClause:
    """The conditions of a selection of events."""
    where = WhereClause(environment)
    if selection.start is not None:
        where.add("timestamp >= %(start)s", start=first_millisecond_from(selection.start))
    if selection.end is not None:
        where.add("timestamp < %(end)s", end=first_millisecond_from(selection.end))
    if selection.until is not None:
        where.add("timestamp <= %(until)s", until=milliseconds(selection.until))
    for column, value in (
        ("event_name", selection.event_name),
        ("external_customer_id", selection.external_customer_id),
        ("id", selection.event_id),
        ("source", selection.source),
    ):
        if value:
            where.add(f"{column} = %({column})s", **{column: value})
    property_conditions(where, "texts", selection.properties)
    if selection.beyond is not None:
        moment, event_id = selection.beyond
        sign = ">" if selection.newer else "<"
        # a cursor may lie between two milliseconds
        whole = first_millisecond_from(moment)
        if at_whole(moment):
            where.add(f"(timestamp, id) {sign} (%(cursor)s, %(cursor_id)s)", cursor=whole, cursor_id=event_id)
        else:
            where.add("timestamp >= %(cursor)s" if selection.newer else "timestamp < %(cursor)s", cursor=whole)
    return where


def property_conditions(where: WhereClause, texts: str, conditions: Collection[tuple[str, frozenset[str]]]) -> None:
    """Each property must be one of its values; `texts` is the column of what properties are compared by."""
    for number, (key, values) in enumerate(conditions):
        where.add(
            f"mapContains({texts}, %(property_{number})s) AND {texts}[%(property_{number})s] IN %(values_{number})s",
            **{f"property_{number}": key, f"values_{number}": sorted(values)},
        )


def belongs(where: WhereClause, owned: Collection[OwnedEvents]) -> None:
    """Only what is among these; nothing where there are none."""
    alternatives = []
    for number, part in enumerate(sorted(owned, key=lambda part: (part.external_id, part.since))):
        text = f"external_customer_id = %(owner_{number})s"
        where.parameters[f"owner_{number}"] = part.external_id
        if part.since:
            text += f" AND ifNull(owner_sequence, sequence) >= {part.since:d}"
        if part.until is not None:
            text += f" AND ifNull(owner_sequence, sequence) < {part.until:d}"
        alternatives.append(f"({text})")
    where.add(f"({' OR '.join(alternatives)})" if alternatives else "0")


def at_whole(moment: Any) -> bool:
    """Whether a time is a whole millisecond."""
    return first_millisecond_from(moment) == milliseconds(moment)
