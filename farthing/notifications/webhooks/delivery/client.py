"""The HTTP client of webhooks: one POST, to an address that was checked, within a time limit, without redirects."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from farthing.notifications.webhooks.delivery.addresses import AddressRefused, refusal_of

TOTAL_SECONDS = 15.0
CONNECT_SECONDS = 5.0
BODY_SECONDS = 2.0
"""How long the body of an answer is read; the status has decided before."""
LONGEST_BODY = 8 * 1024
RESOLVER_THREADS = 64
"""How many names may be looked up at once: one that hangs must not keep the others waiting."""
RESOLVED_SECONDS = 10
USER_AGENT = "Farthing-Webhooks/1"
_GONE = 410

SocketFactory = Callable[[tuple[Any, ...]], socket.socket]


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What came of one POST. Without an answer `status_code` is None and `error` says why."""

    status_code: int | None
    error: str | None
    response_body: str | None
    duration_ms: int

    @property
    def is_delivered(self) -> bool:
        """Whether the endpoint took the message."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint asked for nothing more, ever."""
        return self.status_code == _GONE


class ThreadResolver(AbstractResolver):
    """The system's resolver, on threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="webhook names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)

        infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=address[0] if not (kind is socket.AF_INET6 and address[3]) else f"{address[0]}%{address[3]}",
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class WebhookClient:
    """Posts to endpoints over pooled connections. Made, used and closed in one event loop."""

    def __init__(
        self, *, allow_private: bool, total_seconds: float = TOTAL_SECONDS, connect_seconds: float = CONNECT_SECONDS
    ) -> None:
        self.allow_private = allow_private
        self._total_seconds = total_seconds
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None
        self._resolver: ThreadResolver | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()
        self._session = self._resolver = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AttemptOutcome:
        """Post `body` once. Whatever happens is an outcome and no exception."""
        began = time.monotonic()
        status: int | None = None
        error, text = None, None
        try:
            async with (
                asyncio.timeout(self._total_seconds),
                self._opened().post(
                    URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                status = response.status
                text = await _beginning(response)
        except aiohttp.ServerTimeoutError:
            # it is a TimeoutError too, but the time that was waited for is another one
            error = f"no connection within {self._connect_seconds:g} seconds"
        except TimeoutError:
            error = None if status is not None else f"no answer within {self._total_seconds:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = None if status is not None else failure_in_words(failure)
        if status is not None and not 200 <= status < 300:
            error = f"the endpoint answered {status}"
        return AttemptOutcome(status, error, text, int((time.monotonic() - began) * 1000))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = ThreadResolver()
            self._session = aiohttp.ClientSession(
                connector=checked_connector(self._resolver, allow_private=self.allow_private),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=self._connect_seconds, sock_connect=self._connect_seconds
                ),
                headers={"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"},
            )
        return self._session


def checked_connector(resolver: AbstractResolver, *, allow_private: bool) -> aiohttp.TCPConnector:
    """Connections to addresses that are allowed, whatever name leads there; else making one raises AddressRefused."""
    return aiohttp.TCPConnector(
        limit=0,  # how many run at once is decided by whoever asks for them
        resolver=resolver,
        ttl_dns_cache=RESOLVED_SECONDS,
        socket_factory=checked_sockets(allow_private=allow_private),
    )


def checked_sockets(*, allow_private: bool) -> SocketFactory:
    """Sockets for addresses that are allowed: the one place that every connection passes, also to a host that is an
    address itself, which no resolver is asked for.
    """

    def checked_socket(info: tuple[Any, ...]) -> socket.socket:
        """A socket for the address that the connection is about to be made to. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        reason = refusal_of(ip_address(address[0].partition("%")[0]), allow_private=allow_private)
        if reason is not None:
            raise AddressRefused(reason)
        return socket.socket(family, kind, protocol)

    return checked_socket


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """As much of an answer's body as is kept. What comes after it is not read, and its connection is closed."""
    collected = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while len(collected) < LONGEST_BODY and (chunk := await response.content.read(LONGEST_BODY)):
                collected += chunk
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        response.close()
    if not response.content.at_eof():
        response.close()
    return collected[:LONGEST_BODY].decode(errors="replace").replace("\0", "")


def failure_in_words(failure: Exception) -> str:
    """Why there was no answer, in words that hold nothing internal."""
    cause = getattr(failure, "os_error", failure)
    if isinstance(cause, AddressRefused):
        return f"not sent: the host {cause}"
    if isinstance(failure, aiohttp.ClientConnectorDNSError):
        return "the name of the host cannot be resolved"
    if isinstance(failure, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return "the TLS connection failed: is the certificate valid for this host?"
    if isinstance(failure, aiohttp.ClientConnectorError):
        return "no connection could be made"
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    if isinstance(failure, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)):
        return "the answer is not valid HTTP"
    if isinstance(failure, (aiohttp.InvalidURL, ValueError)):
        return "the URL or a header cannot be sent"
    return "the connection failed"
