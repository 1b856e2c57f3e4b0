"""The API that is read: pages of records, with patience for a server that is busy or away for a moment.

Rule: docs/rules/migration.md#reading-the-source
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from decimal import Decimal
from email.utils import parsedate_to_datetime
from itertools import groupby
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from farthing.core.clock import SystemClock
from farthing.core.errors import ValidationFailed
from farthing.migration.source.fields import SourceRecord, tidied

PAGE = 100
MOST_ATTEMPTS = 8
LONGEST_WAIT_SECONDS = 120.0
LARGEST_ANSWER = 64 * 2**20
"""How much of one answer is read, unpacked."""
MOST_RECORDS = 20_000_000
"""How many records one list may have: a source that has always one more is not read for ever."""
_FIRST_WAIT_SECONDS = 0.5
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=20)
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({401, 403})
_ITEMS = ("items", "data", "schedules", "associations")
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


class SourceFailed(ValidationFailed):
    """The source cannot be read; the message says what it answered."""


class NotOffered(Exception):
    """The source has no such endpoint."""


class SourceApi:
    """A client of the API at `url`, with an API key of the environment that is to be copied."""

    def __init__(self, url: str, key: str, environment_id: str | None = None) -> None:
        self.url = versioned_url(url)
        self._headers = {"x-api-key": key, "Accept": "application/json"}
        if environment_id:
            self._headers["X-Environment-ID"] = environment_id
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> SourceApi:
        self._client = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def get(self, path: str, **parameters: str | int) -> Any:
        """The answer to a GET. Raises NotOffered, SourceFailed."""
        return await self._ask("GET", path, parameters=parameters)

    async def search(self, path: str, **body: Any) -> AsyncIterator[list[SourceRecord]]:
        """The pages of a search, oldest record first, those of one moment by id. Raises NotOffered, SourceFailed."""

        async def ask(offset: int) -> Any:
            # by time of creation, which is what every filter sorts by unless it is told otherwise
            return await self._ask("POST", path, body={"order": "asc", **body, "limit": PAGE, "offset": offset})

        async for page in _pages(ask):
            yield oldest_first(page)

    async def list(self, path: str, **parameters: str | int) -> AsyncIterator[list[SourceRecord]]:
        """The pages of a list. Raises NotOffered, SourceFailed."""

        async def ask(offset: int) -> Any:
            return await self.get(path, **{**parameters, "limit": PAGE, "offset": offset})

        async for page in _pages(ask):
            yield page

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a POST that only asks. Raises NotOffered, SourceFailed."""
        return await self._ask("POST", path, body=body)

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str | int] | None = None,
    ) -> Any:
        assert self._client is not None, "the client was entered"
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        wait, problem = _FIRST_WAIT_SECONDS, ""
        for attempt in range(MOST_ATTEMPTS):
            if attempt:
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            try:
                async with self._client.request(
                    method, self.url + path, data=content, params=parameters, headers=headers, allow_redirects=False
                ) as response:
                    if response.status not in _BUSY:
                        return _decoded(method, path, response.status, await _content(method, path, response))
                    problem = f"it answered {response.status}"
                    wait = _asked_wait(response.headers.get("Retry-After")) or wait
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
        raise SourceFailed.of("url", f"{method} {path} failed {MOST_ATTEMPTS} times: {problem}")


async def _pages(ask: Callable[[int], Awaitable[Any]]) -> AsyncIterator[list[SourceRecord]]:
    """Pages until there are no more. What the source says of how many there are is believed only when it is more."""
    offset, before = 0, None
    while True:
        records, total = _page(await ask(offset))
        if not all(isinstance(record, dict) for record in records):
            raise SourceFailed.of("url", "answered a list of something else than records; is this the API's address?")
        if offset > MOST_RECORDS:
            raise SourceFailed.of("url", f"answered more than {MOST_RECORDS} records, and says that there are more")
        if not records or records[0] == before:  # the endpoint knows no offset
            return
        yield records
        before = records[0]
        offset += len(records)
        if len(records) < PAGE and offset >= total:
            return


def oldest_first(page: list[SourceRecord]) -> list[SourceRecord]:
    """A page with those of one moment by their ids, which grow with time; a source may show these newest first."""
    moments = groupby(page, lambda record: str(record.get("created_at")))
    return [record for _, equal in moments for record in sorted(equal, key=lambda record: str(record.get("id")))]


def versioned_url(url: str) -> str:
    """The address of version 1 of an API, with or without that in `url`. Raises ValidationFailed."""
    refused = ValidationFailed.of("url", "must be an http or https address such as https://api.example.com/v1")
    try:
        parsed = URL(url.rstrip("/"))
    except ValueError as error:
        raise refused from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query or parsed.user:
        raise refused
    return str(parsed if parsed.name == "v1" else parsed / "v1")


async def _content(method: str, path: str, response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise SourceFailed.of("url", f"{method} {path} was answered with more than {LARGEST_ANSWER} bytes")
    return bytes(content)


def _decoded(method: str, path: str, status: int, content: bytes) -> Any:
    if status in _REFUSED:
        raise SourceFailed.of("key", f"was refused by the source with status {status}; it must be allowed to read all")
    if 300 <= status < 400:
        # followed, the key would go wherever the source says
        raise SourceFailed.of("url", f"{method} {path} was answered {status}: give the address that it leads to")
    if status in {404, 405, 501}:
        raise NotOffered(f"{method} {path}")
    if status >= 400:
        raise SourceFailed.of("url", f"{method} {path} was answered {status}: {content[:300].decode(errors='replace')}")
    try:
        return tidied(_DECODER.decode(content))
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError) as error:
        raise SourceFailed.of("url", f"{method} {path} was not answered in JSON; is this the API's address?") from error


def _page(answer: Any) -> tuple[list[SourceRecord], int]:
    """The records of an answer, and how many there are in all as far as it says so."""
    if isinstance(answer, list):
        return answer, len(answer)
    if not isinstance(answer, dict):
        return [], 0
    records: list[SourceRecord] = next((answer[name] for name in _ITEMS if isinstance(answer.get(name), list)), [])
    pagination = answer.get("pagination")
    total = pagination.get("total") if isinstance(pagination, dict) else answer.get("total")
    return records, total if isinstance(total, int) else 0


def _asked_wait(header: str | None) -> float | None:
    """How long the source asks to wait, in seconds: it says so in seconds or as a date."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - SystemClock().now()).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
