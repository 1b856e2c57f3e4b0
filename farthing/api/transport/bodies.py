"""Reading a request's body: bounded in size, in time and in what all of them together keep in memory.

Whoever sends more than a form is asked who he is before more of it is kept, by the headers alone. A compressed body is
unpacked here, and the same bound holds for what comes out. While a large body comes, a tenant that has had more than
its share gives way to others, also where the body is refused.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farthing.api.body import STREAMED_PATHS
from farthing.core.errors import FarthingError, RequestTimedOut, TooManyRequests, UnsupportedEncoding, ValidationFailed
from farthing.storage.connections.shares import TenantActivity

Headers = Mapping[bytes, bytes]
Identify = Callable[[Headers], Awaitable[str]]
"""The tenant whose credentials the headers carry. Raises Unauthorized."""

EVENTS_PREFIX = "/v1/events"
EVENTS_BODY_BYTES = 32 * 2**20
BODY_BYTES = 4 * 2**20
UNIDENTIFIED_BYTES = 256 * 2**10
"""What is read of a body before its sender is known."""
LARGE_BODY_BYTES = 2**20
"""Of what is larger, each tenant has few read and stored at a time: to read megabytes takes the loop tens of
milliseconds."""
SECONDS_OF_A_BYTE = 2e-9
"""What a byte of a large body takes of the loop to be read, be it kept or dropped."""
STREAMED_BYTES = 2**30 + 2**20
"""A file of a gibibyte, and the form around it."""
DRAINED_BYTES = 64 * 2**20
"""How much of a refused body is read and dropped: a client that is still sending would not read the refusal."""
MOST_KEPT = 256 * 2**20
MOST_KEPT_OF_TENANT = 128 * 2**20
MOST_KEPT_OF_STRANGERS = 16 * 2**20
RETRY_AFTER_SECONDS = 2
STRANGER = ""


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """How long a whole body may take, in seconds."""

    unidentified: float = 15
    identified: float = 60


@dataclass(slots=True)
class Kept:
    """What one request keeps in memory of its body, and on whose account."""

    owner: str = STRANGER
    size: int = 0


@dataclass(slots=True)
class Memory:
    """What all requests of this process keep of their bodies."""

    total: int = 0
    by_owner: dict[str, int] = field(default_factory=dict)

    def keep(self, kept: Kept, size: int) -> None:
        """Put `size` more bytes on the account. Raises TooManyRequests, and keeps nothing, when that is too much."""
        here = self.by_owner.get(kept.owner, 0)
        most = MOST_KEPT_OF_TENANT if kept.owner else MOST_KEPT_OF_STRANGERS
        if here + size > most or self.total + size > MOST_KEPT:
            raise TooManyRequests("Too many large requests at once", RETRY_AFTER_SECONDS)
        self.by_owner[kept.owner] = here + size
        self.total += size
        kept.size += size

    def let_go(self, kept: Kept) -> None:
        """Take all of a request off its account."""
        if kept.size:
            self.total -= kept.size
            left = self.by_owner[kept.owner] - kept.size
            if left:
                self.by_owner[kept.owner] = left
            else:
                del self.by_owner[kept.owner]
            kept.size = 0

    def belongs_to(self, kept: Kept, owner: str) -> None:
        """Move a request to the account of whoever it turned out to be."""
        size = kept.size
        self.let_go(kept)
        kept.owner = owner
        self.keep(kept, size)


class StreamedBody:
    """A body that its handler takes as it comes, because it may be larger than what is kept in memory.

    The handler's guard has admitted the sender before any of it is read. A sender may be slow, but not stop.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]], idle_seconds: float) -> None:
        self._receive = receive
        self._idle_seconds = idle_seconds
        self._size = 0

    async def __call__(self) -> Any:
        """The next message of the client. Raises RequestTimedOut, and ValidationFailed for a body too large."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestTimedOut("The request body took too long to arrive") from error
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > STREAMED_BYTES:
                raise _too_large(STREAMED_BYTES)
        return message


class BodyReader:
    """Reads the bodies of one process."""

    def __init__(self, identify: Identify, times: ReadTimes, activity: TenantActivity | None = None) -> None:
        self._identify = identify
        self._times = times
        self._activity = activity
        self.memory = Memory()

    async def read(self, path: str, headers: Headers, receive: Callable[[], Awaitable[Any]], kept: Kept) -> bytes:
        """The whole body, unpacked. What is kept of it stays on `kept` until that is let go."""
        if not _announces_body(headers):
            return b""  # to ask the server for it would cost more than all else that a read does here
        limit = EVENTS_BODY_BYTES if path.startswith(EVENTS_PREFIX) else BODY_BYTES
        body = _Body(self, headers, limit, kept)
        try:
            async with asyncio.timeout(self._times.unidentified) as deadline:
                body.deadline = deadline
                await body.begin(path)
                await body.receive(receive)
        except TimeoutError as error:
            raise RequestTimedOut("The request body took too long to arrive") from error
        return await body.whole()

    async def identify(self, headers: Headers) -> str:
        return await self._identify(headers)

    async def give_way(self, owner: str, size: int) -> None:
        """Note that `size` bytes of this tenant's have come, and return when more of them are to be read.

        Strangers have a share together, as they have of memory.
        """
        if self._activity is not None:
            self._activity.note_work(owner, size * SECONDS_OF_A_BYTE)
            await self._activity.give_way(owner)

    def streamed(self, method: str, path: str, receive: Callable[[], Awaitable[Any]]) -> StreamedBody | None:
        """The body where it is not read before its handler is called; None elsewhere."""
        if method != "POST" or path.rstrip("/") not in STREAMED_PATHS:
            return None
        return StreamedBody(receive, self._times.identified)

    @property
    def seconds_when_identified(self) -> float:
        return self._times.identified


class _Body:
    """One body while it arrives."""

    def __init__(self, reader: BodyReader, headers: Headers, limit: int, kept: Kept) -> None:
        self._reader = reader
        self._headers = headers
        self._limit = limit
        self._kept = kept
        self._pieces: list[bytes] = []
        self._encoding = b""
        self._refusal: FarthingError | None = None
        self.deadline: asyncio.Timeout | None = None

    async def begin(self, path: str) -> None:
        """What the headers alone decide."""
        declared = self._headers.get(b"content-length", b"0")
        size = int(declared) if declared.isdigit() and len(declared) < 20 else 0
        try:
            self._encoding = _encoding_of(self._headers, path)
            if size > self._limit:
                raise self._too_large()
            if size > UNIDENTIFIED_BYTES or self._encoding:
                await self._identify()
        except FarthingError as error:
            self._refusal = error

    async def receive(self, receive: Callable[[], Awaitable[Any]]) -> None:
        """Read to the end. What is refused is read too, and dropped, so that the client gets to read the answer."""
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":  # the client hung up: what came so far is not what it meant
                raise self._refusal or ValidationFailed("Request body is incomplete")
            piece = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(piece)
            if size > DRAINED_BYTES:
                break
            if self._refusal is None:
                try:
                    await self._keep(piece, size, more=more)
                except FarthingError as error:
                    self._refusal = error
                    self._pieces.clear()
            if not more:
                break
            if size > UNIDENTIFIED_BYTES:
                await self._reader.give_way(self._kept.owner, len(piece))
        if self._refusal is not None:
            raise self._refusal

    async def _keep(self, piece: bytes, size: int, *, more: bool) -> None:
        if size > self._limit:
            raise self._too_large()
        if size > UNIDENTIFIED_BYTES and not self._kept.owner:
            await self._identify()
        if more or self._kept.size or len(piece) > UNIDENTIFIED_BYTES:
            self._reader.memory.keep(self._kept, len(piece))
        self._pieces.append(piece)

    async def whole(self) -> bytes:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if not self._encoding or not body:
            return body
        # beside the loop: the library lets other threads run meanwhile
        unpacked = await asyncio.to_thread(_unpacked, body, self._encoding, self._limit)
        self._reader.memory.keep(self._kept, len(unpacked))
        return unpacked

    async def _identify(self) -> None:
        owner = await self._reader.identify(self._headers)
        self._reader.memory.belongs_to(self._kept, owner)
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._reader.seconds_when_identified)

    def _too_large(self) -> ValidationFailed:
        return _too_large(self._limit)


def _too_large(limit: int) -> ValidationFailed:
    return ValidationFailed("Request body is too large", {"body": f"must be at most {limit} bytes"})


def _announces_body(headers: Headers) -> bool:
    """Whether a request has a body: one of HTTP/1.1 says so by one of these headers (RFC 9112, 6.3)."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


_GZIP, _DEFLATE = b"gzip", b"deflate"


def _encoding_of(headers: Headers, path: str) -> bytes:
    """How the body is compressed; empty when it is not. Raises UnsupportedEncoding. Only where much is sent."""
    given = headers.get(b"content-encoding", b"").strip().lower()
    if given in {b"", b"identity"}:
        return b""
    takes = path.startswith(EVENTS_PREFIX) or path.rstrip("/").endswith("/bulk")
    if given == b"x-gzip":
        given = _GZIP
    if takes and given in {_GZIP, _DEFLATE}:
        return given
    allowed = "gzip, deflate or identity" if takes else "identity here; gzip and deflate on ingest and bulk calls"
    raise UnsupportedEncoding(
        "Unsupported content encoding",
        {"Content-Encoding": f"'{given.decode('latin-1')[:50]}' is not taken; use {allowed}"},
    )


def _unpacked(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body of a compressed stream. Raises ValidationFailed for what is none, or is larger than `limit`."""
    wbits = 16 + zlib.MAX_WBITS if encoding == _GZIP else zlib.MAX_WBITS
    if encoding == _DEFLATE and not _has_zlib_header(body):
        wbits = -zlib.MAX_WBITS  # many clients send the bare stream
    stream = zlib.decompressobj(wbits)
    try:
        unpacked = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValidationFailed.of("body", f"is not {encoding.decode()} data") from error
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not stream.eof:
        raise ValidationFailed.of("body", f"is an incomplete {encoding.decode()} stream")
    if stream.unused_data:
        raise ValidationFailed.of("body", "must be one compressed stream")
    return unpacked


def _has_zlib_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
