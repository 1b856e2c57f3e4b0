"""Callers that every endpoint admits."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.account import Account


async def credentials(account: Account, http: httpx.AsyncClient | None = None) -> dict[str, str]:
    """The headers of a caller with a full key who is a customer at the portal, too."""
    http = http or account.http
    external_id = uuid.uuid4().hex
    made = await http.post("/customers", json={"external_id": external_id, "name": "Visitor"})
    assert made.status_code == 201, made.text
    session = await http.get(f"/customers/portal/{external_id}")
    assert session.status_code == 200, session.text
    return {"x-api-key": http.headers["x-api-key"], "X-Session-Token": session.json()["token"]}


@pytest.fixture
async def caller(account: Account) -> AsyncIterator[httpx.AsyncClient]:
    """A client that every endpoint admits."""
    async with account.client(headers=await credentials(account)) as http:
        yield http
