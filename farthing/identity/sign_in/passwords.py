"""Passwords: hashed with argon2id away from the event loop, compared in the same time whether or not they match."""

from __future__ import annotations

import asyncio
import secrets
import string
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST = 8
LONGEST = 1024  # hashing an endless one would be a gift to whoever wants us busy
FIRST_PASSWORD_CHARACTERS = 16
_ALPHABET = string.ascii_letters + string.digits

_hasher = PasswordHasher()
# a hash takes 64 MiB: few at a time, the rest wait
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="passwords")

NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$tOa2+Kgr+/u+dugBN4j6sA$fIi1rQuPeLjeh4/Vz9qyLMEVuMHOC8Cw382GQ6+AU48"
"""A hash with today's parameters of a random text that was not kept; to compare with it costs what a real one does."""


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
