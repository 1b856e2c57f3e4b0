"""The outermost layer of every HTTP request: its id, its limits, its transaction's end, headers, logs and metrics.

The transaction is ended here, just before the first byte of the answer leaves: a success is on disk before anybody
reads it, and a commit that fails is answered as the failure it is. Of an answer in parts, which changes nothing, it is
ended before the second part leaves.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog

from farthing.api import idempotency, ignored_fields
from farthing.api.errors import as_domain_error, body_of, headers_of, log_failure
from farthing.api.transport import metrics
from farthing.api.transport.bodies import LARGE_BODY_BYTES, BodyReader, Kept
from farthing.api.transport.client_address import ClientAddresses
from farthing.api.work import KEY, UNMATCHED, UnitOfWork, route_of
from farthing.core.errors import FarthingError, RequestTimedOut, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.origin import ChangeSource, begin_request
from farthing.storage.connections.shares import OF_REQUEST
from farthing.storage.postgres import Database

log = structlog.get_logger("farthing.http")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
SECRET_PATHS = (
    "/portal/",
    "/password/",
    "/checkout/",
    "/v1/invoices/documents/",
    "/v1/tasks/files/",
    "/v1/test/gateway/",
)
"""Paths that hold a token; the log shows their template."""
LONGEST_LOGGED_PATH = 200
ALLOWED_HEADERS = (
    b"*, Authorization, Content-Type, x-api-key, X-Environment-ID, X-Request-ID, X-Session-Token, Idempotency-Key, "
    b"Farthing-Strict"
)
_EVERYWHERE: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"geolocation=(), microphone=(), camera=()"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers of every answer that does not say otherwise."""


Json = dict[str, Any]
"""ASGI's scopes and messages are plain dictionaries; the server makes them, so their shape is known."""
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
_FOR_OTHER_ORIGINS = ("/v1/", "/openapi.json")


class Edge:
    """Wraps the application. `origins` is the CORS allow-list; `*` allows all."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        database: Database,
        origins: Sequence[str],
        bodies: BodyReader,
        *,
        addresses: ClientAddresses,
        access_log: bool = True,
    ) -> None:
        self._app = app
        self._database = database
        self._origins = frozenset(origins)
        self.bodies = bodies
        self._access_log = access_log
        self._addresses = addresses

    async def __call__(self, scope: Json, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()

    def cors(self, path: str, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """The CORS headers for a request from `origin`: the API's alone.

        Pages are nobody else's to read, nor are metrics, which a browser within the network can reach for a site
        outside.
        """
        if not path.startswith(_FOR_OTHER_ORIGINS):
            return []
        if "*" in self._origins:
            allowed = b"*"
        elif origin is not None and origin.decode("latin-1") in self._origins:
            allowed = origin
        else:
            return [(b"vary", b"origin")]
        return [
            *([] if allowed == b"*" else [(b"vary", b"origin")]),
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", b"86400"),
            (
                b"access-control-expose-headers",
                b"X-Request-ID, Retry-After, Idempotent-Replayed, Farthing-Ignored-Fields",
            ),
        ]


class _Exchange:
    """One request and its answer."""

    def __init__(self, edge: Edge, scope: Json, receive: Receive, send: Send) -> None:
        self._edge = edge
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status = 500
        self._started: Json | None = None
        self._commit_failure: Exception | None = None
        self._sent = False
        self._unread = True
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self._headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else new_ulid()
        self._work = UnitOfWork(edge._database, self.request_id)
        self._kept = Kept()

    async def run(self) -> None:
        began = time.perf_counter()
        scope = self._scope
        try:
            if scope["method"] == "OPTIONS":
                await self._reply(200, b"")
                return
            scope[KEY] = self._work  # read by `work_of`
            OF_REQUEST.set(self._work.admission)
            begin_request(
                ChangeSource.API if scope["path"].startswith("/v1/") else ChangeSource.DASHBOARD,
                request_id=self.request_id,
                ip=self._edge._addresses.of(scope),
                user_agent=self._headers.get(b"user-agent", b"").decode("latin-1"),
            )
            await self._read_body()
            await self._edge._app(scope, self._replay, self._answer)
        except Exception as error:  # noqa: BLE001 (the one outer boundary)
            await self._fail(error)
        finally:
            # a client that hangs up must not leave a transaction open
            self._edge.bodies.memory.let_go(self._kept)
            if self._work.holds_something:
                await asyncio.shield(self._close())
            self._record(time.perf_counter() - began)

    async def _close(self) -> None:
        try:
            await self._work.finish(commit=False)
            await idempotency.unlock(self._work)
        finally:
            await self._work.release()

    async def _read_body(self) -> None:
        """The whole body, bounded, before anything else happens."""
        path = self._scope["path"]
        if "\x00" in path or b"%00" in self._scope.get("query_string", b""):
            raise ValidationFailed.of("url", "must not contain NUL characters")
        bodies = self._edge.bodies
        streamed = bodies.streamed(self._scope["method"], path, self._receive)
        if streamed is not None:
            self._receive, self._unread = streamed, False
            return
        self._work.body = await bodies.read(path, self._headers, self._receive, self._kept)
        if len(self._work.body) > LARGE_BODY_BYTES:
            # only now: who sends slowly takes no turn from who has sent
            await self._work.begin_large_body(self._kept.owner)

    async def _replay(self) -> Any:
        if self._unread:
            self._unread = False
            return {"type": "http.request", "body": self._work.body, "more_body": False}
        return await self._receive()

    async def _answer(self, message: Json) -> None:
        """Hold back the head of the answer until the transaction has ended."""
        if message["type"] == "http.response.start":
            self._started = message
            return
        if message["type"] == "http.response.body" and self._started is not None:
            start, self._started = self._started, None
            if not self._work.is_answered_in_parts:
                try:
                    await self._end_transaction(start["status"], message.get("body", b""))
                except Exception as error:
                    self._commit_failure = error  # the framework wraps what is raised here
                    raise
            self._status = start["status"]
            self._sent = True
            start["headers"] = [*start["headers"], *self._extra(start["headers"])]
            await self._send(start)
        elif self._work.is_answered_in_parts:
            await self._end_transaction(self._status, b"")
        await self._send(message)

    async def _end_transaction(self, status: int, body: bytes) -> None:
        work = self._work
        keeps = work.claim is not None and status < 500
        if keeps and status < 400:
            await idempotency.store(work.session, work, status, body)
        await work.finish(commit=status < 400)
        if keeps and status >= 400:
            await idempotency.store(work.session, work, status, body)
            await work.finish(commit=True)
        # before the answer leaves: whoever repeats the request on reading it must be given it again
        await idempotency.unlock(work)
        # and the turn at the database is over: a client that reads slowly must not keep it
        await work.release()

    def _extra(self, present: Any) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in present}
        extra = [
            (b"x-request-id", self.request_id.encode()),
            *self._edge.cors(self._scope["path"], self._headers.get(b"origin")),
            *_EVERYWHERE,
        ]
        if self._work.progress is not None and self._work.progress.point is not None:
            extra.append((b"idempotent-replayed", b"true"))  # it went on where an earlier run was interrupted
        if self._work.ignored_fields:
            named = ignored_fields.header_value(self._work.ignored_fields)
            extra.append((ignored_fields.HEADER.lower().encode(), named))
        return [(name, value) for name, value in extra if name not in names]

    async def _reply(self, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._status = status
        self._sent = True
        head: list[tuple[bytes, bytes]] = [(b"content-length", str(len(body)).encode()), *headers]
        if body:
            head.append((b"content-type", b"application/json"))
        await self._send({"type": "http.response.start", "status": status, "headers": [*head, *self._extra(head)]})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _fail(self, error: Exception) -> None:
        """A failure outside the application: the body was refused, or the commit failed."""
        error = self._commit_failure or error
        problem: FarthingError = as_domain_error(error)
        if problem.status >= 500:
            problem.details.setdefault("request_id", self.request_id)
            log_failure(problem, error, route_of(self._scope))
        if self._sent:
            self._work.late_failure = problem.status
            raise error
        headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(problem).items()]
        if isinstance(problem, RequestTimedOut) and self._scope.get("http_version", "1.1") == "1.1":
            headers.append((b"connection", b"close"))  # the rest of the body may still come
        await self._reply(problem.status, msgspec.json.encode(body_of(problem)), headers)

    def _record(self, seconds: float) -> None:
        route = route_of(self._scope)
        method = metrics.known_method(self._scope["method"])
        status = self._work.late_failure or self._status
        metrics.observe(method, route, status, seconds)
        if self._edge._access_log:
            caller = self._work.caller
            path: str = self._scope["path"]
            matched = route != UNMATCHED and not path.startswith(SECRET_PATHS)
            log.info(
                "request",
                request_id=self.request_id,
                method=method,
                path=path[:LONGEST_LOGGED_PATH] if matched else route,
                status=status,
                ms=round(seconds * 1000, 2),
                address=self._edge._addresses.of(self._scope),
                tenant_id=caller.tenant_id if caller else None,
            )
