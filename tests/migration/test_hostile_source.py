"""A source that means ill, or is none: it must not keep a migration for ever, fill its memory or end it in an error."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import select

from farthing.core.clock import SystemClock
from farthing.core.errors import ValidationFailed
from farthing.migration.copying.events import copy_events
from farthing.migration.run import MigrationRun
from farthing.migration.source import api
from farthing.migration.source.api import SourceApi, SourceFailed
from farthing.migration.source.fields import decimal_of
from farthing.migration.tables import MigratedRecord, RecordOutcome
from tests.account import Account

Answer = Callable[[web.Request, dict[str, Any]], Any]


@asynccontextmanager
async def source_that(answer: Answer) -> AsyncIterator[SourceApi]:
    """A source whose every answer is what the function says: bytes as they are, anything else as JSON."""

    async def answered(request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        content = answer(request, body)
        if isinstance(content, web.Response):
            return content
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        return web.Response(body=content, content_type="application/json")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answered)
    server = TestServer(application)
    await server.start_server()
    try:
        async with SourceApi(str(server.make_url("")), "sk_key") as source:
            yield source
    finally:
        await server.close()


def _bomb(request: web.Request, body: dict[str, Any]) -> Any:
    packed = gzip.compress(b'{"items": [' + b" " * 3_000_000 + b"]}")
    return web.Response(body=packed, headers={"content-encoding": "gzip"}, content_type="application/json")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(_bomb, "more than 1000000 bytes", id="unpacks to more than may be read"),
        pytest.param(lambda _, body: b"[" * 100_000 + b"]" * 100_000, "not answered in JSON", id="nests without end"),
        pytest.param(lambda _, body: b'{"items": [], "total": 1e9999999999999999999}', "JSON", id="no number"),
        pytest.param(lambda _, body: {"items": [1, "two"]}, "something else than records", id="no records"),
        pytest.param(
            lambda _, body: {"items": [{"id": f"{body.get('offset')}/{n}"} for n in range(100)], "total": 10**9},
            "more than 1000 records",
            id="always more pages",
        ),
    ],
)
async def test_a_source_that_cannot_be_read_ends_a_migration(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str
) -> None:
    monkeypatch.setattr(api, "LARGEST_ANSWER", 1_000_000)
    monkeypatch.setattr(api, "MOST_RECORDS", 1000)
    async with source_that(answer) as source:
        with pytest.raises(SourceFailed) as refused:
            async for _ in source.search("/customers/search"):
                pass
    assert reason in refused.value.details["url"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(lambda *_: ["no object"], "something else than events", id="no events"),
        pytest.param(lambda *_: {"events": {"a": 1}}, "something else than events", id="no list"),
        pytest.param(
            lambda *_: {"events": [{}], "has_more": True, "iter_last_key": "same"}, "the same page", id="a circle"
        ),
    ],
)
async def test_events_that_never_end_are_not_read_for_ever(account: Account, answer: Answer, reason: str) -> None:
    now = SystemClock().now()
    async with source_that(answer) as source:
        with pytest.raises(SourceFailed, match=reason):
            await copy_events(account.database, account.scope, source, now, now, lambda *_: None, lambda count: None)


@pytest.mark.parametrize("written", ["1e999999999", "-1e31", "1e-31"])
def test_a_number_that_would_fill_the_memory_is_named(written: str) -> None:
    with pytest.raises(ValidationFailed, match="amount"):
        decimal_of({"amount": written}, "amount")


_STRANGE: list[Any] = [
    {"id": "x" * 5000, "name": "y" * 5000, "external_id": "z" * 5000},
    {"id": "nul\x00", "name": "nul\x00"},
    {"id": "list", "name": [], "external_id": {}, "metadata": [1], "line_items": "text", "rules": 7},
    {"id": "numbers", "name": 1, "external_id": 2, "metadata": {"a" * 50_000: "b"}, "amount": "1e999999999"},
    {"id": ["a", "list"], "invoice_status": {"a": 1}, "wallet_status": []},
    {
        "id": "lists",
        "line_items": ["text"],
        "prices": [None, 5],
        "lots": [3],
        "payments": "no",
        "invoice_status": "FINALIZED",
        "amount_paid": "5",
        "config": [],
        "auto_topup": {"enabled": True, "threshold": []},
        "coupon_applications": [1],
        "entity_type": [],
    },
]


async def test_records_of_any_shape_are_named_and_end_nothing(account: Account) -> None:
    def answer(request: web.Request, body: dict[str, Any]) -> Any:
        is_list = request.method == "POST" or "limit" in request.query
        if not is_list:
            return {"id": 5, "line_items": [{"price": "text", "price_id": {"a": "b"}}], "lots": {}}
        return {"items": _STRANGE if str(body.get("offset", request.query.get("offset"))) == "0" else []}

    async with source_that(answer) as source:
        run = MigrationRun(account.database, account.scope, SystemClock(), source, lambda kind, count: None)
        async with run.opened():
            await run.copy_all()
    async with account.transaction(read_only=True) as session:
        rows = (await session.scalars(select(MigratedRecord).where(MigratedRecord.kind == "customers"))).all()
    outcomes = {row.source_id: row.outcome for row in rows}
    assert outcomes["x" * 99] is RecordOutcome.FAILED
    assert outcomes["nul"] is RecordOutcome.FAILED
    assert outcomes["list"] is RecordOutcome.FAILED
    assert all(len(problem) <= 1000 for row in rows for problem in row.problems)
