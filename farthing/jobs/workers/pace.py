"""How often a worker does what it does for ever, how long it waits for others, and how it fares."""

from __future__ import annotations

import ctypes
import mmap
import time
from dataclasses import dataclass

STALE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of a worker, in seconds. All workers of a deployment have the same."""

    heartbeat_seconds: float = 5.0
    look_seconds: float = 5.0
    """How often it looks for jobs that others left in hand, for duties that are due and missing, and for its own."""
    stale_seconds: float = STALE_SECONDS
    """How long another may give no sign of life before its jobs are taken from it."""
    orderly_end_seconds: float = 10.0
    """How long jobs in hand may go on when the process is asked to end; then they are cancelled."""
    end_seconds: float = 16.0
    """After this a worker that was asked to end is left behind. It covers the cancelling of jobs, too."""
    stop_seconds: float = 20.0
    """After this the process ends whatever it is doing: a supervisor would soon kill it."""
    first_pause: float = 0.5
    longest_pause: float = 8.0
    """How long it waits before it begins again: the first time, and at most."""


ORDINARY_PACE = Pace()


def pace_for(stale_seconds: float) -> Pace:
    """The pace at which a worker that gives no sign of life for `stale_seconds` is taken for dead."""
    every_seconds = stale_seconds / 6
    return Pace(heartbeat_seconds=every_seconds, look_seconds=every_seconds, stale_seconds=stale_seconds)


class WorkerState(ctypes.Structure):
    """How the worker fares. It works from its first look at the queue until a part of it ends.

    Plain fields, which can lie in memory that several processes share: see `shared_worker_state`.
    """

    works: bool
    down_since: float
    looked_at: float
    """When it last looked at the queue, which it does every few seconds while the database lets it."""
    restarts: int
    _fields_ = (
        ("works", ctypes.c_bool),
        ("down_since", ctypes.c_double),
        ("looked_at", ctypes.c_double),
        ("restarts", ctypes.c_long),
    )

    def __init__(self, down_since: float | None = None) -> None:
        super().__init__(down_since=time.monotonic() if down_since is None else down_since)

    def is_up(self) -> None:
        """It has just looked at the queue."""
        self.works, self.looked_at = True, time.monotonic()

    def is_down(self) -> None:
        """A part of it has ended. One that is begun again, and fails again, is down since the first time."""
        if self.works:
            self.works, self.down_since = False, time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it works, as far as can be seen: one that hangs says nothing."""
        return self.works and time.monotonic() - self.looked_at < STALE_SECONDS

    def down_for(self) -> float:
        """For how many seconds it has not worked; 0 while it works."""
        if self.alive:
            return 0.0
        return time.monotonic() - (self.looked_at if self.works else self.down_since)


def shared_worker_state() -> WorkerState:
    """The state of a worker that processes forked from this one share; the clock of both is the machine's."""
    state = WorkerState.from_buffer(mmap.mmap(-1, ctypes.sizeof(WorkerState)))
    state.down_since = time.monotonic()
    return state
