"""What every answer carries, whatever the route."""

from __future__ import annotations

import httpx
import pytest

from tests.account import Account


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
