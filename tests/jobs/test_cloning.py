"""Cloning an environment: queued with the request, done by a worker, kept in the journal."""

from __future__ import annotations

import asyncio

from farthing.core.ids import Kind, new_id
from farthing.identity.tables import UserType
from farthing.jobs import cloning
from farthing.jobs.tables import JobRun
from farthing.jobs.workers.worker import queue
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.identity.conftest import person


async def _work_until_done(database: Database, settings: Settings, run_id: str) -> JobRun:
    app = queue(database, settings)
    async with app.open_async():
        await app.run_worker_async(queues=[cloning.QUEUE], wait=False, install_signal_handlers=False)
    async with database.transaction(SYSTEM) as session:
        return await session.get_one(JobRun, run_id)


async def test_features_and_plans_arrive_once(account: Account, database: Database, settings: Settings) -> None:
    await account.post("/features", {"name": "Seats", "lookup_key": "seats", "type": "static"})
    await account.post("/plans", {"name": "Pro", "lookup_key": "pro"})
    target = await account.new_environment()
    path = f"/environments/{account.environment_id}/clone"
    for features, skipped in ((1, 0), (0, 1)):
        async with await person(account) as in_charge:
            answer = await in_charge.post(path, json={"target_environment_id": target})
        assert answer.status_code == 202, answer.text
        assert answer.json()["workflow_id"].startswith("wf_EnvironmentClone_")
        run = await _work_until_done(database, settings, answer.json()["run_id"])
        assert run.counts["features_cloned"] == features
        assert run.counts["features_skipped"] == skipped
        assert run.counts["errors"] == 0
    key = await account.new_key(["super_admin"], owner_type=UserType.USER, environment_id=target)
    async with account.client(key) as there:
        plans = (await there.post("/plans/search", json={})).json()
    assert [plan["lookup_key"] for plan in plans["items"]] == ["pro"]


async def test_what_cannot_be_cloned_is_refused_and_nothing_is_queued(account: Account, stranger: Account) -> None:
    path = f"/environments/{account.environment_id}/clone"
    unknown = f"/environments/{new_id(Kind.ENVIRONMENT)}/clone"
    await account.post(unknown, {"name": "New", "type": "development"}, expect=404)
    await account.post(path, {"target_environment_id": stranger.environment_id}, expect=404)
    await account.post(path, {"target_environment_id": account.environment_id}, expect=400)
    assert "name" in (await account.post(path, {}, expect=400))["details"]
    assert "type" in (await account.post(path, {"name": "New"}, expect=400))["details"]
    names = [row["name"] for row in (await account.get("/environments"))["environments"]]
    assert names == ["Sandbox"]


async def test_parallel_clones_into_a_new_environment_keep_the_limit(account: Account) -> None:
    path = f"/environments/{account.environment_id}/clone"
    answers = await asyncio.gather(
        *(account.http.post(path, json={"name": f"New {n}", "type": "development"}) for n in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [202, 400, 400, 400, 400]
