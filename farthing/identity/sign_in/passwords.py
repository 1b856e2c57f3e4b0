"""Passwords: hashed with argon2id away from the event loop, compared in the same time whether or not they match.

A hash takes tens of milliseconds of every core and 64 MiB, and anybody may ask for one from as many addresses as he
has. So there are turns at it: all strangers wait in one queue, which is bounded, and whoever is known in his own.
"""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from farthing.storage.connections.shares import Shares

SHORTEST = 8
LONGEST = 1024  # hashing an endless one would be a gift to whoever wants us busy
FIRST_PASSWORD_CHARACTERS = 16
_ALPHABET = string.ascii_letters + string.digits

AT_ONCE = 2
"""Hashes in one process, of which one is a stranger's, so that who is known never waits for strangers."""
MOST_WAITING = 50
"""As many as have their turn within `WAIT_SECONDS` on a busy machine: more would wait only to be refused."""
WAIT_SECONDS = 10.0
STRANGERS = ""
"""Who asks where nobody knows."""

_hasher = PasswordHasher()
_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
_turns = Shares(
    AT_ONCE,
    1,
    most_waiting=MOST_WAITING,
    wait_seconds=WAIT_SECONDS,
    crowd="Too many passwords are being checked; please try again",
    refusal="Other passwords are being checked; please try again",
)

NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$tOa2+Kgr+/u+dugBN4j6sA$fIi1rQuPeLjeh4/Vz9qyLMEVuMHOC8Cw382GQ6+AU48"
"""A hash with today's parameters of a random text that was not kept; to compare with it costs what a real one does."""


@asynccontextmanager
async def turn(asker: str) -> AsyncIterator[None]:
    """The asker's turn to have hashes worked out, for the length of the block.

    `asker` is an account whose owner has shown that it is his, or `STRANGERS`. Raises TooManyRequests where too many
    wait, ServiceUnavailable where the turn does not come in time; nothing was tried then.
    """
    await _turns.acquire(asker)
    try:
        yield
    finally:
        _turns.release(asker)


async def hashed(password: str) -> str:
    """The argon2id hash to store."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def matches(password: str, hash: str | None) -> bool:
    """Whether `password` has this hash; without one, or with an empty one, False after the same work."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _matches, password, hash)


def _matches(password: str, hash: str | None) -> bool:
    try:
        _hasher.verify(hash or NOBODY, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(hash)  # whoever was invited has none yet, and must not be anybody's who knows another


def draw() -> str:
    """A first password for somebody invited, from the system's secure source."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(FIRST_PASSWORD_CHARACTERS))
