"""The document we publish against the server we run: every answer is one that the document declares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from farthing.app import described
from tests.account import Account
from tests.api.conftest import credentials
from tests.api.endpoints import DOCUMENT, ENDPOINTS
from tests.api.tour.building import build
from tests.api.tour.calls import Call, OverHttp
from tests.api.tour.changing import change, end
from tests.api.tour.reading import read
from tests.thorough import examples

EXAMPLES = examples(2, 20)
"""The plainest request there is and a random one; drawing one takes longer than answering it."""
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
UNTRIED = {
    "signUp": "makes a tenant per example, and ten a minute are allowed",
    "login": "hashes a password per example, and ten a minute are allowed",
}

SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
_FOUND: list[Any] = list(SCHEMA.get_all_operations())
OPERATIONS = {found.ok().definition.raw["operationId"]: found.ok() for found in _FOUND}


def test_every_operation_is_tried() -> None:
    documented = {endpoint.id for endpoint in ENDPOINTS if endpoint.operation}
    assert set(OPERATIONS) == documented
    assert set(UNTRIED) <= documented


def trials() -> Iterator[Any]:
    """Valid requests to every operation, and invalid ones where anything but a path can be got wrong."""
    for endpoint in ENDPOINTS:
        if endpoint.operation and endpoint.id not in UNTRIED:
            yield pytest.param(endpoint.id, GenerationMode.POSITIVE, id=f"{endpoint.id}, asked well")
            if endpoint.query or endpoint.body is not None:
                yield pytest.param(endpoint.id, GenerationMode.NEGATIVE, id=f"{endpoint.id}, asked badly")


@pytest.mark.parametrize(("name", "mode"), trials())
async def test_every_answer_is_one_that_the_document_declares(
    account: Account, name: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[name]
    headers = await credentials(account)

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call(base_url=account.base_url, headers=headers, timeout=60, session=session)
        # a feature that is not there says so with 501; any other 5xx is a failure of ours
        checks = CHECKS if answer.status_code == 501 else [not_a_server_error, *CHECKS]
        case.validate_response(answer, checks=checks)

    with requests.Session() as session:
        # the server runs in this very event loop
        await asyncio.to_thread(ask)


class Conforming(OverHttp):
    """Calls whose answers are compared with the document."""

    async def __call__(self, call: Call) -> Any:
        decoded = await super().__call__(call)
        operation = OPERATIONS[call.operation]
        assert str(self.last.status_code) in operation.definition.raw["responses"], call
        operation.validate_response(self.last)
        return decoded


@pytest.mark.slow
async def test_every_answer_of_the_tour_is_one_that_the_document_declares(account: Account) -> None:
    """Rows that exist, which made-up ids never reach."""
    go = Conforming(account)
    made = await build(go)
    for step in (read, change, end):
        await step(go, made)


async def test_the_document_is_served(account: Account) -> None:
    async with httpx.AsyncClient(base_url=account.base_url, timeout=60) as http:
        answer = await http.get("/openapi.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.json() == DOCUMENT == described(), "it is kept for this very code"
        assert (await http.get("/schema")).json()["code"] == "not_found"
