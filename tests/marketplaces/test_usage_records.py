"""Agreements at marketplaces, and hourly records that add up to what invoices charge for usage."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from flexprice import Flexprice
from sqlalchemy.engine import make_url

from tests.billing.collection.test_collection import to
from tests.billing.collection.test_dunning import STOLEN, case, dunned, payments
from tests.billing.counter import cancel, has_card, opened, read
from tests.billing.office import Office
from tests.marketplaces.seller import AWS, GCP, agree, agreement, connection_to, recorded, records, sold
from tests.payments.till import DECLINED, OK
from tests.subscriptions.shop import fixed

Body = dict[str, Any]


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
async def test_an_agreement_is_three_mappings(office: Office, provider: str) -> None:
    _, _, subscription = await sold(office, provider)
    made = await agree(office, subscription, provider)
    assert made["status"] == "active"
    assert len({made["customer_mapping_id"], made["plan_mapping_id"], made["subscription_mapping_id"]}) == 3
    assert await agree(office, subscription, provider) == made


async def test_agreements_at_once_are_one(office: Office) -> None:
    _, _, subscription = await sold(office)
    answers = await asyncio.gather(*(agree(office, subscription) for _ in range(4)))
    assert len({answer["subscription_mapping_id"] for answer in answers}) == 1


async def test_an_agreement_stands_for_one_subscription(office: Office) -> None:
    _, _, subscription = await sold(office)
    await agree(office, subscription)
    plan = await office.plan(fixed("5"))
    other = await opened(office, plan, await office.customer())
    own = {**AWS, "customer_aws_account_id": "210987654321", "product_code": "prod-2"}
    refused = await agree(office, other, expect=409, aws=own)
    assert AWS["license_arn"] in str(refused)
    await agree(office, subscription, expect=409, aws={**AWS, "license_arn": "arn:another"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "stripe"}, "provider"),
        ({"provider": "gcp_marketplace"}, "gcp"),
        ({"gcp": GCP}, "gcp"),
        ({"aws": {**AWS, "license_arn": ""}}, "license_arn"),
        ({"aws": {name: value for name, value in AWS.items() if name != "dimension"}}, "dimension"),
        ({"aws": None}, "aws"),
    ],
)
async def test_what_an_agreement_needs(office: Office, change: Body, field: str) -> None:
    _, _, subscription = await sold(office)
    assert field in str(await agree(office, subscription, expect=400, **change))


async def test_the_parties_of_an_agreement_fit(office: Office) -> None:
    _, _, subscription = await sold(office)
    other = await office.customer()
    assert "customer_id" in str(await agree(office, subscription, expect=400, customer_id=other["id"]))
    plan = await office.plan(fixed("5"))
    assert "plan_id" in str(await agree(office, subscription, expect=400, plan_id=plan["id"]))
    assert "not connected" in str(await agree(office, subscription, "gcp", expect=400))
    for name in ("customer_id", "plan_id", "subscription_id"):
        await agree(office, subscription, expect=404, **{name: "nobody"})
    await cancel(office, subscription)
    assert "subscription_id" in str(await agree(office, subscription, expect=400))


async def test_each_closed_hour_has_a_record(office: Office) -> None:
    feature, customer, subscription = await sold(office)
    await agree(office, subscription)
    await office.recorded(feature["lookup_key"], customer, ("2026-01-01T00:30", 5), ("2026-01-01T02:10", 7))
    await recorded(office, "2026-01-01T04:10:00")
    found = await records(office)
    assert [(row["period_start"][11:16], row["amount"], row["quantity"]) for row in found] == [
        ("00:00", 0.05, 5),
        ("01:00", 0, 0),
        ("02:00", 0.07, 7),
        ("03:00", 0, 0),
    ]
    assert {row["customer_external_id"] for row in found} == {customer["external_id"]}
    assert {row["synced"] for row in found} == {False}
    await recorded(office, "2026-01-01T04:50:00")
    assert len(await records(office)) == 4


_REFUSES = """
CREATE FUNCTION refuse_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no record' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER refuse_record BEFORE INSERT ON usage_records FOR EACH ROW
WHEN (NEW.subscription_id = '{subscription}') EXECUTE FUNCTION refuse_record()
"""


async def test_a_subscription_that_cannot_be_recorded_holds_up_no_other(office: Office, sockets: str) -> None:
    _, _, broken = await sold(office)
    await agree(office, broken)
    fine = await opened(office, {"id": broken["plan_id"]}, await office.customer())
    await agree(office, fine, aws={**AWS, "customer_aws_account_id": "210987654321", "license_arn": "arn:another"})
    name = make_url(office.account.database.url).database
    with psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True) as database:
        database.execute(_REFUSES.format(subscription=broken["id"]).encode())
        try:
            await recorded(office, "2026-01-01T02:10:00")
        finally:
            database.execute("DROP TRIGGER refuse_record ON usage_records; DROP FUNCTION refuse_record")
    assert [row["subscription_id"] for row in await records(office)] == [fine["id"]] * 2
    await recorded(office, "2026-01-01T02:10:00")
    assert len(await records(office, subscription_id=broken["id"])) == 2


async def test_late_usage_makes_the_next_record_larger(office: Office) -> None:
    feature, customer, subscription = await sold(office)
    await agree(office, subscription)
    await recorded(office, "2026-01-01T02:10:00")
    await office.recorded(feature["lookup_key"], customer, ("2026-01-01T00:30", 5))
    await recorded(office, "2026-01-01T03:10:00")
    assert [row["amount"] for row in await records(office)] == [0, 0, 0.05]


async def test_what_became_less_waits_until_usage_has_grown_past_it(office: Office) -> None:
    feature, customer, subscription = await sold(office, rate="1")
    await agree(office, subscription)
    event = {"event_name": feature["lookup_key"], "external_customer_id": customer["external_id"], "event_id": "e1"}
    await office.account.post("/events", {**event, "timestamp": "2026-01-01T00:30:00Z"}, 202)
    await recorded(office, "2026-01-01T01:10:00")
    await office.account.delete("/events/e1")
    await recorded(office, "2026-01-01T02:10:00")
    await office.recorded(feature["lookup_key"], customer, ("2026-01-01T02:30", 3))
    await recorded(office, "2026-01-01T03:10:00")
    assert [row["amount"] for row in await records(office)] == [1, 0, 2]


@pytest.mark.parametrize(("rate", "count"), [("0.013", 3), ("0.5", 1), ("2.345", 7)])
async def test_records_add_up_to_the_usage_of_the_invoices(office: Office, rate: str, count: int) -> None:
    daily = {"billing_period": "DAILY"}
    feature, customer, subscription = await sold(office, rate=rate, **daily)
    await agree(office, subscription)
    moments = [(f"2026-01-0{day}T{hour:02}:45", count + hour) for day in (1, 2) for hour in (0, 7, 23)]
    await office.recorded(feature["lookup_key"], customer, *moments)
    await to(office, "2026-01-03")
    await recorded(office, "2026-01-03T00:10:00")
    found = await records(office)
    assert len(found) == 48
    total = sum(Decimal(str(row["amount"])) for row in found)
    used = [
        Decimal(line["amount"])
        for invoice in (await office.account.get("/invoices", subscription_id=subscription["id"]))["items"]
        for line in (await office.account.get(f"/invoices/{invoice['id']}"))["line_items"]
        if line["price_type"] == "USAGE"
    ]
    assert total == sum(used) > 0


async def test_a_cancellation_writes_the_last_record(office: Office) -> None:
    feature, customer, subscription = await sold(office)
    await agree(office, subscription)
    await office.recorded(feature["lookup_key"], customer, ("2026-01-01T00:10", 5))
    await to(office, "2026-01-01")
    await office.on("2026-01-01T00:40")
    await cancel(office, subscription)
    await recorded(office, "2026-01-01T00:45:00")
    (last,) = await records(office)
    assert (last["period_end"], last["amount"]) == ("2026-01-01T00:40:00Z", 0.05)
    await recorded(office, "2026-01-02T00:10:00")
    assert len(await records(office)) == 1
    # the agreement is free again
    plan = await office.plan(fixed("5"))
    other = await opened(office, plan, await office.customer())
    assert other["subscription_status"] == "active"


async def test_nobody_else_charges_what_a_marketplace_collects(office: Office) -> None:
    stripe = {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}}
    await office.account.post("/connections", stripe)
    _, customer, subscription = await sold(office)
    await agree(office, subscription)
    await has_card(office, customer, OK)
    await to(office, "2026-02-02")
    made = await office.account.get("/payments")
    assert made["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "method", [pytest.param(DECLINED, id="a retry was to come"), pytest.param(STOLEN, id="none was")]
)
async def test_a_marketplace_that_collects_ends_dunning(office: Office, method: str) -> None:
    made = await dunned(office, method, retry_days=[2], final_action="cancel")
    await office.account.post("/connections", connection_to("aws"))
    await agree(office, made)
    await to(office, "2026-01-10")
    assert await payments(office, made) == ["FAILED"]
    assert (await case(office, made))["dunning_status"] == "ended"
    assert (await read(office, made))["subscription_status"] == "active"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"period_start": "2026-01-01T01:00:00Z"}, 1),
        ({"period_end": "2026-01-01T01:00:00Z"}, 1),
        ({"synced": True}, 0),
        ({"synced": False, "currency": "USD"}, 3),
        ({"currency": "eur"}, 0),
        ({"customer_external_id": "nobody"}, 0),
        ({"filters": [{"field": "amount", "operator": "gt", "data_type": "number", "value": {"number": 0}}]}, 0),
        ({"limit": 2}, 2),
    ],
)
async def test_records_are_narrowed(office: Office, query: Body, count: int) -> None:
    _, _, subscription = await sold(office)
    await agree(office, subscription)
    await recorded(office, "2026-01-01T03:10:00")
    assert len(await records(office, **query)) == count


async def test_the_page_says_where_the_next_one_begins(office: Office) -> None:
    found = await office.account.post("/usage-records/search", {"limit": 20}, 200)
    assert found["pagination"] == {"total": 0, "limit": 20, "offset": 20}
    await office.account.post("/usage-records/search", {"expand": "customer"}, 400)


async def test_the_published_client_registers_and_reads(office: Office) -> None:
    feature, customer, subscription = await sold(office)
    account = office.account
    async with Flexprice(server_url=f"{account.base_url}/v1", api_key_auth=account.key) as client:
        made = await client.marketplace.post_marketplace_agreements_async(**agreement(subscription))
        assert made.subscription_mapping_id
        await office.recorded(feature["lookup_key"], customer, ("2026-01-01T00:30", 5))
        await recorded(office, "2026-01-01T01:10:00")
        found = await client.usage_records.post_usage_records_search_async(subscription_id=subscription["id"])
        (record,) = found.items or []
        assert (record.amount, record.quantity, record.synced) == (0.05, 5, False)


async def test_fixed_fees_are_recorded_in_the_hour_in_which_their_service_begins(office: Office) -> None:
    """Where the marketplace is to collect them: 10 a day in advance, beside what usage comes to."""
    feature, customer, subscription = await sold(office, billing_period="DAILY")
    await agree(office, subscription)
    await office.recorded(feature["lookup_key"], customer, ("2026-01-01T01:30", 300))
    await recorded(office, "2026-01-01T03:10:00")
    assert [row["amount"] for row in await records(office)] == [0, 3, 0]
    await office.account.put("/settings/marketplace_config", {"value": {"include_fixed": True}})
    await recorded(office, "2026-01-02T02:10:00")
    amounts = {row["period_start"][5:13]: row["amount"] for row in await records(office) if row["amount"]}
    assert amounts == {"01-01T01": 3, "01-02T00": 10}
