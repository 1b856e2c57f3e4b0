"""What identity is given: the caches of callers that a change of a key makes void."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakSet


class CallerCache(Protocol):
    """What remembers callers in this process and can be made to forget them."""

    def forget(self, key: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class CallerCaches:
    """The caches of the applications that run on one database in this process."""

    _caches: WeakSet[CallerCache] = field(default_factory=WeakSet)

    def add(self, cache: CallerCache) -> None:
        """Have `cache` forget at every commit of a change made here, without waiting for the notice to come round."""
        self._caches.add(cache)

    def forget(self) -> None:
        """Make every cache look callers up again."""
        for cache in list(self._caches):
            cache.forget()


@dataclass(frozen=True, slots=True)
class IdentityPorts:
    """See `farthing.wiring`."""

    caller_caches: CallerCaches
