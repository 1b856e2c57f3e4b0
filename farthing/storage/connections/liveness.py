"""Whether an idle connection was cut, asked of the socket and not of the server.

A server that ends a connection sends a last message and closes: something can be read where nothing should come. To
look costs a system call of a microsecond, where asking the server costs a round trip for every request.
"""

from __future__ import annotations

import select
from typing import Any

import psycopg

KEEPALIVES: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""For every connection over a network: a server that vanished is noticed within a quarter of a minute."""


def was_cut(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether an idle connection is closed, or has something to say that nobody asked for."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
