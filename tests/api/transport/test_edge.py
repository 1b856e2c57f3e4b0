"""What every answer carries, whatever the route."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from farthing.storage.postgres import Database
from tests.account import Account
from tests.conftest import running, settings_for
from tests.waiting import PATIENCE_SECONDS

EXPOSED = "X-Request-ID, Retry-After, Idempotent-Replayed, Farthing-Ignored-Fields"


async def test_an_unknown_route_answers_the_error_body(account: Account) -> None:
    answer = await account.http.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert answer.json()["error"] == {"message": "Route not found", "internal_error": ""}


@pytest.mark.parametrize(("given", "kept"), [("abc-1._X", True), ("a b", False), ("x" * 129, False)])
async def test_a_request_id_is_kept_only_if_well_formed(base_url: str, given: str, kept: bool) -> None:
    async with httpx.AsyncClient(base_url=base_url) as client:
        answer = await client.get("/health", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is kept


async def test_options_answers_without_credentials(base_url: str) -> None:
    async with httpx.AsyncClient(base_url=base_url) as client:
        answer = await client.options("/v1/anything")
    assert answer.status_code == 200
    assert answer.content == b""
    assert "Authorization" in answer.headers["access-control-allow-headers"]


async def test_half_a_body_changes_nothing(account: Account) -> None:
    """A client that dies while it sends has asked for nothing, even if what arrived can be read."""
    host, _, port = account.base_url.removeprefix("http://").partition(":")
    body = b'{"external_id": "half", "name": "Half"}'
    for length in (b"Content-Length: 1000", b"Transfer-Encoding: chunked"):
        _, writer = await asyncio.open_connection(host, int(port))
        sent = body if length.startswith(b"Content") else b"%x\r\n%s\r\n" % (len(body), body)
        lines = [b"POST /v1/customers HTTP/1.1", b"Host: x", b"Content-Type: application/json", length]
        writer.write(b"\r\n".join([*lines, b"x-api-key: " + account.key.encode(), b"", sent]))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
    await asyncio.sleep(0.2)
    assert (await account.post("/customers/search", {}, expect=200))["pagination"]["total"] == 0


@pytest.mark.parametrize("origin", ["https://a.example", None])
async def test_every_answer_carries_the_headers_of_safety(base_url: str, origin: str | None) -> None:
    async with httpx.AsyncClient(base_url=base_url, headers={"Origin": origin} if origin else {}) as client:
        for path in ("/health", "/v1/nowhere", "/v1/customers"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert headers["permissions-policy"] == "geolocation=(), microphone=(), camera=()"
            assert headers["x-request-id"]


async def test_other_origins_read_the_api_and_nothing_else(base_url: str) -> None:
    origin = {"Origin": "https://a.example"}
    async with httpx.AsyncClient(base_url=base_url, headers=origin, timeout=PATIENCE_SECONDS) as client:
        for path in ("/v1/nowhere", "/v1/customers", "/openapi.json"):
            headers = (await client.get(path)).headers
            assert headers["access-control-allow-origin"] == "*", path
            assert headers["access-control-expose-headers"] == EXPOSED
        for path in ("/metrics", "/health", "/health/ready", "/sign-in", "/portal/nobody", "/password/nobody", "/docs"):
            for method in ("GET", "OPTIONS"):
                answer = await client.request(method, path)
                assert not [name for name in answer.headers if name.startswith("access-control")], path


async def test_an_answer_for_one_origin_is_not_kept_for_another(database: Database, database_url: str) -> None:
    listed = settings_for(database_url, cors_origins="https://a.example")
    async with running(listed, database) as url, httpx.AsyncClient(base_url=url) as client:
        for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
            headers = (await client.get("/v1/customers", headers={"Origin": origin})).headers
            assert headers.get("access-control-allow-origin") == allowed
            assert headers["vary"] == "origin"


async def said_to(base_url: str, *sent: bytes) -> bytes:
    """What the server answers to these bytes until it hangs up."""
    address = httpx.URL(base_url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        for part in sent:
            writer.write(part)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("line", "status"), [("GET *", 404), ("CONNECT example.com:443", 405), ("OPTIONS *", 200), ("GET http://a", 303)]
)
async def test_a_target_that_is_no_path_is_no_error_of_ours(base_url: str, line: str, status: int) -> None:
    answer = await said_to(base_url, f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.split()[1] == str(status).encode(), answer
