"""HTTP/1.1 to a server of the tests: the wire is the same, and a request costs a millisecond less than usually.

The suite sends some hundred thousand requests, and the usual transport spends as much on one that is refused as the
server does. It still carries what is sent piece by piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx

_HEAD_END = b"\r\n\r\n"
_WITHOUT_BODY = {204, 304}


class _Connection(asyncio.Protocol):
    """One connection. What comes is kept until it is asked for."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.is_closed = False
        self.is_fresh = True
        """Whether it has answered nothing yet."""
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        self.is_closed = True
        if self.transport is not None:
            self.transport.close()

    async def more(self, timeout: float | None) -> None:
        """Wait for more to come. Raises if nothing does."""
        if self.is_closed:
            raise httpx.RemoteProtocolError("the server closed the connection before its answer was complete")
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._waiting
        except TimeoutError as error:
            raise httpx.ReadTimeout("nothing came in time") from error
        finally:
            self._waiting = None

    async def until(self, end: bytes, timeout: float | None) -> bytes:
        """What comes before `end`, which is taken too."""
        while (at := self.buffer.find(end)) < 0:
            await self.more(timeout)
        found = bytes(self.buffer[:at])
        del self.buffer[: at + len(end)]
        return found

    def take(self, most: int) -> bytes:
        """What is there, up to `most` bytes."""
        found = bytes(self.buffer[:most])
        del self.buffer[:most]
        return found


class _Answer(httpx.AsyncByteStream):
    """The body of an answer as it comes. Read to its end, it leaves the connection to the next request."""

    def __init__(self, connection: _Connection, pool: list[_Connection], timeout: float | None) -> None:
        self._connection, self._pool, self._timeout = connection, pool, timeout
        self.length: int | None = 0
        """Bytes to come; None for chunks."""
        self.stays_open = True
        self._is_complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.length is None:
            while size := int((await self._connection.until(b"\r\n", self._timeout)).partition(b";")[0], 16):
                async for piece in self._exactly(size):
                    yield piece
                await self._connection.until(b"\r\n", self._timeout)
            while await self._connection.until(b"\r\n", self._timeout):
                pass  # trailers
        else:
            async for piece in self._exactly(self.length):
                yield piece
        self._is_complete = True

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self._connection.buffer:
                await self._connection.more(self._timeout)
            piece = self._connection.take(size)
            size -= len(piece)
            if piece:
                yield piece

    async def aclose(self) -> None:
        connection = self._connection
        if self._is_complete and self.stays_open and not connection.is_closed and not connection.buffer:
            self._pool.append(connection)
        else:
            connection.close()


class PlainTransport(httpx.AsyncBaseTransport):
    """Connections of one client to one server, kept between requests."""

    def __init__(self) -> None:
        self._idle: list[_Connection] = []
        self._usual: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "content-length" not in request.headers and "transfer-encoding" in request.headers:
            self._usual = self._usual or httpx.AsyncHTTPTransport()
            return await self._usual.handle_async_request(request)
        timeouts = request.extensions.get("timeout", {})
        head = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
        head += [b"%b: %b" % header for header in request.headers.raw]
        message = b"\r\n".join(head) + _HEAD_END + await request.aread()
        while True:
            connection = await self._connection(request.url, timeouts.get("connect"))
            assert connection.transport is not None
            try:
                connection.transport.write(message)
                status, reason, headers, answer = await self._answer(connection, request.method, timeouts.get("read"))
                break
            except httpx.RemoteProtocolError:
                # as browsers do: the server closed it while nobody asked, and has not seen the request
                if connection.is_fresh or connection.buffer:
                    raise
            except BaseException:
                connection.close()
                raise
        connection.is_fresh = False
        extensions = {"http_version": b"HTTP/1.1", "reason_phrase": reason}
        return httpx.Response(status, headers=headers, stream=answer, extensions=extensions)

    async def _connection(self, url: httpx.URL, timeout: float | None) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
        try:
            async with asyncio.timeout(timeout):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, url.host, url.port or 80)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("nobody answered in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection

    async def _answer(
        self, connection: _Connection, method: str, timeout: float | None
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]], _Answer]:
        status = 100
        while status < 200:
            first, *lines = (await connection.until(_HEAD_END, timeout)).split(b"\r\n")
            _, code, *words = first.split(b" ", 2)
            status = int(code)
        answer = _Answer(connection, self._idle, timeout)
        headers = []
        for line in lines:
            name, _, value = line.partition(b":")
            value = value.strip()
            headers.append((name, value))
            match name.lower():
                case b"content-length":
                    answer.length = int(value)
                case b"transfer-encoding":
                    answer.length = None
                case b"connection":
                    answer.stays_open = value.lower() != b"close"
        if method == "HEAD" or status in _WITHOUT_BODY:
            answer.length = 0
        return status, words[0] if words else b"", headers, answer

    async def aclose(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self._usual is not None:
            await self._usual.aclose()
