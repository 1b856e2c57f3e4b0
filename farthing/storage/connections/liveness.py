"""Whether a server is there, and whether an idle connection was cut.

The latter is asked of the socket and not of the server. A server that ends a connection sends a last message and
closes: something can be read where nothing should come. To look costs a system call of a microsecond, where asking the
server costs a round trip for every request.
"""

from __future__ import annotations

import select
import time
from typing import Any

import psycopg
import structlog
from psycopg import pq

log = structlog.get_logger(__name__)

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


ACCEPTING_SECONDS = 30
"""How long a start waits for a server that accepts nobody yet; one that recovers from a crash may take that long."""
_ASK_AGAIN_SECONDS = 0.2


def wait_until_accepting(url: str) -> None:
    """Wait for the server at `url` if it is there and turns everybody away: it starts, ends, or recovers from a crash.

    Returns at once where nobody listens, which is a mistake more often than a moment, and after `ACCEPTING_SECONDS`;
    whoever connects then learns the reason. libpq asks without a password, and whatever language the server speaks.
    """
    address = f"postgresql://{url.partition('://')[2]}".encode()
    if pq.PGconn.ping(address) != pq.Ping.REJECT:
        return
    log.warning("database.not_accepting_yet", action=f"waiting for up to {ACCEPTING_SECONDS} seconds")
    deadline = time.monotonic() + ACCEPTING_SECONDS
    while pq.PGconn.ping(address) != pq.Ping.OK and time.monotonic() < deadline:
        time.sleep(_ASK_AGAIN_SECONDS)
