"""Fetching the file of an import by HTTP, from where files may be fetched: see the addresses of webhooks.

Rule: docs/rules/imports-and-exports.md#fetching
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from yarl import URL

from farthing.notifications.webhooks.delivery.addresses import url_problem
from farthing.notifications.webhooks.delivery.client import ThreadResolver, checked_connector, failure_in_words
from farthing.transfer.imports.rows import UnreadableFile

TOTAL_SECONDS = 1800
CONNECT_SECONDS = 10
IDLE_SECONDS = 60
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
            http.get(URL(url, encoded=True), allow_redirects=False) as response,
        ):
            _require_success(response)
            async for content in response.content.iter_chunked(_READ_AT_ONCE):
                yield content
    except TimeoutError as error:
        raise UnreadableFile("cannot be fetched: the server did not answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = failure_in_words(error).removeprefix("not sent: ")
        raise UnreadableFile(f"cannot be fetched: {reason}") from error
    finally:
        await resolver.close()


def _require_success(response: aiohttp.ClientResponse) -> None:
    if 300 <= response.status < 400:
        raise UnreadableFile("cannot be fetched: the server redirects elsewhere, and redirects are not followed")
    if response.status != 200:
        raise UnreadableFile(f"cannot be fetched: the server answered {response.status}")
