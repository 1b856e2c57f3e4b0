"""One request's unit of work: its caller, its session, and how it ends.

The edge opens it and ends it; a guard says who calls and what for; the session begins when a route first asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar.connection import ASGIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from farthing.core.caller import Caller
from farthing.core.clock import Clock, FixedClock
from farthing.core.errors import ServiceUnavailable
from farthing.core.event_loop.slices import GIVE_WAY
from farthing.core.origin import Actor, ChangeSource, admit, current_origin
from farthing.storage.connections.failures import is_cut
from farthing.storage.connections.hot_reads import Prepared
from farthing.storage.connections.shares import Admission, Shares
from farthing.storage.midway import PROGRESS, RequestProgress
from farthing.storage.postgres import ORIGIN, Database
from farthing.storage.scope import Scope

KEY = "farthing.work"
LONG_READ = "long_read"
"""The option of a route whose answer takes long, such as a report: each tenant has few of them computed at a time."""
OUTCOME_UNKNOWN = (
    "The connection to the database was lost while the change was being stored; whether it was stored is unknown: "
    "look before you send it again"
)
OUTCOME_UNKNOWN_WITH_KEY = (
    "The connection to the database was lost while the change was being stored; "
    "send the request again with the same Idempotency-Key: it is carried out once"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key and what was asked with it."""

    key: str
    fingerprint: str


class UnitOfWork:
    """The transaction of one request. Committed by `finish(True)`, undone by `finish(False)`."""

    def __init__(self, database: Database, request_id: str) -> None:
        self.database = database
        self.request_id = request_id
        self.caller: Caller | None = None
        self.clock: Clock = database.clock
        self.body = b""
        self.claim: Claim | None = None
        """The idempotency key this request holds and must answer for."""
        self.claim_lock: str | None = None
        self.ignored_fields: list[str] = []
        """Paths of fields of the request that its endpoint does not know."""
        self.admission = Admission()
        self.progress: RequestProgress | None = None
        """How far a request with an idempotency key has come; None without a key."""
        self.is_answered_in_parts = False
        """Whether the answer begins to leave before the transaction has ended."""
        self.late_failure: int | None = None
        """The status that a failure would have been answered with, had a first part not left before it with 200."""
        self._read_only = False
        self._is_long = False
        self._turns: list[tuple[Shares, str]] = []
        """What this request waited for its tenant's turn at, besides the connections, and whose turn it was."""
        self._counted: str | None = None
        """The tenant among whose requests this one counts until it is answered."""
        self._session: AsyncSession | None = None
        self._pinned: AsyncConnection | None = None

    def begin(
        self, caller: Caller, *, read_only: bool, source: ChangeSource = ChangeSource.API, is_long: bool = False
    ) -> None:
        """Fix the scope, and who acts. Nothing reaches the database yet. `is_long` is as `LONG_READ` says."""
        self.caller = caller
        self._is_long = is_long
        if self.database.activity is not None:
            self._end_count()
            self.database.activity.begin_request(caller.tenant_id)
            self._counted = caller.tenant_id
            GIVE_WAY.set(partial(self.database.activity.give_way, caller.tenant_id))
        self.act_as(caller.actor, source)
        self._read_only = read_only
        if caller.frozen_time is not None:
            self.clock = FixedClock(caller.frozen_time)

    def act_as(self, actor: Actor, source: ChangeSource) -> None:
        """Say who acts, once that is known better."""
        admit(actor, source)
        if self._session is not None:
            self._session.info[ORIGIN] = current_origin()

    @property
    def read_only(self) -> bool:
        return self._read_only

    def answer_in_parts(self) -> None:
        """Let the first part of the answer leave before the transaction has ended; the next part ends it.

        Only where nothing is changed: a commit that fails could no longer be answered as the failure it is.
        """
        assert self._read_only, "the answer to a change leaves when the change is stored"
        self.is_answered_in_parts = True

    async def admit(self) -> None:
        """Wait for the tenant's turn at the database, once; the request then holds it until it is answered.

        Raises TooManyRequests or ServiceUnavailable. Whoever uses `session` or `pin` calls this before.
        """
        shares = self.database.shares
        if shares is None or self.admission.tenant_id is not None:
            return
        tenant_id = self.scope.tenant_id
        if self._is_long:
            await self.begin_long_read()  # first, so that who waits for it keeps no connection
        await self._take_turn(self.database.abreast, tenant_id)
        await shares.acquire(tenant_id)
        self.admission.tenant_id = tenant_id

    async def begin_long_read(self) -> None:
        """Wait for the tenant's turn to ask what takes long, once; whoever finds that out asks nothing before.

        Raises TooManyRequests or ServiceUnavailable.
        """
        await self._take_turn(self.database.long_reads, self.scope.tenant_id)

    async def begin_large_body(self, tenant_id: str) -> None:
        """Wait for the tenant's turn to have a body of megabytes read and stored, once.

        Raises TooManyRequests or ServiceUnavailable.
        """
        await self._take_turn(self.database.large_bodies, tenant_id)

    async def _take_turn(self, turns: Shares | None, tenant_id: str) -> None:
        if turns is not None and all(turns is not held for held, _ in self._turns):
            await turns.acquire(tenant_id)
            self._turns.append((turns, tenant_id))

    async def admitted_session(self) -> AsyncSession:
        """The request's session, once it is the tenant's turn; as `admit`."""
        await self.admit()
        return self.session

    async def read_once(self, statement: Prepared, *arguments: Any) -> list[tuple[Any, ...]]:
        """Rows of one SELECT in the caller's scope, without a session; as `Database.read_once`.

        Raises TooManyRequests or ServiceUnavailable, as `admit`.
        """
        await self._take_turn(self.database.abreast, self.scope.tenant_id)
        return await self.database.read_once(self.scope, statement, *arguments)

    @property
    def scope(self) -> Scope:
        assert self.caller is not None, "the route has no guard"
        return Scope(self.caller.tenant_id, self.caller.environment_id, self.caller.user_id)

    @property
    def session(self) -> AsyncSession:
        """The request's session; its transaction begins with the first statement."""
        if self._session is None:
            self._session = self.new_session(read_only=self._read_only)
            if self._pinned is not None:
                self._session.bind = self._pinned
                self._session.sync_session.bind = self._pinned.sync_connection
        return self._session

    def new_session(self, *, read_only: bool = False) -> AsyncSession:
        """Another session of the same request, for work that takes several transactions; its opener ends it."""
        session = self.database.session(self.scope, clock=self.clock, read_only=read_only)
        if self.progress is not None:
            session.info[PROGRESS] = self.progress
        return session

    @property
    def holds_something(self) -> bool:
        """Whether there is a transaction to end, or a lock, a connection or a turn to give back."""
        held = (self._session, self._pinned, self.claim_lock, self.admission.tenant_id, self._counted)
        return bool(self._turns) or any(each is not None for each in held)

    @property
    def token(self) -> str | None:
        """A text that a repeat of this request gets too, and no other request; None without an idempotency key."""
        return None if self.progress is None else self.progress.token

    async def pin(self) -> AsyncConnection:
        """One connection for the whole request, however often it commits, for locks that outlive a transaction."""
        if self._pinned is None:
            await self.admit()
            self._pinned = await self.database.connect()
        return self._pinned

    async def finish(self, *, commit: bool) -> None:
        """End the transaction; a commit that fails raises."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            if commit:
                await self._commit(session)
            else:
                await session.rollback()
        finally:
            await session.close()

    async def _commit(self, session: AsyncSession) -> None:
        try:
            await session.commit()
        except SQLAlchemyError as error:
            if not is_cut(error):
                raise
            raise ServiceUnavailable(
                OUTCOME_UNKNOWN if self.claim is None else OUTCOME_UNKNOWN_WITH_KEY,
                {"outcome": "unknown"},
                retry_after_seconds=1,
            ) from error

    async def release(self) -> None:
        """Give back the pinned connection, and all turns."""
        pinned, self._pinned = self._pinned, None
        try:
            if pinned is not None:
                await pinned.close()
        finally:
            tenant_id, self.admission.tenant_id = self.admission.tenant_id, None
            if tenant_id is not None and self.database.shares is not None:
                self.database.shares.release(tenant_id)
            while self._turns:
                turns, owner = self._turns.pop()
                turns.release(owner)
            self._end_count()

    def _end_count(self) -> None:
        if self._counted is not None and self.database.activity is not None:
            self.database.activity.end_request(self._counted)
            self._counted = None
            for turns in (self.database.abreast, self.database.large_bodies):
                if turns is not None:
                    turns.pass_on()


def unit_of_work(connection: ASGIConnection[Any, Any, Any, Any]) -> UnitOfWork:
    """The unit of work of a request."""
    work: UnitOfWork = connection.scope[KEY]  # type: ignore[literal-required]  # put there by the edge
    return work


def takes_long(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether the route that a request met says that its answer takes long."""
    return bool(connection.route_handler.opt.get(LONG_READ))


UNMATCHED = "unmatched"


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the route that a request met: what logs and metrics say instead of its path, which may hold ids
    and tokens and whatever a stranger likes to send.
    """
    return str(scope.get("path_template") or UNMATCHED)


@asynccontextmanager
async def rehearsal(request: ASGIConnection[Any, Any, Any, Any]) -> AsyncIterator[AsyncSession]:
    """A session of the caller's in which everything can be done and nothing stays done."""
    work = unit_of_work(request)
    await work.admit()
    async with work.database.session(work.scope, clock=work.clock) as session:
        try:
            yield session
        finally:
            await session.rollback()
