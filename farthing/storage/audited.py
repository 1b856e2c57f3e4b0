"""What a table declares about the activity log: what its rows are called there, and what is kept out of it.

Rule: docs/rules/activity.md#what-is-recorded
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Audited:
    """A table whose every change is an activity. Names are those of attributes."""

    entity_type: str
    named_by: tuple[str, ...] = ("name",)
    """What a person calls a row: the first of these that it has."""
    named_after: tuple[str, ...] = ()
    """Attributes that hold the id of what a row without a name is called after, and whose customer is its own."""
    secret: frozenset[str] = frozenset()
    """That it changed is recorded, never what it was or is."""
    bookkeeping: frozenset[str] = frozenset()
    """What the service notes for itself: a change of nothing else is nobody's change."""
    part_of: tuple[str, ...] = ()
    """Attributes that hold the id of what the row belongs to: where that changes in the same transaction too, its
    activity is the only one."""
    verbs: tuple[tuple[str, str], ...] = ()
    """Words for what happened that are better than `created`, `updated`, `archived` and `deleted`."""
    is_created_by_event: bool = False
    """A new row is no activity before an event tells of it."""
    action_prefix: str = ""
    """The first part of actions, where it is not the entity's type."""

    def action(self, verb: str) -> str:
        """`<entity>.<verb>`, in this table's own words."""
        return f"{self.action_prefix or self.entity_type}.{dict(self.verbs).get(verb, verb)}"

    @property
    def actions(self) -> tuple[str, ...]:
        """Every action that a change of the table can be."""
        return tuple(self.action(verb) for verb in VERBS)


CREATED, UPDATED, ARCHIVED, DELETED = VERBS = ("created", "updated", "archived", "deleted")
