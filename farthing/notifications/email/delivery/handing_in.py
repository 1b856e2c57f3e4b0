"""What becomes of a message that is handed in at the mail server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Handed(Enum):
    """What became of an attempt."""

    TAKEN = "taken"
    REFUSED = "refused"
    """For good: it makes no sense to try again."""
    DEFERRED = "deferred"
    AWAY = "away"
    """There was no server to talk to, so that others need not be tried now."""


@dataclass(frozen=True, slots=True)
class HandingIn:
    """The outcome of handing a message in; `reason` says why it was not taken."""

    outcome: Handed
    reason: str | None = None
