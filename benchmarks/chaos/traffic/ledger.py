"""What clients know: which requests were acknowledged, and what each of them asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a request makes."""

    EVENT = "events"
    CUSTOMER = "customers"
    INVOICE = "invoices"
    PAYMENT = "payments"
    SUBSCRIPTION = "subscriptions"
    PLAN_CHANGE = "plan changes"
    CLOCK_MOVE = "clock moves"
    READ = "reads"
    SHARED_RUN = "shared billing runs"


class State(StrEnum):
    """What a client knows of its request."""

    SENT = "sent"
    """No answer came: it may be done or not."""
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(slots=True)
class Entry:
    """One thing that a client asked for. `reference` is unique and travels with the request."""

    kind: Kind
    reference: str
    details: Mapping[str, Any]
    is_repeatable: bool = True
    """Whether the client repeats it: it has a key, or what it makes can exist only once."""
    state: State = State.SENT
    made_id: str = ""
    """The id that the acknowledgement gave."""


@dataclass(slots=True)
class Ledger:
    """All requests of one phase, by kind and reference."""

    entries: dict[Kind, dict[str, Entry]] = field(default_factory=lambda: {kind: {} for kind in Kind})
    reads: int = 0

    def record(self, entry: Entry) -> Entry:
        """Write an entry down before its request is sent."""
        known = self.entries[entry.kind]
        assert entry.reference not in known, entry.reference
        known[entry.reference] = entry
        return entry

    def of(self, kind: Kind, state: State | None = None) -> list[Entry]:
        """Entries of a kind, in the order they were sent."""
        return [entry for entry in self.entries[kind].values() if state is None or entry.state is state]

    def acknowledge(self, entries: Iterable[Entry], made_id: str = "") -> None:
        for entry in entries:
            entry.state, entry.made_id = State.ACKNOWLEDGED, made_id

    def acknowledged(self) -> Counter[Kind]:
        """How many things of each kind were acknowledged."""
        counts = Counter({kind: len(self.of(kind, State.ACKNOWLEDGED)) for kind in Kind})
        counts[Kind.READ] = self.reads
        return counts
