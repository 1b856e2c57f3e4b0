"""How often a credential may ask, and what one request costs the others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from farthing.api.transport.ratelimit import Limiter
from farthing.core.errors import TooManyRequests
from farthing.storage.postgres import Database
from tests.account import Account
from tests.conftest import running, settings_for


async def test_a_credential_over_its_rate_is_told_when_to_come_back(database: Database, database_url: str) -> None:
    settings = settings_for(database_url, rate_limit_per_second=0.01, rate_limit_burst=3)
    async with running(settings, database) as url, Account(url, settings, database) as account:
        statuses = [(await account.http.get("/users/me")).status_code for _ in range(4)]
        refused = await account.http.get("/users/me")
        assert statuses == [200, 200, 200, 429]
        assert refused.json()["code"] == "too_many_requests"
        assert refused.json()["http_status_code"] == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 100
        async with account.client(await account.new_key(["all_reader"])) as other:
            assert (await other.get("/users/me")).status_code == 200, "another credential has a bucket of its own"


async def test_by_default_nobody_is_limited(account: Account) -> None:
    answers = await asyncio.gather(*(account.http.get("/rbac/roles") for _ in range(200)))
    assert Counter(answer.status_code for answer in answers) == {200: 200}


def test_a_rate_of_zero_never_refuses() -> None:
    limiter = Limiter(0, 1)
    for _ in range(1000):
        limiter.take("a")


def test_a_bucket_holds_its_burst_and_no_more() -> None:
    limiter = Limiter(0.001, 3)
    for _ in range(3):
        limiter.take("a")
    with pytest.raises(TooManyRequests) as refused:
        limiter.take("a")
    assert refused.value.retry_after_seconds is not None
    assert 900 <= refused.value.retry_after_seconds <= 1000
    limiter.take("b")


async def test_many_at_once_are_all_answered(account: Account) -> None:
    """More requests than connections: they wait for one another and none is lost."""
    bodies = [{"external_id": f"c{n}", "name": "C"} for n in range(100)]
    answers = await asyncio.gather(*(account.http.post("/customers", json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: 100}
