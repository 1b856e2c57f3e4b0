"""What identity is given: how a link is mailed, and the caches of callers that a change of a key makes void."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from weakref import WeakSet

from sqlalchemy.ext.asyncio import AsyncSession


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
class ResetMail:
    """How a link to set a password is mailed."""

    send: Callable[[AsyncSession, str, str, datetime], Awaitable[None]]
    """Given a transaction, the address, the link and when it ends: have it sent once the transaction commits."""


@dataclass(frozen=True, slots=True)
class IdentityPorts:
    """See `farthing.wiring`."""

    caller_caches: CallerCaches
    reset_mail: ResetMail | None
    """None in a deployment without mail, whose pages say who can make a link."""
