"""Token buckets, in memory that processes forked from one share: a key has one limit, whichever of them it reaches.

Off by default for credentials, always on for signing in.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import secrets
import struct
import tempfile
import time
from dataclasses import dataclass

from farthing.core.errors import TooManyRequests

SIGN_IN_PER_MINUTE = 10

_BUCKET = struct.Struct("=Qdd")
"""The key's digest, its tokens, and when they were counted; all zero where nobody has been."""
_BUCKETS_IN_GROUP = 8
_GROUP_BYTES = _BUCKET.size * _BUCKETS_IN_GROUP
_GROUPS = 16_384
"""131,072 keys are remembered, 3 MB; of each group the one that was not heard of for longest makes room."""


class Limiter:
    """At most `burst` at once and `per_second` lasting, per key. A rate of 0 never refuses.

    Processes that are forked after it was made count together: a lock on the few bytes of a key keeps them apart, and
    is the kernel's, so that one which is killed lets go of it.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate = per_second
        self._burst = max(burst, 1)
        if per_second <= 0:
            return
        self._salt = secrets.token_bytes(16)  # who knew it could choose keys that push others out
        self._file = tempfile.TemporaryFile(prefix="farthing-limits-")  # noqa: SIM115 (as long as the limiter)
        self._file.truncate(_GROUPS * _GROUP_BYTES)
        self._buckets = mmap.mmap(self._file.fileno(), _GROUPS * _GROUP_BYTES)

    def take(self, key: str) -> None:
        """Count one request of `key`. Raises TooManyRequests with the seconds to wait."""
        if self._rate <= 0:
            return
        digest = int.from_bytes(hashlib.blake2b(key.encode(), key=self._salt, digest_size=8).digest()) or 1
        group = digest % _GROUPS * _GROUP_BYTES
        fcntl.lockf(self._file, fcntl.LOCK_EX, _GROUP_BYTES, group)
        try:
            tokens = self._count(digest, group)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _GROUP_BYTES, group)
        if tokens < 1:
            raise TooManyRequests("Too many requests", math.ceil((1 - tokens) / self._rate))

    def _count(self, digest: int, group: int) -> float:
        """The tokens that a key of `group` had; one of them is taken if there was one."""
        now = time.monotonic()  # the machine's, and so the same in every process
        held = list(_BUCKET.iter_unpack(self._buckets[group : group + _GROUP_BYTES]))
        place = next((i for i, bucket in enumerate(held) if bucket[0] == digest), None)
        if place is None:
            place, tokens = min(range(_BUCKETS_IN_GROUP), key=lambda i: held[i][2]), float(self._burst)
        else:
            _, left, last = held[place]
            tokens = min(self._burst, left + (now - last) * self._rate)
        _BUCKET.pack_into(
            self._buckets, group + place * _BUCKET.size, digest, tokens - 1 if tokens >= 1 else tokens, now
        )
        return tokens


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How often a credential may ask, and how often an address may try to sign in."""

    requests: Limiter
    sign_in: Limiter

    @classmethod
    def of(cls, per_second: float, burst: int) -> RateLimits:
        """Limits with the given rate and burst of requests, where nobody has asked yet."""
        return cls(Limiter(per_second, burst), Limiter(SIGN_IN_PER_MINUTE / 60, SIGN_IN_PER_MINUTE))
