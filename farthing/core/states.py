"""State machines as tables: which status of an entity may follow which, and the one refusal that names both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

from farthing.core.errors import InvalidOperation

Status = TypeVar("Status", bound=StrEnum)


class StateMachine(Generic[Status]):
    """The statuses of one kind of entity, called `noun` in refusals, and the moves between them.

    `moves` maps a status to those that may follow it; a status it leaves out is final.
    """

    def __init__(self, noun: str, moves: Mapping[Status, Iterable[Status]]) -> None:
        self.noun = noun
        self.moves = MappingProxyType({status: tuple(following) for status, following in moves.items()})

    def after(self, status: Status) -> tuple[Status, ...]:
        """The statuses that may follow one, in the order in which the table names them."""
        return self.moves.get(status, ())

    def allows(self, status: Status, to: Status) -> bool:
        """Whether `to` may follow `status`."""
        return to in self.after(status)

    def check(self, status: Status, to: Status, **details: str) -> Status:
        """Return `to`, if it may follow `status`.

        Raises InvalidOperation with both, with what is allowed and with `details`, which name the entity.
        """
        if self.allows(status, to):
            return to
        raise InvalidOperation(
            f"The {self.noun} is {status.value} and cannot become {to.value}",
            {
                **details,
                "current_status": status.value,
                "requested_status": to.value,
                "allowed_statuses": [allowed.value for allowed in self.after(status)],
            },
        )
