"""How long one statement may take, wait for a lock, or leave its transaction idle before the database ends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one transaction, in seconds; they are set with its scope and end with it."""

    lock_seconds: float
    statement_seconds: float
    idle_seconds: float

    def in_milliseconds(self) -> tuple[str, str, str]:
        """The three as PostgreSQL's settings are written."""
        return _milliseconds(self.lock_seconds), _milliseconds(self.statement_seconds), _milliseconds(self.idle_seconds)


def _milliseconds(seconds: float) -> str:
    # 0 would mean "never"
    return str(max(1, round(seconds * 1000)))


OF_BACKGROUND_WORK = Timeouts(lock_seconds=60, statement_seconds=3600, idle_seconds=3600)
"""Nobody waits for the answer: billing runs, duties, commands."""
