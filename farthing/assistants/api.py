"""The API of the Farthing that is asked, with the key of whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from farthing.migration.source.api import versioned_url

_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
# amounts are text on the wire; should there be a number with a fraction, it stays what was sent
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=str)


class ApiRefused(Exception):
    """The API did not do what was asked; the message says why, for a reader who has only it."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class FarthingApi:
    """A client of the API at `url`, which may end in /v1; `key` says with which key each request is made.

    Raises ValidationFailed for what is no address.
    """

    def __init__(self, url: str, key: Callable[[], str]) -> None:
        self.url = versioned_url(url)
        self._key = key
        self._headers = {"Accept": "application/json", "User-Agent": "Farthing-MCP/1"}
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> FarthingApi:
        self._client = aiohttp.ClientSession(
            headers=self._headers, timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def get(self, *segments: str, **parameters: Any) -> Any:
        """What a GET of the path of these segments answers. Raises ApiRefused."""
        given = {name: _parameter(value) for name, value in parameters.items() if value is not None}
        return await self._ask("GET", segments, parameters=given)

    async def post(self, *segments: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> Any:
        """What a POST of `body`, without what is None in it, answers. Raises ApiRefused."""
        given = {name: value for name, value in body.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
        return await self._ask("POST", segments, body=given, headers=headers)

    async def _ask(
        self,
        method: str,
        segments: tuple[str, ...],
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        assert self._client is not None, "the client was entered"
        for segment in segments:
            if segment in {"", ".", ".."}:  # it would lead to another path than the one that is meant
                raise ApiRefused(f"There is nothing with the id '{segment}'", 404)
        path = "/".join(quote(segment, safe="") for segment in segments)
        content = None if body is None else msgspec.json.encode(body)
        sent = {
            "x-api-key": self._key(),
            **(headers or {}),
            **({"Content-Type": "application/json"} if content is not None else {}),
        }
        try:
            # a redirect is not followed: the key would go wherever it leads
            async with self._client.request(
                method, f"{self.url}/{path}", params=parameters, data=content, headers=sent, allow_redirects=False
            ) as response:
                status, answer = response.status, await response.read()
                retry_after = response.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiRefused(f"Farthing at {self.url} cannot be reached: {type(error).__name__}") from error
        if 200 <= status < 300:
            return _decoded(answer, self.url)
        raise ApiRefused(_reason(status, answer, retry_after), status)


def _parameter(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _decoded(answer: bytes, url: str) -> Any:
    try:
        return _DECODER.decode(answer) if answer else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiRefused(f"{url} does not answer in JSON; is it the address of a Farthing?") from error


def _reason(status: int, answer: bytes, retry_after: str | None) -> str:
    """Why, in words: what the API says, which fields are wrong, and what to do where that is known."""
    try:
        body = _DECODER.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    said = body.get("message") if isinstance(body, dict) else None
    details = body.get("details") if isinstance(body, dict) else None
    parts = [str(said or f"Farthing answered with status {status}")]
    if isinstance(details, dict):
        parts += [f"{field}: {reason}" for field, reason in details.items() if f"{field}: {reason}" != said]
    if status == 401:
        parts.append("the API key is not accepted")
    elif status == 403:
        parts.append("the role of the API key does not allow this")
    elif retry_after:
        parts.append(f"try again in {retry_after} seconds")
    return "; ".join(parts)
