"""Requests by the name of their operation, and who makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from tests.account import Account
from tests.api.endpoints import BY_ID


@dataclass(frozen=True)
class Call:
    """One request, by the name of its operation."""

    operation: str
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None

    @property
    def method(self) -> str:
        return BY_ID[self.operation].method

    @property
    def url(self) -> str:
        """The path under /v1. A template with one parameter takes the one value given, whatever its name."""
        endpoint = BY_ID[self.operation]
        if len(self.path) == 1 and len(endpoint.path_parameters) == 1:
            return endpoint.url(next(iter(self.path.values())))
        return endpoint.url(**self.path)


class Traveller(Protocol):
    """Makes a call; raises unless it is a success. Returns the decoded answer."""

    async def __call__(self, call: Call) -> Any: ...


class OverHttp:
    """Calls over plain HTTP, and a record of them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.made: list[tuple[Call, Any]] = []
        self.last: httpx.Response

    async def __call__(self, call: Call) -> Any:
        self.last = answer = await send(self.account.http, call)
        assert answer.is_success, f"{call}: {answer.status_code} {answer.text}"
        decoded = answer.json() if answer.content and "json" in answer.headers["content-type"] else None
        self.made.append((call, decoded))
        return decoded


async def send(http: httpx.AsyncClient, call: Call) -> httpx.Response:
    return await http.request(call.method, call.url, params=call.query or None, json=call.body)


class Recorder:
    """Makes no call, but remembers what would have been asked."""

    def __init__(self) -> None:
        self.asked: list[Call] = []

    async def __call__(self, call: Call) -> Any:
        self.asked.append(call)
        return None


Made = dict[str, str]
"""What was built: a name to its id."""
