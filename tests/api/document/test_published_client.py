"""The published client takes the whole tour: every operation it shares with us is driven through it once and more."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx
import pytest
from flexprice import Flexprice

from tests.account import Account
from tests.api.endpoints import BY_ID
from tests.api.tour.building import build
from tests.api.tour.calls import Call, OverHttp
from tests.api.tour.changing import change, end
from tests.api.tour.reading import read
from tests.api.untoured import UNTOURED

BEYOND_THE_CLIENT = {"createTask": "the client imports uploads alone, and the tour names an address"}
"""Operations that the tour asks for with fields that the client does not know, and why."""


@cache
def operations() -> dict[str, tuple[str, str]]:
    """Operation to the part of the client and the method that ask for it, from the client's own code."""
    client = Flexprice(server_url="http://nowhere", api_key_auth="none")
    found = {}
    for part in client._sub_sdk_map:
        for name, method in inspect.getmembers(getattr(client, part), inspect.ismethod):
            if name.endswith("_async") and not name.startswith("_"):
                asked = re.search(r'operation_id="([^"]+)"', inspect.getsource(method))
                if asked:
                    found[asked[1]] = (part, name)
    return found


class ByClient(OverHttp):
    """Calls through the published client where it knows them, and over plain HTTP where it does not."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.driven: set[str] = set()
        self._http = httpx.AsyncClient(event_hooks={"response": [self._keep]}, timeout=60)
        self._client = Flexprice(server_url=f"{account.base_url}/v1", api_key_auth=account.key, async_client=self._http)

    async def _keep(self, answer: httpx.Response) -> None:
        self.last = answer

    async def __call__(self, call: Call) -> Any:
        if call.operation not in operations() or call.operation in BEYOND_THE_CLIENT:
            return await super().__call__(call)
        part, name = operations()[call.operation]
        method: Callable[..., Any] = getattr(getattr(self._client, part), name)
        understood = await method(**arguments(method, call))
        self.driven.add(call.operation)
        if self.last.headers.get("content-type", "").startswith("application/pdf"):
            assert (await understood.aread()).startswith(b"%PDF")
            return None
        await self.last.aread()
        assert understood is not None or not self.last.content, call
        return self.last.json() if self.last.content else None


def arguments(method: Callable[..., Any], call: Call) -> dict[str, Any]:
    """A call as the method's own arguments: path, query and the fields of the body, side by side."""
    known = set(inspect.signature(method).parameters)
    if "request" in known and call.body == {}:  # a body without fields of its own
        return {**call.path, **call.query, "request": {}}
    given = {**call.path, **call.query, **(call.body or {})}
    named = {name: value for name, value in given.items() if name in known}
    named |= {f"{name}_": value for name, value in given.items() if f"{name}_" in known}
    # a query may have a parameter of the same name
    named |= {f"{name}_path_parameter": value for name, value in call.path.items() if f"{name}_path_parameter" in known}
    renamed = {name.removesuffix("_path_parameter").removesuffix("_") for name in named}
    lost = {name for name in given if name not in named and name not in renamed}
    assert not lost - {"price_unit_type"}, f"{call.operation} has no {lost}"
    return named


@pytest.mark.slow
async def test_every_operation_of_the_client_is_understood(account: Account) -> None:
    go = ByClient(account)
    made = await build(go)
    for step in (read, change, end):
        await step(go, made)
    shared = operations().keys() & BY_ID.keys()
    assert len(go.driven) > 100
    assert shared - go.driven <= UNTOURED | BEYOND_THE_CLIENT.keys()
