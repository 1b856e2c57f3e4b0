"""Calls to marketplaces over HTTP: to addresses that are allowed, within a time limit, without redirects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from farthing.marketplaces.ports import MarketplacePorts
from farthing.marketplaces.reporting.markets.interface import MarketplaceUnavailable

TOTAL_SECONDS = 30.0
CONNECT_SECONDS = 10.0
LONGEST_ANSWER = 1024 * 1024
_HEADERS = {"user-agent": "Farthing-Marketplaces/1", "accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what its body holds; an empty mapping for one that is no JSON object."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MarketplaceHttp:
    """Posts to one marketplace."""

    name: str
    _session: aiohttp.ClientSession
    _describe: Callable[[Exception], str]

    async def post_json(self, url: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """Post JSON once. Raises MarketplaceUnavailable where there is no answer."""
        content = msgspec.json.encode(body)
        return await self._post(url, content, {**headers, "content-type": "application/json"})

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Post a form once. Raises as above."""
        return await self._post(url, aiohttp.FormData(dict(fields)), {})

    async def _post(self, url: str, content: Any, headers: Mapping[str, str]) -> Answer:
        try:
            async with self._session.post(
                URL(url, encoded=True), data=content, headers=headers, allow_redirects=False
            ) as response:
                text = b""
                while len(text) < LONGEST_ANSWER and (more := await response.content.read(LONGEST_ANSWER)):
                    text += more
                return Answer(response.status, _object(text))
        except aiohttp.ClientConnectorError as error:  # before anything was sent
            raise MarketplaceUnavailable(f"{self.name}: {self._describe(error)}", is_unknown=False) from error
        except TimeoutError as error:
            words = f"{self.name}: no answer within {TOTAL_SECONDS:g} seconds"
            raise MarketplaceUnavailable(words, is_unknown=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise MarketplaceUnavailable(f"{self.name}: {self._describe(error)}", is_unknown=True) from error


async def fetch_token(http: MarketplaceHttp, url: str, fields: Mapping[str, str], giver: str) -> str:
    """A token for what stands in a form. Raises MarketplaceUnavailable; whatever became of it, nothing was reported."""
    try:
        answer = await http.post_form(url, fields)
    except MarketplaceUnavailable as error:
        raise MarketplaceUnavailable(str(error), is_unknown=False) from error
    token = answer.body.get("access_token")
    if answer.status != 200 or not isinstance(token, str):
        reason = answer.body.get("error", answer.status)
        raise MarketplaceUnavailable(f"{giver} gives no token: {reason}", is_unknown=False)
    return token


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


@asynccontextmanager
async def opened_http(name: str, ports: MarketplacePorts, *, allow_private: bool) -> AsyncIterator[MarketplaceHttp]:
    """A client that connects to no address where outgoing requests must not go."""
    resolver = ports.make_resolver()
    connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=ports.make_sockets(allow_private))
    timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS)
    try:
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, headers=_HEADERS
        ) as session:
            yield MarketplaceHttp(name, session, ports.describe_failure)
    finally:
        await resolver.close()
