"""Whose turn it is at a pool of connections: each tenant has a share, and waits in a queue of its own.

Without it one tenant that waits for a lock, or sends more than the database can do, would hold every connection. Slots
stand in front of the pool, fewer than it has connections: a request that holds one may open a second connection, and
what has no tenant yet (verifying a key) still finds one.

A third of the connections is a fair share of connections, not of processors: ten requests of one tenant that are worked
on at once are ten turns of the loop and ten backends before each step of another's. So, while several tenants ask, few
requests of each are worked on abreast. Those of a tenant that has had more than its share of the time lately begin one
after the other, and only when no request of a tenant with less is in hand: once they have begun, nobody says whose step
comes next. What takes long for such a tenant gives way in the middle as well: a computation between two slices, a body
of megabytes between two pieces. Whoever gives way for long has no more than its share soon. Alone, a tenant is not held
back.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

from farthing.core.errors import ServiceUnavailable, TooManyRequests

RETRY_AFTER_SECONDS = 2
MOST_WAITING_PER_TENANT = 500
WAIT_SECONDS = 10.0
ABREAST = 3
"""How many requests of a tenant are worked on at once while other tenants ask too."""
ABREAST_SECONDS = 0.25
"""How long a request counts among those: one that takes longer waits, for a lock say, and keeps no processor busy."""
ACTIVE_SECONDS = 1.0
"""How long it is remembered which tenants have asked and how much each has had, and once more as long at most."""
LITTLE_SECONDS = 0.2
"""What a tenant may have had lately without anybody asking whether it was more than its share."""


@dataclass(slots=True)
class _InHand:
    """Requests of a tenant that are not answered yet."""

    count: int
    latest: float
    """When the latest of them came."""


class TenantActivity:
    """Which tenants this process has worked for lately, and for how long for each, in seconds of its requests."""

    __slots__ = ("_before", "_began", "_ended", "_had", "_in_hand")

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._had: dict[str, float] = {}
        self._before: dict[str, float] = {}
        """The same of the span of `ACTIVE_SECONDS` before this one."""
        self._in_hand: dict[str, _InHand] = {}
        self._ended: asyncio.Event | None = None
        """Set when a request of a tenant is answered to whom others may have given way; None while nobody waits."""

    def begin_request(self, tenant_id: str) -> None:
        """A request of this tenant has come; `end_request` is called when it is answered."""
        self.note_request(tenant_id)
        now = time.monotonic()
        in_hand = self._in_hand.get(tenant_id)
        if in_hand is None:
            self._in_hand[tenant_id] = _InHand(1, now)
        else:
            in_hand.count += 1
            in_hand.latest = now

    def end_request(self, tenant_id: str) -> None:
        """A request of this tenant was answered."""
        in_hand = self._in_hand[tenant_id]
        in_hand.count -= 1
        if not in_hand.count:
            del self._in_hand[tenant_id]
        if self._ended is not None and not self.has_more_than_its_share(tenant_id):
            self._ended.set()
            self._ended = None

    def others_are_served(self, tenant_id: str) -> bool:
        """Whether a request of another tenant that has no more than its share has just come and is not answered yet."""
        long_ago = time.monotonic() - ABREAST_SECONDS
        return any(
            in_hand.latest > long_ago and other != tenant_id and not self.has_more_than_its_share(other)
            for other, in_hand in self._in_hand.items()
        )

    async def give_way(self, tenant_id: str) -> None:
        """Return when work of this tenant is to go on: at once, unless it has had more than its share and a request of
        a tenant with less is in hand.
        """
        while self.has_more_than_its_share(tenant_id) and self.others_are_served(tenant_id):
            if self._ended is None:
                self._ended = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(ABREAST_SECONDS):
                    await self._ended.wait()

    def note_request(self, tenant_id: str) -> None:
        """A request of this tenant has come."""
        self._begin_span()
        self._had.setdefault(tenant_id, 0.0)

    def note_work(self, tenant_id: str, seconds: float) -> None:
        """A request of this tenant was worked on for so long."""
        self._begin_span()
        self._had[tenant_id] = self._had.get(tenant_id, 0.0) + seconds

    def is_of_several(self) -> bool:
        """Whether more than one tenant has asked lately."""
        self._begin_span()
        had, before = self._had, self._before
        return len(had) > 1 or len(before) > 1 or (bool(had and before) and had.keys() != before.keys())

    def has_more_than_its_share(self, tenant_id: str) -> bool:
        """Whether a tenant has had more lately than those who ask have had on average, and more than a little."""
        had, before = self._had, self._before
        own = had.get(tenant_id, 0.0) + before.get(tenant_id, 0.0)
        if own <= LITTLE_SECONDS:
            return False
        return own * len(had.keys() | before.keys()) > sum(had.values()) + sum(before.values())

    def _begin_span(self) -> None:
        now = time.monotonic()
        if now - self._began >= ACTIVE_SECONDS:
            self._before = self._had if now - self._began < 2 * ACTIVE_SECONDS else {}
            self._had, self._began = {}, now


class Admission:
    """Whether the request at hand holds a slot already; what it opens besides needs no second one."""

    __slots__ = ("tenant_id",)

    def __init__(self) -> None:
        self.tenant_id: str | None = None


OF_REQUEST: ContextVar[Admission | None] = ContextVar("admission", default=None)
"""Set at the edge, for every request."""


class Shares:
    """At most `slots` at once, at most `per_tenant` of them one tenant's; free ones go to the tenants in turn.

    With an `activity`, few of each tenant begin at a time while several tenants are active (`ABREAST`), and of those
    that have had more than their share one, when no other is served.
    """

    def __init__(
        self,
        slots: int,
        per_tenant: int,
        *,
        most_waiting: int = MOST_WAITING_PER_TENANT,
        wait_seconds: float = WAIT_SECONDS,
        crowd: str = "Too many requests of this tenant are waiting",
        refusal: str = "Other requests of this tenant hold all database connections it may use; please try again",
        activity: TenantActivity | None = None,
    ) -> None:
        self.slots = max(1, slots)
        self.per_tenant = max(1, min(per_tenant, self.slots))
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._crowd = crowd
        self._refusal = refusal
        self._activity = activity
        self._held: dict[str, list[float]] = {}
        """When each slot of a tenant was taken, the latest last."""
        self._total = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._looking: asyncio.TimerHandle | None = None

    async def acquire(self, tenant_id: str) -> None:
        """Take a slot, waiting for it in the tenant's queue.

        Raises TooManyRequests when that is full, ServiceUnavailable when no slot came in time.
        """
        if tenant_id not in self._queues and self._is_free_for(tenant_id):
            self._take(tenant_id)
            return
        queue = self._queues.setdefault(tenant_id, deque())
        if len(queue) >= self._most_waiting:
            raise TooManyRequests(self._crowd, RETRY_AFTER_SECONDS)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._look_later()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            self._leave(tenant_id, turn)
            if isinstance(error, TimeoutError):
                raise ServiceUnavailable(self._refusal, retry_after_seconds=RETRY_AFTER_SECONDS) from error
            raise

    def release(self, tenant_id: str) -> None:
        """Give a slot back; whoever is next gets it."""
        self._total -= 1
        held = self._held[tenant_id]
        taken_at = held.pop()  # the one taken last: what is held for long has begun before what ends soon
        if self._activity is not None:
            self._activity.note_work(tenant_id, min(time.monotonic() - taken_at, ABREAST_SECONDS))
        if not held:
            del self._held[tenant_id]
        self.pass_on()

    @asynccontextmanager
    async def held(self, tenant_id: str) -> AsyncIterator[None]:
        """A slot for the length of the block, unless the request at hand holds one."""
        admission = OF_REQUEST.get()
        if admission is not None and admission.tenant_id is not None:
            yield
            return
        await self.acquire(tenant_id)
        try:
            yield
        finally:
            self.release(tenant_id)

    def _is_free_for(self, tenant_id: str) -> bool:
        held = self._held.get(tenant_id, ())
        if self._total >= self.slots or len(held) >= self.per_tenant:
            return False
        if self._activity is None or not self._activity.is_of_several():
            return True
        has_more = self._activity.has_more_than_its_share(tenant_id)
        if has_more and self._activity.others_are_served(tenant_id):
            return False
        abreast = 1 if has_more else ABREAST
        return len(held) < abreast or held[-abreast] <= time.monotonic() - ABREAST_SECONDS

    def _take(self, tenant_id: str) -> None:
        self._total += 1
        self._held.setdefault(tenant_id, []).append(time.monotonic())

    def _look_later(self) -> None:
        """Look again at who waits when time alone may have made a slot free."""
        if self._activity is not None and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(ABREAST_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        while self.pass_on():
            pass
        if self._queues:
            self._look_later()

    def _leave(self, tenant_id: str, turn: asyncio.Future[None]) -> None:
        """Stop waiting; a slot that came at the same moment goes to the next."""
        if turn.done() and not turn.cancelled():
            self.release(tenant_id)
            return
        turn.cancel()
        queue = self._queues.get(tenant_id)
        if queue is not None:
            if turn in queue:
                queue.remove(turn)
            if not queue:
                del self._queues[tenant_id]

    def pass_on(self) -> bool:
        """Give each tenant that waits a slot, if there is one for it; whether any was given.

        Also for who ends what holds no slot and was given way to.
        """
        before = self._total
        for tenant_id in list(self._queues):
            if self._total >= self.slots:
                break
            queue = self._queues[tenant_id]
            while queue and self._is_free_for(tenant_id):
                turn = queue.popleft()
                if turn.done():
                    continue
                self._take(tenant_id)
                turn.set_result(None)
                break
            if queue:
                self._queues.move_to_end(tenant_id)
            else:
                del self._queues[tenant_id]
        return self._total > before
