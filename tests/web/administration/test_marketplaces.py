"""Marketplaces on pages: connected and tried, what they were told, what they refused, and who collects an invoice."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from pypdf import PdfReader
from sqlalchemy import select

from farthing.marketplaces.reporting.planning import plan_reports
from farthing.marketplaces.tables import ReportStatus, UsageRecord, UsageReport, UsageReportPart
from farthing.payments.tables import Connection
from tests.account import Account
from tests.billing.office import Office
from tests.marketplaces.seller import AWS, agree, connection_to, recorded, secrets_of, sold
from tests.web.stage import Stage
from tests.web.visitor import Visitor


async def _refused_report(own: Stage) -> str:
    """A report that a marketplace refused, of the one record of a subscription."""
    office = await Office(own.account).set_up()
    _, _, subscription = await sold(office)
    await agree(office, subscription)
    await recorded(office, "2026-01-01T01:10:00")
    async with own.account.transaction() as session:
        await plan_reports(session, "aws_marketplace", datetime(2026, 1, 1, 1, 10, tzinfo=UTC))
    async with own.account.transaction() as session:
        report = await session.scalar(select(UsageReport))
        assert report is not None
        report.report_status, report.problem = ReportStatus.REFUSED, "AWS has another quantity for this hour"
        return report.id


async def test_what_was_refused_is_shown_and_decided(own: Stage, inside: Visitor) -> None:
    report_id = await _refused_report(own)
    page = (await inside.http.get("/usage-records")).text
    assert "AWS has another quantity for this hour" in page
    assert "sends nothing" not in page
    token = await inside.token("/usage-records")
    path = f"/usage-records/reports/{report_id}"
    answer = await inside.post(f"{path}/taken", {"form_token": token})
    assert answer.status_code == 303
    async with own.account.transaction(read_only=True) as session:
        record = await session.scalar(select(UsageRecord))
        assert record is not None
        assert record.synced
        assert record.syncs["aws_marketplace"]["agreement_id"] == AWS["license_arn"]
    page = (await inside.http.get("/usage-records")).text
    assert "another quantity" not in page
    await inside.post(f"{path}/again", {"form_token": token})
    assert "Only a report that was refused" in (await inside.http.get("/usage-records")).text


async def test_what_was_refused_is_reported_again_in_another_hour(own: Stage, inside: Visitor) -> None:
    report_id = await _refused_report(own)
    token = await inside.token("/usage-records")
    await inside.post(f"/usage-records/reports/{report_id}/again", {"form_token": token})
    async with own.account.transaction(read_only=True) as session:
        assert (await session.scalars(select(UsageReportPart))).all() == []
        report = await session.get_one(UsageReport, report_id)
        assert report.report_status is ReportStatus.RELEASED


async def test_nobody_else_decides(own: Stage, outside: Visitor, stranger: Account) -> None:
    report_id = await _refused_report(own)
    await own.admit(["all_reader"])
    await outside.sign_in(own)
    page = (await outside.http.get("/usage-records")).text
    assert "another quantity" in page
    assert "Report again" not in page
    token = await outside.token("/invoices")
    for way in ("again", "taken"):
        answer = await outside.post(f"/usage-records/reports/{report_id}/{way}", {"form_token": token})
        assert answer.status_code == 403
    async with stranger.database.transaction(stranger.scope, read_only=True) as session:
        assert await session.get(UsageReport, report_id) is None


@pytest.mark.parametrize("market", ["aws", "gcp", "azure"])
async def test_a_marketplace_is_connected_with_its_keys(own: Stage, inside: Visitor, market: str) -> None:
    token = await inside.token("/integrations/new")
    form = {"form_token": token, "name": "Ours", "provider_type": f"{market}_marketplace"}
    refused = await inside.post("/integrations/new", form)
    assert "is required" in refused.text
    keys = {f"encrypted_secret_data.{name}": value for name, value in secrets_of(market).items()}
    answer = await inside.post("/integrations/new", {**form, **keys})
    assert answer.status_code == 303, answer.text
    async with own.account.transaction(read_only=True) as session:
        connection = await session.scalar(select(Connection))
    assert connection is not None
    assert connection.provider_type.value == f"{market}_marketplace"


async def test_a_role_of_another_account_is_given_on_the_page(own: Stage, inside: Visitor) -> None:
    form = {"form_token": await inside.token("/integrations/new"), "name": "Ours", "provider_type": "aws_marketplace"}
    form |= {f"encrypted_secret_data.{name}": value for name, value in secrets_of("aws").items()}
    role = {"encrypted_secret_data.aws_role_arn": "metering", "encrypted_secret_data.aws_external_id": "our-id"}
    refused = await inside.post("/integrations/new", form | role)
    assert "must be the ARN of a role, arn:aws:iam::123456789012:role/name" in refused.text
    role["encrypted_secret_data.aws_role_arn"] = "arn:aws:iam::210987654321:role/metering"
    assert (await inside.post("/integrations/new", form | role)).status_code == 303


async def test_what_a_marketplace_said_last_stands_beside_what_waits(own: Stage, inside: Visitor) -> None:
    report_id = await _refused_report(own)
    async with own.account.transaction() as session:
        report = await session.get_one(UsageReport, report_id)
        report.report_status, report.problem = ReportStatus.WAITING, "AWS refused the role: AccessDenied"
    assert "AWS refused the role: AccessDenied" in (await inside.http.get("/usage-records")).text


@pytest.mark.parametrize(
    ("market", "change", "field"),
    [
        ("aws", {"aws_secret_access_key": ""}, "aws_secret_access_key"),
        ("azure", {"tenant_id": "../oauth"}, "tenant_id"),
        ("azure", {"client_id": "a\nb"}, "client_id"),
        ("gcp", {"service_account_key": "no JSON"}, "service_account_key"),
        ("gcp", {"service_account_key": '{"client_email": "a@b", "private_key": "no key"}'}, "service_account_key"),
        ("gcp", {"service_account_key": '{"private_key": "no address"}'}, "service_account_key"),
    ],
)
async def test_keys_that_cannot_work_are_refused(
    account: Account, market: str, change: dict[str, str], field: str
) -> None:
    body = connection_to(market)
    body["encrypted_secret_data"] |= change
    assert f"encrypted_secret_data.{field}" in str(await account.post("/connections", body, 400))


async def test_a_region_is_one_of_aws(account: Account) -> None:
    body = {**connection_to("aws"), "sync_config": {"aws_marketplace": {"region": "evil.example.com/"}}}
    assert "sync_config.aws_marketplace.region" in str(await account.post("/connections", body, 400))
    await account.post("/connections", {**body, "sync_config": {"aws_marketplace": {"region": "eu-central-1"}}})


async def test_an_invoice_says_which_marketplace_collects_it_and_is_not_paid_here(own: Stage, inside: Visitor) -> None:
    office = await Office(own.account).set_up()
    _, customer, subscription = await sold(office, "azure")
    await own.account.put("/settings/customer_portal_config", {"value": {"items": {"invoices": True, "pay": True}}})
    stripe = {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}}
    await own.account.post("/connections", stripe)
    invoice = (await own.account.get("/invoices", subscription_id=subscription["id"]))["items"][0]
    path = f"/invoices/{invoice['id']}"
    assert "collected by" not in (await inside.http.get(path)).text
    token = (await own.account.get(f"/customers/portal/{customer['external_id']}"))["token"]
    assert f"/portal/{token}{path}/pay" in (await inside.http.get(f"/portal/{token}{path}")).text
    await agree(office, subscription, "azure")
    assert "collected by Azure Marketplace" in (await inside.http.get(path)).text
    page = (await inside.http.get(f"/portal/{token}{path}")).text
    assert "Collected by Azure Marketplace" in page
    paper = (await inside.http.get(f"{path}/pdf")).content
    assert "Collected by" in PdfReader(io.BytesIO(paper)).pages[0].extract_text()
    assert f"{path}/pay" not in page
    await inside.http.post(f"/portal/{token}{path}/pay")
    assert (await own.account.get("/payments"))["pagination"]["total"] == 0
