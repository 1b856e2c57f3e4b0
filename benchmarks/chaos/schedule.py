"""Which fault comes in which round, from the seed alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """How Farthing is deployed while it is broken."""

    EMBEDDED = "embedded"
    """One `farthing serve` with a PostgreSQL of its own."""
    EXTERNAL = "external"
    """A PostgreSQL apart, one `farthing serve` that does not work on jobs, and two `farthing worker`."""
    SMALL_DISK = "small disk"
    """Embedded, on a file system of a few hundred megabytes."""
    SEVERAL_PROCESSES = "several processes"
    """Embedded, one `farthing serve` with two processes that answer and two that work on jobs."""


class Fault(StrEnum):
    """What is broken in one round."""

    KILL_SERVER = "kill -9 of the server"
    KILL_WORKER = "kill -9 of a worker"
    KILL_WORKERS = "kill -9 of all workers"
    KILL_POSTGRES = "kill -9 of PostgreSQL"
    KILL_BACKEND = "kill -9 of a PostgreSQL backend"
    KILL_EVERYTHING = "kill -9 of everything"
    RESTART_POSTGRES = "fast restart of PostgreSQL"
    DROP_CONNECTIONS = "all connections dropped"
    PAUSE_SERVER = "server stopped and continued"
    PAUSE_WORKER = "worker stopped and continued"
    EXHAUST_CONNECTIONS = "connections used up"
    KILL_BEFORE_ANSWERS = "kill -9 before answers are stored"
    KILL_DURING_DUTY = "kill -9 with a duty in hand"
    KILL_DURING_CLOCK_MOVE = "kill -9 while a clock moves"
    FILL_DISK = "disk full"
    KILL_SUPERVISOR = "kill -9 of the supervisor"
    KILL_ONE_SERVER = "kill -9 of one of two servers"
    PAUSE_ONE_SERVER = "one of two servers stopped and continued"
    KILL_LEADER = "kill -9 of who leads a shared run"
    KILL_HELPER = "kill -9 of who takes part in a shared run"
    REPLACE = "replaced one by one (SIGHUP)"
    STOP_IN_ORDER = "stopped in order (SIGTERM) and started"


_EVERYWHERE = {
    Fault.KILL_SERVER: 3,
    Fault.KILL_POSTGRES: 3,
    Fault.KILL_BACKEND: 2,
    Fault.KILL_EVERYTHING: 2,
    Fault.RESTART_POSTGRES: 3,
    Fault.DROP_CONNECTIONS: 1,
    Fault.PAUSE_SERVER: 2,
    Fault.EXHAUST_CONNECTIONS: 2,
    Fault.KILL_BEFORE_ANSWERS: 2,
    Fault.KILL_DURING_DUTY: 1,
    Fault.KILL_DURING_CLOCK_MOVE: 2,
}
WEIGHTS: Mapping[Mode, Mapping[Fault, int]] = {
    Mode.EMBEDDED: _EVERYWHERE,
    Mode.EXTERNAL: {**_EVERYWHERE, Fault.KILL_WORKER: 2, Fault.KILL_WORKERS: 2, Fault.PAUSE_WORKER: 2},
    Mode.SMALL_DISK: {Fault.FILL_DISK: 1},
    Mode.SEVERAL_PROCESSES: {
        Fault.KILL_ONE_SERVER: 3,
        Fault.KILL_SUPERVISOR: 3,
        Fault.KILL_WORKER: 2,
        Fault.KILL_WORKERS: 1,
        Fault.KILL_LEADER: 3,
        Fault.KILL_HELPER: 3,
        Fault.REPLACE: 3,
        Fault.STOP_IN_ORDER: 2,
        Fault.PAUSE_ONE_SERVER: 2,
        Fault.KILL_POSTGRES: 2,
        Fault.KILL_BACKEND: 2,
        Fault.KILL_EVERYTHING: 2,
        Fault.RESTART_POSTGRES: 2,
        Fault.DROP_CONNECTIONS: 1,
        Fault.EXHAUST_CONNECTIONS: 2,
        Fault.KILL_BEFORE_ANSWERS: 1,
        Fault.KILL_DURING_CLOCK_MOVE: 1,
    },
}
SHARES: Mapping[Mode, float] = {
    Mode.EMBEDDED: 0.45,
    Mode.EXTERNAL: 0.45,
    Mode.SMALL_DISK: 0.1,
    Mode.SEVERAL_PROCESSES: 1,
}
BY_DEFAULT = (Mode.EMBEDDED, Mode.EXTERNAL, Mode.SMALL_DISK)
"""The deployments of a run that names none: several processes are asked for, and their figures stand apart."""


@dataclass(frozen=True, slots=True)
class Round:
    """One fault, after `calm_seconds` of undisturbed load; what it takes away is away for `hold_seconds`."""

    number: int
    fault: Fault
    calm_seconds: float
    hold_seconds: float
    seed: int
    """For the choices that are made while the fault is under way, such as which backend is killed."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Rounds on one deployment, which starts empty and is examined at the end."""

    mode: Mode
    rounds: Sequence[Round]


def plan(
    rounds: int, seed: int, longest_phase: int, modes: Iterable[Mode] = BY_DEFAULT, faults: Iterable[Fault] = Fault
) -> list[Phase]:
    """`rounds` rounds in phases of at most `longest_phase`, shared out over the modes; the same for the same seed."""
    chance = random.Random(seed)
    allowed = set(faults)
    weights = {mode: {f: w for f, w in WEIGHTS[mode].items() if f in allowed} for mode in modes}
    shares = _share_out(rounds, [mode for mode in weights if weights[mode]])
    sizes = [(mode, size) for mode, share in shares.items() for size in _split(share, longest_phase)]
    chance.shuffle(sizes)
    rarity = Counter(fault for mode in weights for fault in weights[mode])
    phases, number, seen = [], 0, set[Fault]()
    for mode, size in sizes:
        chosen = []
        unseen = [fault for fault in weights[mode] if fault not in seen]
        unseen.sort(key=lambda fault: (rarity[fault], chance.random()))
        for fault in _draw(weights[mode], unseen, size, chance):
            seen.add(fault)
            number += 1
            calm, hold = chance.uniform(0.3, 1.0), chance.uniform(1.2, 2.0)
            chosen.append(Round(number, fault, calm, hold, chance.getrandbits(32)))
        phases.append(Phase(mode, chosen))
    return phases


def _share_out(rounds: int, modes: Sequence[Mode]) -> dict[Mode, int]:
    """Rounds by mode, in proportion to the shares; remainders go to the first modes."""
    total = sum(SHARES[mode] for mode in modes)
    counts = {mode: int(rounds * SHARES[mode] / total) for mode in modes}
    for index in range(rounds - sum(counts.values())):
        counts[modes[index % len(modes)]] += 1
    return {mode: count for mode, count in counts.items() if count}


def _split(count: int, longest: int) -> list[int]:
    """`count` in as few parts of at most `longest` as possible, about equal."""
    parts = -(-count // longest)
    return [count // parts + (index < count % parts) for index in range(parts)]


def _draw(weights: Mapping[Fault, int], unseen: Sequence[Fault], size: int, chance: random.Random) -> list[Fault]:
    """`size` faults: first those that were in no round yet, then by weight."""
    drawn = list(unseen[:size])
    while len(drawn) < size:
        cards = [fault for fault, weight in weights.items() for _ in range(weight)]
        chance.shuffle(cards)
        drawn += cards[: size - len(drawn)]
    chance.shuffle(drawn)
    return drawn
