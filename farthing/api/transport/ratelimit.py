"""Token buckets, in this process: off by default for credentials, always on for signing in."""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from farthing.core.errors import TooManyRequests

_REMEMBERED = 100_000


class Limiter:
    """At most `burst` at once and `per_second` lasting, per key. A rate of 0 never refuses."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate = per_second
        self._burst = max(burst, 1)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one request of `key`. Raises TooManyRequests with the seconds to wait."""
        if self._rate <= 0:
            return
        now = time.monotonic()
        tokens, last = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - last) * self._rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if not allowed:
            raise TooManyRequests("Too many requests", math.ceil((1 - tokens) / self._rate))
