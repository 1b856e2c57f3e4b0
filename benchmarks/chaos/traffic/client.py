"""A client as real ones are: it repeats what may be repeated, with the same key, until it gets an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_SECONDS = 15
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.6
_STILL_IN_PROGRESS = "version_conflict"


class NoAnswer(Exception):
    """The request may have been carried out or not."""


@dataclass(slots=True)
class Client:
    """Speaks to one deployment with one key. After `give_up_at` (monotonic) nothing is repeated any more."""

    http: httpx.AsyncClient
    give_up_at: float | None = None

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        is_repeatable: bool = True,
        repeats_for_seconds: float | None = None,
        token: str | None = None,
    ) -> httpx.Response:
        """The first answer that is not an error of the service. Raises NoAnswer when there is none to be had."""
        headers = {**({"Idempotency-Key": key} if key else {}), **({"x-api-key": token} if token else {})}
        pause, began = FIRST_PAUSE_SECONDS, time.monotonic()
        while True:
            answer, was_sent = await self._try(method, path, body, headers)
            if answer is not None and not _is_transient(answer):
                return answer
            if was_sent and not is_repeatable:
                raise NoAnswer
            waited = time.monotonic() - began
            if repeats_for_seconds is not None and waited > repeats_for_seconds:
                raise NoAnswer
            if self.give_up_at is not None and time.monotonic() > self.give_up_at:
                raise NoAnswer
            await asyncio.sleep(pause)
            pause = min(pause * 1.6, LONGEST_PAUSE_SECONDS)

    async def _try(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[httpx.Response | None, bool]:
        """One attempt: its answer if one came, and whether the request can have reached the service."""
        try:
            return await self.http.request(method, path, json=body, headers=headers), True
        except httpx.ConnectError:
            return None, False
        except httpx.HTTPError:
            return None, True


def open_http(url: str, key: str) -> httpx.AsyncClient:
    """Connections to one deployment on this machine."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx.AsyncClient(
        base_url=f"{url}/v1", headers={"x-api-key": key}, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False
    )


def _is_transient(answer: httpx.Response) -> bool:
    """Whether the same request may succeed later: errors of the service, and answers that say so."""
    if answer.status_code >= 500 or answer.status_code == 429 or "retry-after" in answer.headers:
        return True
    return answer.status_code == 409 and _code(answer) == _STILL_IN_PROGRESS


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("code", ""))
    except ValueError:
        return ""
