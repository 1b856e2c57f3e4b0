"""AWS Marketplace as `moto` has it, a server that the official client library talks to.

moto knows customers by the older name of their id and asks for a product in every call, so that it is told the older
name here, and licences are left to `documented_markets`. It keeps no record of what it took.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.core.exceptions import AccessDeniedError
from moto.meteringmarketplace.models import (
    MeteringMarketplaceBackend,
    Result,
    meteringmarketplace_backends,
)
from moto.server import ThreadedMotoServer
from moto.sts.models import STSBackend, sts_backends
from sqlalchemy import select

from farthing.marketplaces.reporting.markets.interface import MarketplaceUnavailable
from farthing.marketplaces.tables import ReportStatus
from farthing.payments.tables import Connection
from tests.marketplaces.seller import AWS, Seller, connection_to, recorded, records


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's server, which takes usage of one customer of one product."""
    asked = MeteringMarketplaceBackend.batch_meter_usage

    def with_older_names(backend: Any, product_code: str, usage_records: list[dict[str, Any]]) -> list[Result]:
        older = [{**record, "CustomerIdentifier": record["CustomerAWSAccountId"]} for record in usage_records]
        return asked(backend, product_code, older)

    monkeypatch.setattr(MeteringMarketplaceBackend, "batch_meter_usage", with_older_names)
    backend = meteringmarketplace_backends["123456789012"]["us-east-1"]
    backend.customers_by_product["prod-1"].append(AWS["customer_aws_account_id"])
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    backend.reset()


async def test_moto_takes_what_is_reported(seller: Seller, moto: str) -> None:
    customer, _ = await seller.sells()
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await recorded(seller.office, "2026-01-01T02:10:00")
    done = await seller.reports("2026-01-01T02:10:00", seller.marketplaces(moto))
    assert done == {"succeeded": 2, "failed": 0}
    assert [(report.report_status, report.quantity) for report in await seller.kept()] == [
        (ReportStatus.TAKEN, 5),
        (ReportStatus.TAKEN, 0),
    ]
    receipts = [row["syncs"]["aws_marketplace"]["reporting_id"] for row in await records(seller.office)]
    assert len({receipt for receipt in receipts if receipt}) == 2


async def test_moto_refuses_who_is_not_subscribed_and_another_quantity(seller: Seller, moto: str) -> None:
    customer, _ = await seller.sells()
    other, feature = await seller.sells_more(terms={"product_code": "prod-1-2"})
    backend = meteringmarketplace_backends["123456789012"]["us-east-1"]
    before: dict[str, Any] = {
        "Timestamp": datetime(2026, 1, 1, tzinfo=UTC).timestamp(),
        "Dimension": "usage",
        "Quantity": 4,
    }
    before["CustomerIdentifier"] = AWS["customer_aws_account_id"]
    backend.records_by_product["prod-1"].append(Result(**before))
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await seller.office.recorded(feature["lookup_key"], other, ("2026-01-01T00:30", 5))
    await recorded(seller.office, "2026-01-01T01:10:00")
    await seller.reports("2026-01-01T01:10:00", seller.marketplaces(moto))
    problems = {report.terms["product_code"]: report.problem for report in await seller.kept()}
    assert problems == {
        "prod-1": "AWS has another quantity for this hour",
        "prod-1-2": "AWS says that the customer is not subscribed to the product",
    }


async def test_moto_says_whose_key_it_is(seller: Seller, moto: str) -> None:
    await seller.sells()
    account = seller.office.account
    async with account.database.transaction(account.scope, read_only=True) as session:
        connection = await session.scalar(select(Connection))
    assert connection is not None
    async with seller.marketplaces(moto).behind(connection) as reporter:
        assert await reporter.ask() == "AWS takes the key, which is of account 123456789012"


ROLE = "arn:aws:iam::210987654321:role/metering"


async def test_a_role_of_another_account_reports(seller: Seller, moto: str) -> None:
    """The key takes on the role, with the external id that the role asks for; usage is told in the role's name."""
    customer, _ = await seller.sells()
    account = seller.office.account
    (connection,) = (await account.get("/connections"))["connections"]
    role = {"aws_role_arn": ROLE, "aws_external_id": "our-id"}
    await account.put(f"/connections/{connection['id']}", {"encrypted_secret_data": role})
    async with account.database.transaction(account.scope, read_only=True) as session:
        stored = await session.scalar(select(Connection))
    assert stored is not None
    async with seller.marketplaces(moto).behind(stored) as reporter:
        assert await reporter.ask() == "AWS takes the key, which is of account 210987654321"
    (assumed,) = [each for each in sts_backends["210987654321"]["aws"].assumed_roles if each.role_arn == ROLE][:1]
    assert assumed.external_id == "our-id"
    backend = meteringmarketplace_backends["210987654321"]["us-east-1"]
    backend.customers_by_product["prod-1"].append(AWS["customer_aws_account_id"])
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await recorded(seller.office, "2026-01-01T01:10:00")
    assert await seller.reports("2026-01-01T01:10:00", seller.marketplaces(moto)) == {"succeeded": 1, "failed": 0}
    assert [report.report_status for report in await seller.kept()] == [ReportStatus.TAKEN]


async def test_a_role_that_is_refused_is_told_and_tried_again_until_it_is_granted(
    seller: Seller, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No usage has left, so none is in doubt; after 5 minutes it is tried again, and 10 after that."""
    customer, _ = await seller.sells()
    account = seller.office.account
    (connection,) = (await account.get("/connections"))["connections"]
    await account.put(f"/connections/{connection['id']}", {"encrypted_secret_data": {"aws_role_arn": ROLE}})
    backend = meteringmarketplace_backends["210987654321"]["us-east-1"]
    backend.customers_by_product["prod-1"].append(AWS["customer_aws_account_id"])
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await recorded(seller.office, "2026-01-01T01:10:00")

    def denied(*_: Any, **__: Any) -> None:
        raise AccessDeniedError("arn:aws:iam::123456789012:user/metering", "sts:AssumeRole")

    async with account.database.transaction(account.scope, read_only=True) as session:
        stored = await session.scalar(select(Connection))
    assert stored is not None
    with monkeypatch.context() as refused:
        refused.setattr(STSBackend, "assume_role", denied)
        async with seller.marketplaces(moto).behind(stored) as reporter:
            with pytest.raises(MarketplaceUnavailable, match=r"^AWS refused the role: AccessDenied$"):
                await reporter.ask()
        for moment, attempts in (("01:10", 1), ("01:14", 1), ("01:15", 2), ("01:24", 2)):
            await seller.reports(f"2026-01-01T{moment}:00", seller.marketplaces(moto))
            (report,) = await seller.kept()
            assert (report.report_status, report.attempts, report.in_doubt) == (ReportStatus.WAITING, attempts, False)
            assert report.problem == "AWS refused the role: AccessDenied"
    assert await seller.reports("2026-01-01T01:25:00", seller.marketplaces(moto)) == {"succeeded": 1, "failed": 0}
    (report,) = await seller.kept()
    assert (report.report_status, report.quantity, report.problem) == (ReportStatus.TAKEN, 5, "")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"aws_role_arn": "metering"}, "aws_role_arn", id="a role that is no ARN"),
        pytest.param({"aws_role_arn": ROLE, "aws_external_id": "a b"}, "aws_external_id", id="an id with a blank"),
        pytest.param({"aws_external_id": "our-id"}, "aws_external_id", id="an id without a role"),
    ],
)
async def test_a_role_that_aws_cannot_know_is_refused(seller: Seller, given: dict[str, str], field: str) -> None:
    body = connection_to("aws")
    body["encrypted_secret_data"] |= given
    answer = await seller.office.account.post("/connections", body, 400)
    assert list(answer["details"]) == [f"encrypted_secret_data.{field}"]
