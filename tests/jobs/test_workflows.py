"""What is done in the background, in one list."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flexprice import Flexprice

from farthing.jobs.workflows.reads import in_words
from tests.account import Account
from tests.billing.collection.test_collection import to
from tests.billing.office import Office


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0ms"), (0.85, "850ms"), (23, "23s"), (83.9, "1m23s"), (3600, "1h0m0s"), (7265, "2h1m5s")],
)
def test_how_long_it_took(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


async def workflows(account: Account, expect: int = 200, **query: Any) -> Any:
    return await account.post("/workflows/search", query, expect)


@pytest.fixture
async def busy(account: Account) -> Office:
    """An environment whose clock was moved, with a meter, and an endpoint that nobody answers at."""
    office = Office(account)
    await account.post("/webhooks/endpoints", {"url": "https://nobody.invalid/hook"})
    await office.feature("calls")
    await office.on("2026-01-01")
    await to(office, "2026-01-02")
    return office


async def test_work_of_every_kind_is_listed(busy: Office) -> None:
    found = await workflows(busy.account)
    kinds = {row["workflow_type"] for row in found["items"]}
    assert {"MeterBackfillWorkflow", "TestClockAdvanceWorkflow"} <= kinds
    clock = next(row for row in found["items"] if row["workflow_type"] == "TestClockAdvanceWorkflow")
    assert clock["status"] == "Completed"
    assert (clock["entity"], clock["entity_id"]) == ("environment", busy.account.environment_id)
    assert isinstance(clock["duration_ms"], int)
    assert clock["close_time"] >= clock["start_time"]


@pytest.mark.parametrize(
    "query",
    [
        {"workflow_type": "TestClockAdvanceWorkflow"},
        {"task_queue": "clock"},
        {"entity": "environment"},
        {"filters": [{"field": "task_queue", "operator": "eq", "data_type": "string", "value": {"string": "clock"}}]},
        {"workflow_type": "TestClockAdvanceWorkflow", "workflow_status": "Completed", "sort": "start_time"},
    ],
)
async def test_the_list_is_narrowed(busy: Office, query: dict[str, Any]) -> None:
    found = await workflows(busy.account, **query)
    assert {row["workflow_type"] for row in found["items"]} == {"TestClockAdvanceWorkflow"}
    assert found["pagination"]["total"] == len(found["items"])


@pytest.mark.parametrize(
    "query",
    [
        {"workflow_status": "Lost"},
        {"sort": "error"},
        {"expand": "customer"},
        {"limit": -1},
        {"filters": [{"field": "x", "operator": "eq", "data_type": "string", "value": {"string": "y"}}]},
    ],
)
async def test_what_cannot_be_searched(account: Account, query: dict[str, Any]) -> None:
    await workflows(account, expect=400, **query)


async def test_others_see_nothing_of_it(busy: Office, stranger: Account) -> None:
    assert (await workflows(stranger))["items"] == []


async def test_a_copy_of_an_environment_is_listed(account: Account) -> None:
    made = await account.post(
        f"/environments/{account.environment_id}/clone", {"name": "Copy", "type": "development"}, 202
    )
    found = await workflows(account, workflow_type="EnvironmentCloneWorkflow")
    assert [row["run_id"] for row in found["items"]] == [made["run_id"]]
    assert found["items"][0]["status"] in {"Running", "Completed"}


async def test_the_published_client_reads_them(busy: Office) -> None:
    account = busy.account
    async with Flexprice(server_url=f"{account.base_url}/v1", api_key_auth=account.key) as client:
        found = await client.workflows.query_workflow_async(workflow_type="TestClockAdvanceWorkflow")
        assert [work.status for work in found.items or ()] == ["Completed"]
