"""The log as an auditor reads it: who, when, from where, and what it was before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import FixedClock
from farthing.core.ids import Kind, new_id
from farthing.core.origin import ChangeSource, acting_as, duty_actor
from farthing.customers.tables import Customer
from farthing.identity.tables import SecretType
from farthing.notifications.activity.retention import forget_old_activities
from farthing.storage.record.outbox import SystemEvent, record_event
from tests.account import Account

LINE = {"display_name": "Work", "amount": "100", "quantity": "1", "price_type": "FIXED"}


async def new_customer(account: Account, external_id: str = "acme", **given: Any) -> dict[str, Any]:
    customer: dict[str, Any] = await account.post("/customers", {"external_id": external_id, "name": "Acme", **given})
    return customer


async def new_invoice(account: Account, customer: dict[str, Any]) -> dict[str, Any]:
    body = {"customer_id": customer["id"], "currency": "usd", "subtotal": "100", "total": "100", "amount_due": "100"}
    body |= {"line_items": [LINE], "due_date": "2099-03-03T00:00:00Z"}
    invoice: dict[str, Any] = await account.post("/invoices", body)
    return invoice


async def listed(account: Account, **asked: Any) -> list[dict[str, Any]]:
    answer = await account.post("/activity", asked, expect=200)
    items: list[dict[str, Any]] = answer["items"]
    return items


async def refused(account: Account, **asked: Any) -> str:
    answer = await account.http.post("/activity", json=asked)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "validation_error"
    return answer.text


async def test_an_auditor_finds_who_changed_a_due_date_and_what_it_was_before(account: Account) -> None:
    customer = await new_customer(account)
    invoice = await new_invoice(account, customer)
    changed = await account.http.put(
        f"/invoices/{invoice['id']}", json={"due_date": "2099-03-17T00:00:00Z"}, headers={"User-Agent": "x" * 600}
    )
    assert changed.status_code == 200
    activity = (await listed(account, entity_id=invoice["id"], expand=["state"]))[0]
    assert activity["action"] == "invoice.update"
    assert activity["actor"]["label"] == "test"
    assert activity["actor"]["type"] == "api_key"
    assert activity["actor"]["owner_id"] == account.user_id
    assert activity["entity"] == {"id": invoice["id"], "label": invoice["invoice_number"], "type": "invoice"}
    assert activity["customer_id"] == customer["id"]
    assert (activity["source"], activity["ip"]) == ("api", "127.0.0.1")
    assert activity["user_agent"] == "x" * 512
    assert activity["request_id"] == changed.headers["x-request-id"]
    assert activity["changes"] == [
        {"field": "due_date", "before": "2099-03-03T00:00:00Z", "after": "2099-03-17T00:00:00Z"}
    ]
    assert activity["state"]["due_date"] == "2099-03-17T00:00:00Z"
    assert await account.get(f"/activity/{activity['id']}") == activity


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"name": "Acme"}, {"name": "Acme Ltd"}, id="a name"),
        pytest.param({"contact": "1"}, {"contact": "2"}, id="a contact"),
        pytest.param({"metadata": {"a": "1"}}, {"metadata": {"a": "2"}}, id="metadata"),
        pytest.param({"address_city": "Graz"}, {"address_city": "Linz"}, id="an address"),
        pytest.param({"timezone": "UTC"}, {"timezone": "Europe/Vienna"}, id="a time zone"),
    ],
)
async def test_each_value_is_listed_as_it_was_and_is(
    account: Account, before: dict[str, Any], after: dict[str, Any]
) -> None:
    customer = await new_customer(account, **before)
    await account.put(f"/customers/{customer['id']}", after)
    (field,) = after
    activity = (await listed(account, entity_id=customer["id"], expand=["state"]))[0]
    assert activity["changes"] == [{"field": field, "before": before[field], "after": after[field]}]


async def test_state_and_changes_come_only_when_asked_for(account: Account) -> None:
    customer = await new_customer(account)
    (activity,) = await listed(account, entity_id=customer["id"])
    assert activity.keys().isdisjoint({"state", "changes"})


async def test_what_is_undone_or_refused_leaves_nothing(account: Account) -> None:
    customer = await new_customer(account)
    assert (await account.http.post("/customers", json={"external_id": "acme", "name": "Again"})).status_code == 409
    assert (await account.http.put(f"/customers/{customer['id']}", json={"email": "no"})).status_code == 400

    async def rename_and_fail(session: AsyncSession) -> None:
        async with session.begin_nested():
            (await session.get_one(Customer, customer["id"])).name = "Undone"
            await session.flush()
            await record_event(session, "customer.updated", "customer", customer["id"], {"customer": {}})
            raise RuntimeError

    async with account.transaction() as session:
        with pytest.raises(RuntimeError):
            await rename_and_fail(session)
    assert [activity["action"] for activity in await listed(account, customer_id=customer["id"])] == [
        "customer.created"
    ]


async def test_a_value_that_is_changed_back_is_no_change(account: Account) -> None:
    group = await account.post("/groups", {"name": "A", "entity_type": "feature", "lookup_key": "a"})
    from farthing.catalogue.products.tables import GroupRow

    async with account.transaction() as session:
        row = await session.get_one(GroupRow, group["id"])
        row.name = "B"
        await session.flush()
        row.name = "A"
    assert len(await listed(account, entity_id=group["id"])) == 1


async def test_a_statement_by_condition_is_recorded_for_each_row(account: Account) -> None:
    from farthing.catalogue.products.tables import GroupRow

    groups = [
        await account.post("/groups", {"name": name, "entity_type": "feature", "lookup_key": name})
        for name in ("a", "b", "c")
    ]
    with acting_as(duty_actor("tidying_up"), ChangeSource.WORKER):
        async with account.transaction() as session:
            await session.execute(update(GroupRow).where(GroupRow.name != "b").values(name="z"))
    renamed = await listed(account, actions=["group.updated"], expand=["state"])
    assert {activity["entity"]["id"] for activity in renamed} == {groups[0]["id"], groups[2]["id"]}
    assert {activity["changes"][0]["before"] for activity in renamed} == {"a", "c"}
    assert {(activity["actor"]["label"], activity["source"]) for activity in renamed} == {("tidying up", "worker")}
    assert len(await listed(account, actor_id="tidying_up")) == 2
    assert len(await listed(account, actor_types=["system"], entity_type="group")) == 2


async def test_filters_are_joined(account: Account) -> None:
    acme, other = await new_customer(account), await new_customer(account, "other")
    await account.put(f"/customers/{acme['id']}", {"name": "A"})
    await account.put(f"/customers/{other['id']}", {"name": "B"})
    request_id = (await listed(account, customer_id=acme["id"]))[0]["request_id"]
    assert [entry["entity"]["id"] for entry in await listed(account, request_id=request_id)] == [acme["id"]]
    both = await listed(account, actions=["customer.created"], customer_id=other["id"])
    assert [entry["action"] for entry in both] == ["customer.created"]
    # the user behind the key is found too
    by_owner = await listed(account, actor_id=account.user_id, entity_type="customer")
    assert len(by_owner) == 4
    assert await listed(account, actor_id="user_" + "0" * 26) == []
    at = datetime.fromisoformat(by_owner[1]["occurred_at"])
    assert [entry["id"] for entry in await listed(account, start_time=at.isoformat(), entity_type="customer")] == [
        entry["id"] for entry in by_owner[:2]
    ]
    until = {"end_time": at.isoformat(), "entity_type": "customer"}
    assert [entry["id"] for entry in await listed(account, **until)] == [entry["id"] for entry in by_owner[2:]]


async def test_pages_neither_skip_nor_repeat_while_rows_are_added(account: Account) -> None:
    before = [(await new_customer(account, f"c{number}"))["id"] for number in range(7)]
    seen: list[str] = []
    cursor = None
    for page in range(4):
        asked = {"entity_type": "customer", "limit": 2, "cursor": cursor}
        answer = await account.post("/activity", asked, expect=200)
        seen += [activity["entity"]["id"] for activity in answer["items"]]
        cursor = answer["pagination"].get("next_cursor")
        assert answer["pagination"]["limit"] == 2
        assert answer["pagination"]["has_more"] == (page < 3) == (cursor is not None)
        await new_customer(account, f"late{page}")
    assert seen == before[::-1]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"actions": ["invoice.eaten"]}, ["actions", "invoice.update.finalized", "price.updated", "api_key.revoked"]),
        ({"actor_types": ["nobody"]}, ["actor_types", "service_account", "provider"]),
        ({"entity_type": "cat"}, ["entity_type", "invoice", "api_key"]),
        ({"expand": ["customer"]}, ["expand", "state"]),
        ({"limit": 201}, ["limit", "200"]),
        ({"limit": -1}, ["limit"]),
        ({"cursor": "!!"}, ["cursor"]),
        ({"cursor": "eyJhIjoxfQ"}, ["cursor"]),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"}, ["end_time", "after"]),
        ({"start_time": "yesterday"}, ["start_time"]),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    account: Account, asked: dict[str, Any], named: list[str]
) -> None:
    answer = await refused(account, **asked)
    assert all(word in answer for word in named), answer


async def test_a_cursor_of_another_query_is_refused(account: Account) -> None:
    for number in range(3):
        await new_customer(account, f"c{number}")
    page = await account.post("/activity", {"entity_type": "customer", "limit": 1}, expect=200)
    cursor = page["pagination"]["next_cursor"]
    assert "cursor" in await refused(account, cursor=cursor)
    assert len(await listed(account, cursor=cursor, entity_type="customer", limit=5)) == 2


async def test_null_conditions_narrow_nothing_and_no_limit_is_fifty(account: Account) -> None:
    await new_customer(account)
    names = ("actions", "actor_id", "actor_types", "customer_id", "entity_type", "entity_id", "request_id", "cursor")
    answer = await account.post("/activity", {**dict.fromkeys(names), "limit": 0}, expect=200)
    assert answer["pagination"] == {"limit": 50, "has_more": False}
    assert answer["items"]


async def test_what_belongs_to_the_tenant_is_seen_in_each_environment_and_nowhere_else(
    account: Account, stranger: Account
) -> None:
    await new_customer(account)
    await account.put("/tenants/update", {"name": "Renamed"})
    other = account.client(await account.new_key(["super_admin"], environment_id=await account.new_environment()))
    seen = (await other.post("/activity", json={})).json()["items"]
    assert "tenant.updated" in {activity["action"] for activity in seen}
    assert "customer.created" not in {activity["action"] for activity in seen}
    mine = await listed(account)
    ids = {activity["id"] for activity in mine}
    strange = (await stranger.http.post("/activity", json={"limit": 200})).json()["items"]
    assert {activity["id"] for activity in strange}.isdisjoint(ids)
    for activity in mine:
        assert (await stranger.http.get(f"/activity/{activity['id']}")).status_code == 404
    await other.aclose()


async def test_who_may_not_read_settings_may_not_read_the_log(account: Account) -> None:
    key = await account.new_key(["event_reader"])
    async with account.client(key) as http:
        assert (await http.post("/activity", json={})).status_code == 403
    publishable = await account.new_key(["super_admin"], type=SecretType.PUBLISHABLE_KEY)
    async with account.client(publishable) as http:
        assert (await http.post("/activity", json={})).status_code == 403


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM system_events",
        "UPDATE system_events SET actor_label = 'nobody'",
        "UPDATE system_events SET changes = NULL",
        "UPDATE system_events SET is_echo = true",
        "UPDATE system_events SET created_at = now()",
        "UPDATE system_events SET customer_id = NULL",
        "SELECT forget_activities('{environment}', date_trunc('month', now(), 'UTC'), 10)",
        "SELECT forget_activities('{environment}', '2020-01-15', 10)",
    ],
)
async def test_the_database_refuses_to_change_or_delete(account: Account, statement: str) -> None:
    await new_customer(account)
    with pytest.raises(DBAPIError, match=r"append-only|whole months"):
        async with account.transaction() as session:
            await session.execute(text(statement.format(environment=account.environment_id)))
    assert await listed(account, entity_type="customer")


async def test_delivery_may_note_that_it_handed_a_row_on(account: Account) -> None:
    await new_customer(account)
    async with account.transaction() as session:
        await session.execute(update(SystemEvent).values(dispatched_at=datetime.now(UTC)))


@pytest.mark.parametrize(
    ("days", "today", "kept"),
    [
        pytest.param(0, "2023-11-20", ["2022-01-31", "2022-02-01", "2022-10-31", "2022-11-20"], id="for ever"),
        pytest.param(365, "2023-11-20", ["2022-11-20"], id="a year, in whole months"),
        pytest.param(400, "2023-11-20", ["2022-10-31", "2022-11-20"], id="a little more"),
        pytest.param(657, "2023-11-20", ["2022-02-01", "2022-10-31", "2022-11-20"], id="to the first of a month"),
        pytest.param(658, "2023-11-20", ["2022-01-31", "2022-02-01", "2022-10-31", "2022-11-20"], id="a day more"),
    ],
)
async def test_what_an_environment_does_not_keep_is_forgotten(
    account: Account, days: int, today: str, kept: list[str]
) -> None:
    for day in ("2022-01-31", "2022-02-01", "2022-10-31", "2022-11-20"):
        at = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        async with account.database.transaction(account.scope, clock=FixedClock(at)) as session:
            session.add(Customer(id=new_id(Kind.CUSTOMER), external_id=day, name=day))
    await account.put("/settings/activity_config", {"value": {"retention_days": days}})
    now = datetime.fromisoformat(f"{today}T12:00:00+00:00")
    async with account.transaction() as session:
        session.info["real_clock"] = FixedClock(now)
        await forget_old_activities(session, now)
    labels = [activity["entity"]["label"] for activity in await listed(account, entity_type="customer")]
    assert labels == kept[::-1]


async def test_a_log_shorter_than_a_year_is_refused(account: Account) -> None:
    answer = await account.http.put("/settings/activity_config", json={"value": {"retention_days": 364}})
    assert answer.status_code == 400
    assert "retention_days" in answer.text


async def test_a_large_state_goes_without_its_lists(account: Account) -> None:
    plan = await account.post("/plans", {"name": "Large", "lookup_key": "large"})
    from farthing.catalogue.plans.tables import Plan

    async with account.transaction() as session:
        (await session.get_one(Plan, plan["id"])).meta = {str(number): "x" * 500 for number in range(200)}
    activity = (await listed(account, entity_id=plan["id"], expand=["state"]))[0]
    assert activity["state"]["truncated"] is True
    assert activity["state"]["name"] == "Large"
    assert activity["changes"] == [{"field": "metadata", "before": {}, "after": {"truncated": True}}]


async def test_activities_alone_are_delivered_to_nobody(account: Account) -> None:
    async with account.transaction(read_only=True) as session:
        rows = await session.execute(
            select(SystemEvent.payload, SystemEvent.position).where(SystemEvent.event_name == "group.created")
        )
        assert rows.all() == []
    group = await account.post("/groups", {"name": "A", "entity_type": "feature", "lookup_key": "a"})
    async with account.transaction(read_only=True) as session:
        row = (await session.scalars(select(SystemEvent).where(SystemEvent.entity_id == group["id"]))).one()
    assert (row.payload, row.position, row.dispatched_at) == (None, None, None)
    message = row.id.replace("sys_event_", "msg_")
    assert (await account.http.get(f"/webhooks/messages/{message}")).status_code == 404
    assert (await account.http.post("/webhooks/retry", json={"system_event_id": row.id})).status_code == 404


async def test_requests_at_once_are_not_taken_for_one_another(account: Account) -> None:
    keys = {name: await account.new_key(["super_admin"]) for name in ("a", "b", "c", "d")}

    async def create(name: str, http: httpx.AsyncClient, number: int) -> None:
        body = {"external_id": f"{name}{number}", "name": name}
        headers = {"X-Request-ID": f"{name}-{number}", "User-Agent": name}
        assert (await http.post("/customers", json=body, headers=headers)).status_code == 201

    clients = {name: account.client(key) for name, key in keys.items()}
    await asyncio.gather(*(create(name, http, number) for name, http in clients.items() for number in range(5)))
    for http in clients.values():
        await http.aclose()
    created = await listed(account, entity_type="customer", limit=200)
    assert len(created) == 20
    actors = {(entry["entity"]["label"], entry["user_agent"], entry["actor"]["id"]) for entry in created}
    assert len(actors) == 4
    assert all(entry["request_id"].startswith(entry["entity"]["label"]) for entry in created)


async def test_the_clock_of_the_environment_says_when(account: Account) -> None:
    at = datetime(2031, 5, 1, tzinfo=UTC)
    async with account.database.transaction(account.scope, clock=FixedClock(at)) as session:
        session.add(Customer(id=new_id(Kind.CUSTOMER), external_id="later", name="Later"))
    until = (at + timedelta(seconds=1)).isoformat()
    (activity,) = await listed(account, start_time=at.isoformat(), end_time=until)
    assert activity["entity"]["label"] == "Later"
