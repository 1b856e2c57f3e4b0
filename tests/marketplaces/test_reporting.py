"""What marketplaces are told of the records, and the receipts; the same story at each marketplace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from farthing.core.clock import FixedClock
from farthing.core.enums import Status
from farthing.customers.tables import IntegrationEntityType, IntegrationMapping
from farthing.doctor.examination import agreement_in_words
from farthing.marketplaces.reporting.hours import HOUR
from farthing.marketplaces.reporting.limits import LIMITS
from farthing.marketplaces.reporting.markets.interface import UsageToReport
from farthing.marketplaces.reporting.run import skip_under_test_clock
from farthing.marketplaces.reporting.sending import wait_after
from farthing.marketplaces.reporting.standing import agreement_standings
from farthing.marketplaces.tables import ReportStatus, UsageReport, UsageReportPart
from farthing.payments.integrations.marketplaces import is_collected_by_marketplace
from farthing.payments.tables import Connection
from tests.account import Account
from tests.billing.counter import cancel, opened
from tests.marketplaces.seller import AWS, AZURE, BLOCKS, Seller, agree, connection_to, recorded, records
from tests.subscriptions.shop import fixed

Body = dict[str, Any]
EACH = pytest.mark.parametrize("market", list(BLOCKS))


def receipts(rows: list[Body], market: str) -> list[Any]:
    """What became of each record at a marketplace: its receipt's id, why it was skipped, or nothing."""
    syncs = [row["syncs"].get(f"{market}_marketplace") or {} for row in rows]
    return [sync.get("skip_reason") or sync.get("reporting_id") for sync in syncs]


@EACH
async def test_each_record_is_reported_in_its_hour(seller: Seller, market: str) -> None:
    customer, _ = await seller.sells(market)
    await seller.used(customer, ("2026-01-01T00:30", 5), ("2026-01-01T02:10", 7))
    await seller.runs("2026-01-01T03:10:00")
    sold = {hour: quantity for hour, quantity in seller.market(market).by_hour.items() if quantity}
    assert sold == {"01T00": 5, "01T02": 7}
    rows = await records(seller.office)
    assert [row["synced"] for row in rows] == [True] * 3
    first, between, last = receipts(rows, market)
    assert first
    assert last
    assert between == "zero_amount_not_supported" if market == "azure" else between
    receipt = rows[0]["syncs"][f"{market}_marketplace"]
    assert receipt["agreement_id"] in BLOCKS[market].values()
    assert receipt["connection_id"].startswith("conn_")
    assert receipt["synced_at"].startswith("2026-01-01T03:10")
    await seller.runs("2026-01-01T03:20:00")
    assert seller.market(market).total == 12


@EACH
@pytest.mark.parametrize("fault", ["unanswered", "done 500", "lost", 429, 500, 503])
async def test_what_was_not_answered_is_sent_again_as_it_is_and_counted_once(
    seller: Seller, market: str, fault: str | int
) -> None:
    customer, _ = await seller.sells(market)
    await seller.used(customer, ("2026-01-01T00:30", 5))
    seller.market(market).faults.append(fault)
    done = await seller.runs("2026-01-01T01:10:00")
    assert done == {"succeeded": 0, "failed": 1}
    (report,) = await seller.kept()
    assert (report.report_status, bool(report.problem)) == (ReportStatus.WAITING, True)
    assert report.in_doubt == (fault != 429)
    # later usage does not change what was sent
    await seller.used(customer, ("2026-01-01T00:40", 2))
    await seller.reports("2026-01-01T01:12:00")
    assert len(await seller.kept()) == 1, "it waits a while"
    await seller.reports("2026-01-01T01:20:00")
    assert seller.market(market).by_hour == {"01T00": 5}
    assert receipts(await records(seller.office), market)[0]
    await seller.runs("2026-01-01T02:10:00")
    assert seller.market(market).by_hour == {"01T00": 5, "01T01": 2}


@EACH
async def test_what_is_too_old_is_reported_in_the_oldest_hour_that_is_taken(seller: Seller, market: str) -> None:
    customer, _ = await seller.sells(market)
    await seller.used(customer, ("2026-01-01T00:30", 5), ("2026-01-01T01:30", 3), ("2026-01-03T03:30", 4))
    seller.market(market).now = datetime(2026, 1, 3, 4, 10, tzinfo=UTC)
    await seller.runs("2026-01-03T04:10:00")
    first = {"aws": "02T23", "azure": "02T05", "gcp": "02T05"}[market]
    assert {hour: sold for hour, sold in seller.market(market).by_hour.items() if sold} == {first: 8, "03T03": 4}
    assert all(row["synced"] for row in await records(seller.office))


@EACH
async def test_a_marketplace_that_was_away_for_days_is_told_of_everything_when_it_is_back(
    seller: Seller, market: str
) -> None:
    customer, _ = await seller.sells(market)
    nowhere = seller.marketplaces("http://127.0.0.1:9")
    moments = [f"2026-01-0{day}T{hour:02}" for day in (1, 2) for hour in (1, 9, 17, 23)]
    await seller.used(customer, *((f"{moment}:30", 2) for moment in moments))
    for moment in moments:
        await recorded(seller.office, f"{moment}:10:00")
        await seller.reports(f"{moment}:10:00", nowhere)
    assert seller.market(market).total == 0
    seller.market(market).now = datetime(2026, 1, 3, 2, 10, tzinfo=UTC)
    await seller.runs("2026-01-03T02:10:00")
    assert seller.market(market).total == 16
    assert all(row["synced"] for row in await records(seller.office))


async def test_what_may_have_been_taken_is_never_moved_to_another_hour(seller: Seller) -> None:
    customer, _ = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    seller.market().faults.append("done 500")
    await seller.runs("2026-01-01T01:10:00")
    seller.market().now = datetime(2026, 1, 1, 9, 10, tzinfo=UTC)
    await seller.runs("2026-01-01T09:10:00")
    assert seller.market().by_hour["01T00"] == 5
    assert seller.market().total == 5
    (report, *_) = await seller.kept()
    assert report.report_status is ReportStatus.REFUSED
    assert "nobody knows" in report.problem


@EACH
async def test_another_quantity_at_the_marketplace_is_shown(seller: Seller, market: str) -> None:
    if market == "gcp":
        pytest.skip("Google counts operations, and an operation has one quantity")
    customer, _ = await seller.sells(market)
    await seller.used(customer, ("2026-01-01T00:30", 5))
    buyer = {"aws": AWS["customer_aws_account_id"], "azure": AZURE["resource_id"]}[market]
    seller.market(market).take(buyer, "usage", datetime(2026, 1, 1, tzinfo=UTC), 4)
    await seller.runs("2026-01-01T01:10:00")
    (report,) = await seller.kept()
    assert report.report_status is ReportStatus.REFUSED
    assert "another quantity" in report.problem
    assert not (await records(seller.office))[0]["synced"]


@EACH
async def test_a_customer_who_is_not_subscribed_delays_nobody(seller: Seller, market: str) -> None:
    customer, _ = await seller.sells(market)
    other, feature = await seller.sells_more(market)
    field = {"aws": "customer_aws_account_id", "gcp": "usage_reporting_id", "azure": "resource_id"}[market]
    seller.market(market).strangers.add(BLOCKS[market][field])
    await seller.used(customer, ("2026-01-01T00:20", 3))
    await seller.office.recorded(feature["lookup_key"], other, ("2026-01-01T00:30", 5))
    await seller.runs("2026-01-01T01:10:00")
    assert seller.market(market).total == 5
    states = {report.terms[field]: report.report_status for report in await seller.kept()}
    assert states == {BLOCKS[market][field]: ReportStatus.REFUSED, f"{BLOCKS[market][field]}-2": ReportStatus.TAKEN}


async def test_a_marketplace_that_is_away_delays_no_other(seller: Seller) -> None:
    customer, subscription = await seller.sells("aws")
    office = seller.office
    await office.account.post("/connections", connection_to("azure", office.account.environment_id))
    await agree(office, subscription, "azure")
    await seller.used(customer, ("2026-01-01T00:30", 5))
    seller.market("aws").faults.append(500)
    await seller.runs("2026-01-01T01:10:00")
    assert (seller.market("aws").total, seller.market("azure").total) == (0, 5)
    (row,) = await records(office)
    assert (list(row["syncs"]), row["synced"]) == (["azure_marketplace"], False)
    await seller.reports("2026-01-01T01:20:00")
    (row,) = await records(office)
    assert (sorted(row["syncs"]), row["synced"]) == (["aws_marketplace", "azure_marketplace"], True)


async def test_a_marketplace_that_comes_later_hears_of_what_comes_later(seller: Seller) -> None:
    customer, subscription = await seller.sells("aws")
    office = seller.office
    await seller.used(customer, ("2026-01-01T00:30", 5), ("2026-01-01T05:30", 3))
    await seller.runs("2026-01-01T05:10:00")
    await office.on("2026-01-01T05:20")
    await office.account.post("/connections", connection_to("azure", office.account.environment_id))
    await agree(office, subscription, "azure")
    await seller.runs("2026-01-01T06:10:00")
    assert seller.market("azure").by_hour == {"01T05": 3}
    assert all(row["synced"] for row in await records(office))


async def test_other_currencies_are_not_reported(seller: Seller) -> None:
    office = seller.office
    feature, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("10", currency="eur"), office.usage(feature, "0.01", currency="eur"))
    subscription = await opened(office, plan, customer, currency="eur")
    await office.account.post("/connections", connection_to("aws", office.account.environment_id))
    await agree(office, subscription)
    await seller.runs("2026-01-01T01:10:00")
    rows = await records(office)
    assert receipts(rows, "aws") == ["currency_not_supported"]
    receipt = rows[0]["syncs"]["aws_marketplace"]
    assert (rows[0]["synced"], receipt["skipped"], receipt["agreement_id"]) == (True, True, AWS["license_arn"])
    assert seller.market().calls == []


@EACH
async def test_a_cancellation_reports_the_last_record_at_once_and_ends_the_mapping(seller: Seller, market: str) -> None:
    customer, subscription = await seller.sells(market)
    await seller.used(customer, ("2026-01-01T05:10", 5))
    await seller.runs("2026-01-01T05:10:00")
    await seller.office.on("2026-01-01T05:40")
    await cancel(seller.office, subscription)
    await seller.runs("2026-01-01T05:45:00")
    assert {hour: sold for hour, sold in seller.market(market).by_hour.items() if sold} == {"01T05": 5}
    account = seller.office.account
    async with account.database.transaction(account.scope, read_only=True) as session:
        states = await session.execute(select(IntegrationMapping.entity_type, IntegrationMapping.status))
        assert dict(states.all())[IntegrationEntityType.SUBSCRIPTION] is Status.ARCHIVED
        assert await is_collected_by_marketplace(session, subscription["id"]), "its invoices are still the market's"


async def test_what_is_not_taken_yet_keeps_the_mapping_of_an_ended_subscription(seller: Seller) -> None:
    customer, subscription = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:10", 5))
    await seller.office.on("2026-01-01T00:40")
    await cancel(seller.office, subscription)
    seller.market().faults.append(500)
    await seller.runs("2026-01-01T00:45:00")
    plan = await seller.office.plan(fixed("5"))
    other = await opened(seller.office, plan, await seller.office.customer())
    terms = {**AWS, "customer_aws_account_id": "210987654321", "product_code": "prod-2"}
    await agree(seller.office, other, expect=409, aws=terms)
    await seller.reports("2026-01-01T01:10:00")
    assert seller.market().total == 5
    await agree(seller.office, other, aws=terms)


async def test_a_quantity_that_is_too_large_is_split_over_hours(seller: Seller) -> None:
    customer, _ = await seller.sells(rate="12000000")
    await seller.used(customer, ("2026-01-01T00:10", 4))  # 48 million dollars are 4.8 thousand million cents
    most = LIMITS["aws_marketplace"].most
    await seller.runs("2026-01-01T01:10:00")
    assert seller.market().by_hour == {"01T00": most}
    assert not (await records(seller.office))[0]["synced"], "part of it waits for an hour"
    await seller.runs("2026-01-01T02:10:00")
    await seller.runs("2026-01-01T03:10:00")
    assert seller.market().by_hour == {"01T00": most, "01T01": most, "01T02": 4_800_000_000 - 2 * most}
    assert all(row["synced"] for row in await records(seller.office))


async def test_a_licence_is_reported_without_its_product(seller: Seller) -> None:
    customer, _ = await seller.sells(terms={"concurrent_agreements": True})
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await seller.runs("2026-01-01T01:10:00")
    ((_, body),) = seller.market().calls
    assert "ProductCode" not in body
    assert body["UsageRecords"][0]["LicenseArn"] == AWS["license_arn"]
    assert seller.market().total == 5


async def test_records_that_aws_did_not_process_are_sent_again(seller: Seller) -> None:
    customer, _ = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    seller.market().faults.append("unprocessed")
    await seller.runs("2026-01-01T01:10:00")
    assert seller.market().total == 0
    await seller.reports("2026-01-01T01:20:00")
    assert seller.market().total == 5


async def test_at_most_25_go_in_a_call(seller: Seller) -> None:
    customer, _ = await seller.sells("azure")
    other, feature = await seller.sells_more("azure")
    moments = [(f"2026-01-01T{hour:02}:30", 1) for hour in range(24)]
    await seller.used(customer, *moments)
    await seller.office.recorded(feature["lookup_key"], other, *moments)
    await seller.runs("2026-01-02T00:10:00")
    assert [len(call) for call in seller.market("azure").sent] == [25, 21], "their first hours are too old by now"
    assert seller.market("azure").total == 48


async def test_a_dimension_that_is_unknown_spoils_no_other_of_its_call(seller: Seller) -> None:
    customer, _ = await seller.sells(terms={"dimension": "unknown", "concurrent_agreements": True})
    other, feature = await seller.sells_more(terms={"dimension": "usage", "concurrent_agreements": True})
    await seller.used(customer, ("2026-01-01T00:20", 3))
    await seller.office.recorded(feature["lookup_key"], other, ("2026-01-01T00:30", 5))
    await seller.runs("2026-01-01T01:10:00")
    states = {report.terms["dimension"]: report.report_status for report in await seller.kept()}
    assert states == {"unknown": ReportStatus.REFUSED, "usage": ReportStatus.TAKEN}
    assert [len(call) for call in seller.market().sent] == [2, 1, 1]


@pytest.mark.parametrize("market", ["azure", "gcp"])
async def test_a_token_that_has_run_out_is_asked_for_again(seller: Seller, market: str) -> None:
    await seller.sells(market)
    account = seller.office.account
    async with account.database.transaction(account.scope, read_only=True) as session:
        connection = await session.scalar(select(Connection))
    assert connection is not None
    at = datetime(2026, 1, 1, tzinfo=UTC)
    async with seller.marketplaces().behind(connection) as reporter:
        assert "token" in await reporter.ask()
        seller.market(market).tokens += 1  # what was given is good no more
        (outcome,) = await reporter.send([UsageToReport("r", BLOCKS[market], at, at + HOUR, 5)])
    assert outcome.reporting_id
    names = [name for name, _ in seller.market(market).calls]
    assert names == ["token", "token", *(["check", "report"] if market == "gcp" else ["batchUsageEvent"])]


async def test_keys_that_are_refused_are_said_beside_the_reports_and_cost_nothing(seller: Seller) -> None:
    customer, _ = await seller.sells("azure")
    await seller.used(customer, ("2026-01-01T00:30", 5))
    account = seller.office.account
    connection = (await account.get("/connections"))["connections"][0]
    await account.put(f"/connections/{connection['id']}", {"encrypted_secret_data": {"client_secret": "wrong"}})
    await seller.runs("2026-01-01T01:10:00")
    (report,) = await seller.kept()
    assert (report.in_doubt, report.report_status) == (False, ReportStatus.WAITING)
    assert "invalid_client" in report.problem
    assert "wrong" not in report.problem
    await account.put(f"/connections/{connection['id']}", {"encrypted_secret_data": {"client_secret": "hidden"}})
    await seller.reports("2026-01-01T01:20:00")
    assert seller.market("azure").total == 5


async def test_without_a_connection_reports_wait_and_say_so(seller: Seller) -> None:
    customer, _ = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    account = seller.office.account
    connection = (await account.get("/connections"))["connections"][0]
    await account.delete(f"/connections/{connection['id']}")
    await seller.runs("2026-01-01T01:10:00")
    (report,) = await seller.kept()
    assert "not connected" in report.problem
    again = await account.post("/connections", connection_to("aws", account.environment_id))
    await seller.reports("2026-01-01T01:20:00")
    assert (await records(seller.office))[0]["syncs"]["aws_marketplace"]["connection_id"] == again["id"]


async def test_an_environment_with_a_test_clock_tells_nobody_now_or_later(seller: Seller) -> None:
    customer, _ = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await recorded(seller.office, "2026-01-01T01:10:00")
    account = seller.office.account
    await skip_under_test_clock(account.database, account.scope, FixedClock(seller.office.now))
    await seller.reports("2026-01-01T01:20:00")
    assert seller.market().calls == []
    assert receipts(await records(seller.office), "aws") == ["test_clock"]


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (5000, 60)])
def test_how_long_a_report_waits(attempts: int, minutes: int) -> None:
    assert wait_after(attempts).total_seconds() == 60 * minutes


async def test_tenants_have_their_own_reports(seller: Seller, stranger: Account) -> None:
    customer, _ = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await seller.runs("2026-01-01T01:10:00")
    async with stranger.database.transaction(stranger.scope, read_only=True) as session:
        for table in (UsageReport, UsageReportPart):
            assert await session.scalar(select(func.count()).select_from(table)) == 0


async def test_the_doctor_names_agreements_to_look_at(seller: Seller) -> None:
    customer, subscription = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    seller.market().strangers.add(AWS["customer_aws_account_id"])
    await seller.runs("2026-01-01T01:10:00")
    account = seller.office.account
    async with account.database.transaction(account.scope, read_only=True) as session:
        (standing,) = await agreement_standings(session, 10)
    assert standing.is_in_trouble(datetime(2026, 1, 1, 1, 20, tzinfo=UTC))
    words = agreement_in_words(standing)
    assert f"{subscription['id']} at aws_marketplace: 2026-01-01 00:00 UTC: AWS says that the customer" in words
    assert "not taken since 2026-01-01 00:00 UTC" in words
