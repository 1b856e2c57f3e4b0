"""Ports for servers that tests start, which nobody else is given meanwhile."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _LAST = 20_000, 32_000
"""Below the ports that the system gives to outgoing connections: one of those could take the port in between."""
_WORKERS = 8


def _ports_of_this_worker() -> itertools.cycle[int]:
    """A part of the range for each worker, begun at a place of the process's own, as other runs may be under way."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    size = (_LAST - _FIRST) // _WORKERS
    first = _FIRST + number * size
    begin = os.getpid() % size
    return itertools.cycle([*range(first + begin, first + size), *range(first, first + begin)])


_candidates = _ports_of_this_worker()


def free_port() -> int:
    """A port on which nothing listens, and which is not given again for some hundreds of others."""
    while True:
        port = next(_candidates)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
