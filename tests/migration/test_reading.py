"""What the source says, however it is written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from farthing.core.errors import ValidationFailed
from farthing.migration.source.api import SourceApi, SourceFailed, _asked_wait, versioned_url
from farthing.migration.source.fields import decimal_of, metadata_of, tidied, time_of
from tests.subscriptions.shop import at


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"a": None, "b": "", "c": "0001-01-01T00:00:00Z", "d": 0}, {"d": 0}, id="what says nothing goes"),
        pytest.param({"a": [{"b": None}, None]}, {"a": [{}]}, id="in lists too"),
        pytest.param({"metadata": {"a": ""}}, {"metadata": {"a": ""}}, id="what callers wrote stays"),
        pytest.param({"properties": {"a": None}}, {"properties": {"a": None}}, id="and properties of events"),
        pytest.param({"a": False, "b": {}}, {"a": False, "b": {}}, id="no and empty are answers"),
    ],
)
def test_tidied(answer: Any, expected: Any) -> None:
    assert tidied(answer) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("12.50", Decimal("12.5"), id="text"),
        pytest.param(12, Decimal(12), id="a number"),
        pytest.param(Decimal("0.1"), Decimal("0.1"), id="a decimal"),
        pytest.param(None, Decimal(0), id="nothing"),
        pytest.param("1e3", Decimal(1000), id="an exponent"),
    ],
)
def test_decimal(written: Any, expected: Decimal) -> None:
    assert decimal_of({"amount": written}, "amount") == expected


@pytest.mark.parametrize("written", ["ten", "NaN", "Infinity", "1,5"])
def test_no_number_is_named(written: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        decimal_of({"amount": written}, "amount")
    assert "amount" in refused.value.details


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("2026-03-01T00:00:00Z", at("2026-03-01"), id="UTC"),
        pytest.param("2026-03-01T05:30:00+05:30", at("2026-03-01"), id="another zone"),
        pytest.param("2026-03-01T00:00:00", at("2026-03-01"), id="no zone is UTC"),
        pytest.param("2026-03-01", at("2026-03-01"), id="a day"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_time(written: Any, expected: Any) -> None:
    assert time_of({"at": written}, "at") == expected


@pytest.mark.parametrize("written", ["soon", "9999-12-31T23:59:59-05:00", 12])
def test_no_time_is_named(written: Any) -> None:
    with pytest.raises(ValidationFailed) as refused:
        time_of({"at": written}, "at")
    assert "at" in refused.value.details


def test_metadata_becomes_text_within_its_limits() -> None:
    problems: list[str] = []
    given = {"a": 1, "b": True, "c": None, "d": "x" * 501, "e": "kept"}
    assert metadata_of({"metadata": given}, problems) == {"a": "1", "b": "true", "c": "", "e": "kept"}
    assert problems == ["metadata d lies beyond the limits and was left out"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("1.5", 1.5, id="a part of a second"),
        pytest.param("9999", 120.0, id="at most two minutes"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, id="a date that has passed"),
        pytest.param("soon", None, id="nonsense"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_asked_wait(header: str | None, seconds: float | None) -> None:
    assert _asked_wait(header) == seconds


async def test_a_source_that_leads_elsewhere_is_not_followed() -> None:
    """The key would go with it."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    server = TestServer(_answering(answer))
    await server.start_server()
    try:
        async with SourceApi(str(server.make_url("")), "sk_key") as source:
            with pytest.raises(SourceFailed) as refused:
                await source.get("/customers/1")
    finally:
        await server.close()
    assert "302" in refused.value.details["url"]
    assert asked == ["/v1/customers/1"]


def _answering(answer: Any) -> web.Application:
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    return application


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://api.example.com", "https://api.example.com/v1", id="without the version"),
        pytest.param("https://api.example.com/v1/", "https://api.example.com/v1", id="with it"),
        pytest.param("http://10.0.0.1:8080/billing", "http://10.0.0.1:8080/billing/v1", id="behind a prefix"),
    ],
)
def test_versioned_url(url: str, expected: str) -> None:
    assert versioned_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com",
        "ftp://x/v1",
        "https://user:pw@x/v1",
        "https://x/v1?a=b",
        "https://x:port/v1",
        "https://[x",
        "",
    ],
)
def test_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationFailed):
        versioned_url(url)
