"""Exports to a folder and to a bucket: what each kind holds, how files are written, and what fails."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from farthing.core.clock import instant
from tests.transfer.office import TransferOffice

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 6, 15, 12, 20, tzinfo=UTC)


def _window(since: datetime, until: datetime) -> dict[str, str]:
    return {"start_time": instant(since), "end_time": instant(until)}


def _lately() -> dict[str, str]:
    now = datetime.now(UTC)
    return _window(now - timedelta(hours=1), now)


async def _books(office: TransferOffice) -> dict[str, str]:
    """A customer with a formula for a name, who pays per token, has a wallet and an invoice."""
    account = office.account
    customer = await account.post(
        "/customers", {"external_id": "acme", "name": "=HYPERLINK(1)", "metadata": {"team": "red"}}
    )
    feature = await account.post(
        "/features",
        {
            "name": "Tokens",
            "type": "metered",
            "meter": {
                "name": "Tokens",
                "event_name": "call",
                "reset_usage": "BILLING_PERIOD",
                "aggregation": {"type": "SUM", "field": "tokens"},
            },
        },
    )
    plan = await account.post("/plans", {"name": "Pro", "lookup_key": "pro"})
    price = {
        "entity_type": "PLAN",
        "entity_id": plan["id"],
        "type": "USAGE",
        "currency": "usd",
        "billing_model": "FLAT_FEE",
        "billing_period": "MONTHLY",
        "invoice_cadence": "ARREAR",
        "amount": "0.002",
        "meter_id": feature["meter_id"],
        "start_date": instant(datetime.now(UTC) - timedelta(days=2)),
    }
    await account.post("/prices", price)
    now = datetime.now(UTC)
    subscription = await account.post(
        "/subscriptions",
        {
            "customer_id": customer["id"],
            "plan_id": plan["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
            "billing_period_count": 1,
            "start_date": instant(now - timedelta(days=1)),
        },
    )
    of_wallet = {"customer_id": customer["id"], "currency": "usd", "name": "Credits"}
    wallet = await account.post("/wallets", of_wallet, expect=200)
    topup = {"credits_to_add": "100", "transaction_reason": "FREE_CREDIT_GRANT", "idempotency_key": "one"}
    await account.post(f"/wallets/{wallet['id']}/top-up", topup, expect=200)
    events = [
        {
            "event_id": f"e{number}",
            "event_name": name,
            "external_customer_id": "acme",
            "source": "api",
            "timestamp": instant(now - timedelta(minutes=5)),
            "properties": {"tokens": 1000},
        }
        for number, name in enumerate(("call", "call", "other"))
    ]
    await account.post("/events/bulk", {"events": events}, expect=202)
    return {"customer": customer["id"], "subscription": subscription["id"], "meter": feature["meter_id"]}


async def test_every_kind_of_the_same_books(office: TransferOffice) -> None:
    ids = await _books(office)
    connection_id = await office.local_connection()
    tables: dict[str, list[dict[str, str]]] = {}
    for entity in (
        "events",
        "invoice",
        "credit_topups",
        "wallet_debits",
        "credit_usage",
        "usage_analytics",
        "revenue_facts",
    ):
        team = {"entity_type": "customer", "field_key": "team"}
        metadata = {"export_metadata_fields": [team, {**team, "column_name": "=HYPERLINK(2)"}]}
        config = metadata if entity in {"credit_usage", "usage_analytics"} else {}
        schedule = await office.schedule(entity, connection_id, job_config=config)
        task = await office.export(schedule, **_lately())
        assert task["task_status"] == "COMPLETED", task
        tables[entity] = office.table_of(task)
        assert task["total_records"] == len(tables[entity])
    counted = [row for row in tables["events"] if row["meter_id"]]
    assert [row["id"] for row in tables["events"]] == ["e0", "e1", "e2"]
    assert {row["provisional_usage_charges"] for row in counted} == {"2"}
    assert {row["subscription_id"] for row in counted} == {ids["subscription"]}
    assert tables["events"][2]["meter_id"] == ""
    assert {row["customer_id"] for row in tables["events"]} == {ids["customer"]}
    (topup,) = tables["credit_topups"]
    assert (topup["name"], Decimal(topup["credit_balance_after"])) == ("'=HYPERLINK(1)", 100)
    (balance,) = tables["credit_usage"]
    assert (balance["current_balance"], balance["real_time_balance"], balance["team"]) == ("100", "96", "red")
    assert balance["'=HYPERLINK(2)"] == "red"  # what anybody named a column is no formula
    (usage,) = [row for row in tables["usage_analytics"] if row["feature_id"]]
    assert (usage["total_usage"], usage["total_cost"], usage["event_count"]) == ("2000", "4", "2")
    assert (usage["source"], usage["aggregation_field"]) == ("api", "tokens")
    assert tables["wallet_debits"] == []


async def test_files_are_named_after_their_window_and_replaced(office: TransferOffice) -> None:
    await office.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    config = {"key_prefix": "books/daily", "compression": "gzip"}
    schedule = await office.schedule("credit_usage", job_config=config, interval="daily")
    window = _window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    first = await office.export(schedule, **window)
    again = await office.export(schedule, **window)
    assert first["id"] != again["id"]
    path = office.file_of(again)
    assert path == office.file_of(first)
    assert str(path).endswith("/books/daily/credit_usage/credit_usage-260101000000-260102000000.csv.gz")
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    assert [row["customer_external_id"] for row in rows] == ["acme"]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_a_download_link_opens_the_file_and_expires(office: TransferOffice) -> None:
    task = await office.export(await office.schedule("invoice"))
    link = (await office.account.get(f"/tasks/{task['id']}/download"))["download_url"]
    path = "/v1" + link.partition("/v1")[2]
    async with office.account.client() as anonymous:
        response = await anonymous.get(f"{office.account.base_url}{path}")
        assert response.status_code == 200
        assert response.text.startswith("id,tenant_id")
        assert (await anonymous.get(f"{office.account.base_url}{path}x")).status_code == 403
    imported = await office.imported("CUSTOMERS", b"external_id\nx\n")
    await office.account.get(f"/tasks/{imported['id']}/download", expect=404)


async def test_an_export_that_fails_leaves_nothing(office: TransferOffice, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the folder must be")
    broken = office.with_settings(export_dir=str(tmp_path / "occupied"))
    task = await broken.export(await broken.schedule("invoice"))
    assert task["task_status"] == "FAILED"
    assert "export folder" in task["error_summary"]
    await office.account.get(f"/tasks/{task['id']}/download", expect=404)


async def test_parquet(office: TransferOffice) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    await _books(office)
    connection_id = await office.local_connection()
    for entity in ("events", "invoice", "usage_analytics", "revenue_facts"):
        schedule = await office.schedule(entity, connection_id, job_config={"file_format": "parquet"})
        task = await office.export(schedule, **_lately())
        assert (task["task_status"], task["file_type"]) == ("COMPLETED", "PARQUET"), task
        table = parquet.read_table(office.file_of(task))
        assert table.num_rows == task["total_records"]
    assert str(table.schema.field("net_amount").type) == "decimal128(38, 15)"


async def test_scheduled_exports_begin_once_for_each_window(office: TransferOffice) -> None:
    from farthing.core.clock import FixedClock
    from farthing.transfer.schedules.due import begin_due

    account = office.account
    await account.freeze(NOW)
    hourly = await office.schedule("invoice")
    quarter = await office.schedule("credit_topups", hourly["connection_id"], interval="15MIN")
    off = await office.schedule("credit_topups", hourly["connection_id"], interval="15MIN", enabled=False)

    async def begin(at: datetime) -> int:
        async with office.database.transaction(office.scope, clock=FixedClock(at)) as session:
            return await begin_due(session, at)

    assert await begin(NOW) == 0
    assert await begin(NOW + timedelta(minutes=10)) == 1  # 12:15 to 12:30
    assert await begin(datetime(2026, 6, 15, 13, 14, tzinfo=UTC)) == 2
    assert await begin(datetime(2026, 6, 15, 13, 15, tzinfo=UTC)) == 2  # the hour, a quarter late, and a quarter
    assert await begin(datetime(2026, 6, 15, 13, 15, tzinfo=UTC)) == 0
    assert await begin(datetime(2026, 6, 18, 13, 15, tzinfo=UTC)) == 72 + 100
    windows = await account.get("/tasks", scheduled_task_id=hourly["id"], limit=1, order="asc", sort="created_at")
    assert windows["items"][0]["start_time"] == "2026-06-15T12:00:00Z"
    assert windows["pagination"]["total"] == 73
    assert (await account.get("/tasks", scheduled_task_id=off["id"]))["items"] == []
    assert (await account.get("/tasks", scheduled_task_id=quarter["id"]))["pagination"]["total"] == 104


async def test_exports_that_wait_hold_up_none_that_is_due(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farthing.core.clock import FixedClock
    from farthing.transfer.schedules import due

    monkeypatch.setattr(due, "SCHEDULES_AT_ONCE", 1)
    await office.account.freeze(NOW)
    daily = await office.schedule("invoice", interval="daily")
    await office.schedule("credit_topups", daily["connection_id"], interval="15MIN")
    at = NOW + timedelta(minutes=15)
    async with office.database.transaction(office.scope, clock=FixedClock(at)) as session:
        assert await due.begin_due(session, at) == 1


async def test_scheduled_tasks_over_the_api(office: TransferOffice) -> None:
    account = office.account
    schedule = await office.schedule("invoice")
    assert (schedule["enabled"], schedule["interval"], schedule["job_config"]) == (True, "hourly", {})
    path = f"/tasks/scheduled/{schedule['id']}"
    assert (await account.put(path, {"enabled": False}))["enabled"] is False
    assert (await account.get("/tasks/scheduled", enabled="false"))["pagination"]["total"] == 1
    assert (await account.get("/tasks/scheduled", enabled="true"))["pagination"]["total"] == 0
    run = await account.post(f"{path}/run", expect=200)
    assert run["mode"] == "automatic"
    for window, field in (
        ({"start_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2024-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2099-01-01T00:00:00Z"}, "end_time"),
    ):
        assert field in (await account.post(f"{path}/run", window, expect=400))["details"]
    await account.delete(path)
    await account.delete(path, expect=404)
    await account.put(path, {"enabled": True}, expect=400)
    for name in ("schedule-update-billing-period", "schedule-draft-finalization"):
        for _ in range(2):
            assert "message" in await account.post(f"/tasks/scheduled/{name}", {}, expect=200)


async def test_what_a_schedule_must_say(office: TransferOffice) -> None:
    account = office.account
    s3 = await account.post(
        "/connections",
        {
            "name": "Bucket",
            "provider_type": "s3",
            "encrypted_secret_data": {"aws_access_key_id": "a", "aws_secret_access_key": "b"},
        },
    )
    stripe = await account.post("/connections", {"name": "Razorpay", "provider_type": "razorpay"})
    local = await office.local_connection()
    body = {"connection_id": local, "entity_type": "invoice", "interval": "daily", "job_config": {}}
    field_of_usage = {"export_metadata_fields": [{"entity_type": "wallet", "field_key": "x"}]}
    for given, field in (
        ({"interval": "custom"}, "interval"),
        ({"connection_id": s3["id"]}, "job_config.bucket"),
        ({"connection_id": stripe["id"]}, "connection_id"),
        ({"job_config": {"key_prefix": "../up"}}, "job_config.key_prefix"),
        ({"job_config": {"bucket": "A"}}, "job_config.bucket"),
        ({"job_config": field_of_usage}, "job_config.export_metadata_fields[0].entity_type"),
        (
            {"entity_type": "usage_analytics", "job_config": field_of_usage},
            "job_config.export_metadata_fields[0].entity_type",
        ),
    ):
        refused = await account.post("/tasks/scheduled", {**body, **given}, expect=400)
        assert field in refused["details"], refused
    await account.post("/tasks/scheduled", {**body, "connection_id": "conn_unknown"}, expect=404)


async def test_a_report_as_parquet(office: TransferOffice) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = "/analytics/reports/net_billing/query/csv"
    asked = {"range": "this_year", "shape": "timeseries", "grain": "month"}
    response = await office.account.http.post(path, params={"format": "parquet"}, json=asked)
    assert response.status_code == 200, response.text
    table = parquet.read_table(io.BytesIO(response.content))
    as_csv = await office.account.http.post(path, json=asked)
    assert table.column_names == as_csv.text.splitlines()[0].split(",")
