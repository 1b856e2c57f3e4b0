"""Fetching the file of an import by HTTP, from where files may be fetched: see the addresses of webhooks.

Rule: docs/rules/imports-and-exports.md#fetching
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
from yarl import URL

from farthing.notifications.webhooks.delivery.addresses import url_problem
from farthing.notifications.webhooks.delivery.client import ThreadResolver, checked_connector, failure_in_words
from farthing.transfer.imports.files.rows import UnreadableFile

TOTAL_SECONDS = 1200
CONNECT_SECONDS = 10
IDLE_SECONDS = 60
"""How long nothing may come, and how long the head of the answer may take."""
SLOWEST_BYTES_PER_SECOND = 16 * 1024
PATIENCE_SECONDS = 60
"""How long a server is waited for, in all, before it must have sent as much as the slowest would."""
_READ_AT_ONCE = 256 * 1024
_HEADERS = {"user-agent": "Farthing-Imports/1", "accept": "*/*", "accept-encoding": "identity"}


async def fetch(url: str, *, allow_private: bool) -> AsyncIterator[bytes]:
    """The content at `url`, as it arrives. Raises UnreadableFile, which says why there is none."""
    problem = url_problem(url, allow_private=allow_private)
    if problem is not None:
        raise UnreadableFile(f"cannot be fetched: the URL {problem}")
    resolver = ThreadResolver()
    timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(
                connector=checked_connector(resolver, allow_private=allow_private),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=timeout,
                headers=_HEADERS,
            ) as http,
            await _answered(http, url) as response,
        ):
            _require_success(response)
            waited, received = 0.0, 0
            while True:
                asked_at = time.monotonic()
                content = await response.content.read(_READ_AT_ONCE)
                waited += time.monotonic() - asked_at  # not what we take ourselves to store it
                if not content:
                    return
                received += len(content)
                if waited > PATIENCE_SECONDS and received < waited * SLOWEST_BYTES_PER_SECOND:
                    raise UnreadableFile("cannot be fetched: the server sends too slowly")
                yield content
    except TimeoutError as error:
        raise UnreadableFile("cannot be fetched: the server did not answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = failure_in_words(error).removeprefix("not sent: ")
        raise UnreadableFile(f"cannot be fetched: {reason}") from error
    finally:
        await resolver.close()


async def _answered(http: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    """The head of the answer, which must be there in time as a whole. Raises TimeoutError."""
    async with asyncio.timeout(CONNECT_SECONDS + IDLE_SECONDS):
        return await http.get(URL(url, encoded=True), allow_redirects=False)


def _require_success(response: aiohttp.ClientResponse) -> None:
    if 300 <= response.status < 400:
        raise UnreadableFile("cannot be fetched: the server redirects elsewhere, and redirects are not followed")
    if response.status != 200:
        raise UnreadableFile(f"cannot be fetched: the server answered {response.status}")
