"""The outermost layer of every HTTP request: its id, its limits, its transaction's end, headers, logs and metrics.

The transaction is ended here, just before the first byte of the answer leaves: a success is on disk before anybody
reads it, and a commit that fails is answered as the failure it is.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog

from farthing.api import idempotency, metrics
from farthing.api.errors import as_domain_error, body_of
from farthing.api.work import KEY, Work
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.storage.postgres import Database

log = structlog.get_logger("farthing.http")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
EVENTS_PREFIX = "/v1/events"
EVENTS_BODY_BYTES = 32 * 2**20
SECRET_PATHS = ("/portal/", "/v1/invoices/documents/", "/v1/test/gateway/")
"""Paths that hold a token; the log shows their template."""
BODY_BYTES = 4 * 2**20
DRAINED_BYTES = 64 * 2**20
"""How much of a body too large is read and dropped: a client that is still sending would not read the refusal."""
ALLOWED_HEADERS = (
    b"*, Authorization, Content-Type, x-api-key, X-Environment-ID, X-Request-ID, X-Session-Token, Idempotency-Key"
)
_SECURITY: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"geolocation=(), microphone=(), camera=()"),
)
_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


Json = dict[str, Any]
"""ASGI's scopes and messages are plain dictionaries; the server makes them, so their shape is known."""
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Edge:
    """Wraps the application. `origins` is the CORS allow-list; `*` allows all."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        database: Database,
        origins: Sequence[str],
        *,
        access_log: bool = True,
    ) -> None:
        self._app = app
        self._database = database
        self._origins = frozenset(origins)
        self._access_log = access_log

    async def __call__(self, scope: Json, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()

    def cors(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """The CORS headers for a request from `origin`."""
        if "*" in self._origins:
            allowed = b"*"
        elif origin is not None and origin.decode("latin-1") in self._origins:
            allowed = origin
        else:
            return []
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", b"86400"),
            (b"access-control-expose-headers", b"X-Request-ID, Retry-After"),
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
        self._sent = False
        self._unread = True
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self._headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else new_ulid()
        self._work = Work(edge._database, self.request_id)

    async def run(self) -> None:
        began = time.perf_counter()
        scope = self._scope
        try:
            if scope["method"] == "OPTIONS":
                await self._reply(200, b"")
                return
            scope[KEY] = self._work  # read by `work_of`
            await self._read_body()
            await self._edge._app(scope, self._replay, self._answer)
        except Exception as error:  # noqa: BLE001 (the one outer boundary)
            await self._fail(error)
        finally:
            # a client that hangs up must not leave a transaction open
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
            raise ValidationFailed("Invalid request format", {"url": "must not contain NUL characters"})
        limit = EVENTS_BODY_BYTES if path.startswith(EVENTS_PREFIX) else BODY_BYTES
        declared = self._headers.get(b"content-length", b"0")
        too_large = ValidationFailed("Request body is too large", {"body": f"must be at most {limit} bytes"})
        refused = declared.isdigit() and int(declared) > limit
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":  # the client hung up: what came so far is not what it meant
                raise ValidationFailed("Request body is incomplete")
            piece = message.get("body", b"")
            size += len(piece)
            refused = refused or size > limit
            if size > DRAINED_BYTES:
                raise too_large
            if not refused:
                pieces.append(piece)
            if not message.get("more_body", False):
                break
        if refused:
            raise too_large
        self._work.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)

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
            await self._end_transaction(start["status"], message.get("body", b""))
            self._status = start["status"]
            self._sent = True
            start["headers"] = [*start["headers"], *self._extra(start["headers"])]
            await self._send(start)
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

    def _extra(self, present: Any) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in present}
        extra = [
            (b"x-request-id", self.request_id.encode()),
            *self._edge.cors(self._headers.get(b"origin")),
            *_SECURITY,
        ]
        if self._work.progress is not None and self._work.progress.point is not None:
            extra.append((b"idempotent-replayed", b"true"))  # it went on where an earlier run was interrupted
        if b"content-security-policy" not in names:
            extra.append(_CSP)
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
        problem: FarthingError = as_domain_error(error)
        if problem.status >= 500:
            problem.details.setdefault("request_id", self.request_id)
            log.error("request.failed", code=problem.code, path=self._scope["path"], exc_info=error)
        if self._sent:
            raise error
        await self._reply(problem.status, msgspec.json.encode(body_of(problem)))

    def _record(self, seconds: float) -> None:
        template = self._scope.get("path_template") or "unmatched"
        metrics.observe(self._scope["method"], str(template), self._status, seconds)
        if self._edge._access_log:
            caller = self._work.caller
            log.info(
                "request",
                request_id=self.request_id,
                method=self._scope["method"],
                path=template if self._scope["path"].startswith(SECRET_PATHS) else self._scope["path"],
                status=self._status,
                ms=round(seconds * 1000, 2),
                tenant_id=caller.tenant_id if caller else None,
            )
