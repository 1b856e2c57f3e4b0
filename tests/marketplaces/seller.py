"""Selling through a marketplace: agreements, records of usage, and what the marketplaces were told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select

from farthing.core.clock import FixedClock
from farthing.marketplaces.records import UsageRecordSweep
from farthing.marketplaces.reporting.markets.opening import Marketplaces
from farthing.marketplaces.reporting.run import report_environment
from farthing.marketplaces.tables import UsageReport
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.marketplaces.documented_markets import DocumentedMarkets, Market
from tests.subscriptions.shop import fixed

Body = dict[str, Any]

AWS = {
    "product_code": "prod-1",
    "license_arn": "arn:aws:license-manager::123456789012:license:l-1",
    "customer_aws_account_id": "123456789012",
    "dimension": "usage",
}
GCP = {"service_name": "farthing.example", "usage_reporting_id": "u-1", "metric_name": "m", "account_id": "a-1"}
AZURE = {"plan_id": "gold", "dimension": "usage", "resource_id": "r-1", "beneficiary_account_id": "b-1"}
BLOCKS: Mapping[str, Body] = {"aws": AWS, "gcp": GCP, "azure": AZURE}


@cache
def service_key() -> rsa.RSAPrivateKey:
    """The private key of service accounts in tests; making one takes a while."""
    return rsa.generate_private_key(65537, 2048)


def secrets_of(market: str, account: str = "seller") -> Body:
    """What a connection to a marketplace is entered with."""
    if market == "aws":
        return {"aws_access_key_id": account, "aws_secret_access_key": "hidden"}
    if market == "azure":
        return {"tenant_id": "contoso.example", "client_id": account, "client_secret": "hidden"}
    pem = service_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {"service_account_key": json.dumps({"client_email": account, "private_key_id": "k1", "private_key": pem})}


def connection_to(market: str, account: str = "seller") -> Body:
    """The body of a connection to a marketplace."""
    name = f"{market}_marketplace"
    return {"name": name, "provider_type": name, "encrypted_secret_data": secrets_of(market, account)}


async def sold(office: Office, provider: str = "aws", rate: str = "0.01", **more: Any) -> tuple[Body, Body, Body]:
    """Feature, customer and an active subscription with an agreement, its marketplace connected."""
    feature = await office.feature("calls")
    customer = await office.customer()
    period = {"billing_period": more.get("billing_period", "MONTHLY")}
    plan = await office.plan(fixed("10", **period), office.usage(feature, rate, **period))
    subscription = await opened(office, plan, customer, **more)
    await office.account.post("/connections", connection_to(provider, office.account.environment_id))
    return feature, customer, subscription


def agreement(subscription: Body, market: str = "aws", **more: Any) -> Body:
    """The body of an agreement."""
    return {
        "provider": f"{market}_marketplace",
        "subscription_id": subscription["id"],
        "customer_id": subscription["customer_id"],
        "plan_id": subscription["plan_id"],
        market: BLOCKS[market],
        **more,
    }


async def agree(office: Office, subscription: Body, market: str = "aws", expect: int = 201, **more: Any) -> Body:
    """Let a subscription stand for an agreement."""
    body = agreement(subscription, market, **more)
    answer: Body = await office.account.post("/marketplace/agreements", body, expect)
    return answer


async def recorded(office: Office, moment: str) -> None:
    """Let the duty write all records it has to by a moment."""
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    sweep, done = UsageRecordSweep(), 1
    while done:
        async with office.account.database.session(office.account.scope, clock=FixedClock(at)) as session:
            done = await sweep.record_due(session, at)
            await session.commit()


async def records(office: Office, **query: Any) -> list[Body]:
    """Oldest first."""
    body = {"limit": 1000, "sort": [{"field": "period_start", "direction": "asc"}], **query}
    items: list[Body] = (await office.account.post("/usage-records/search", body, 200))["items"]
    return items


@dataclass
class Seller:
    """A company whose marketplaces are on this machine. `sells` makes what the rest is about."""

    office: Office
    markets: DocumentedMarkets
    feature: str = ""

    def market(self, market: str = "aws") -> Market:
        """The company's account at a marketplace."""
        found = self.markets.market(market, self.office.account.environment_id)
        found.public_key = service_key().public_key()
        return found

    async def sells(
        self, market: str = "aws", terms: Mapping[str, Any] | None = None, **more: Any
    ) -> tuple[Body, Body]:
        """A customer and the subscription that stands for an agreement."""
        self.market(market)  # Google knows the key before it is used
        feature, customer, subscription = await sold(self.office, market, **more)
        self.feature = feature["lookup_key"]
        blocks: Body = {market: {**BLOCKS[market], **(terms or {})}}
        await agree(self.office, subscription, market, **blocks)
        return customer, subscription

    async def sells_more(self, market: str = "aws", terms: Mapping[str, Any] | None = None) -> tuple[Body, Body]:
        """Another customer with an agreement of its own, using the same feature."""
        office = self.office
        customer = await office.customer()
        feature = await office.feature("more calls")
        subscription = await opened(office, await office.plan(fixed("10"), office.usage(feature, "0.01")), customer)
        own = {name: f"{value}-2" for name, value in BLOCKS[market].items()}
        blocks: Body = {market: {**own, **(terms or {})}}
        await agree(office, subscription, market, **blocks)
        return customer, feature

    async def used(self, customer: Body, *seen: tuple[str, int]) -> None:
        """So many events at each moment."""
        await self.office.recorded(self.feature, customer, *seen)

    async def runs(self, moment: str) -> Mapping[str, int]:
        """Let the duty record and report at a moment."""
        await recorded(self.office, moment)
        return await self.reports(moment)

    async def reports(self, moment: str, marketplaces: Marketplaces | None = None) -> Mapping[str, int]:
        """Let the reporters go at a moment."""
        at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        account = self.office.account
        opened = marketplaces or self.marketplaces()
        return await report_environment(account.database, account.scope, opened, FixedClock(at))

    def marketplaces(self, url: str | None = None) -> Marketplaces:
        """The way to the marketplaces of tests."""
        urls = {f"{name}_marketplace": url or self.markets.url for name in BLOCKS}
        settings = msgspec.structs.replace(self.office.account.settings, provider_urls=json.dumps(urls))
        return Marketplaces(self.office.account.database, settings)

    async def kept(self) -> list[UsageReport]:
        """The reports that are stored, oldest hour first."""
        account = self.office.account
        async with account.database.transaction(account.scope, read_only=True) as session:
            return list(await session.scalars(select(UsageReport).order_by(UsageReport.hour, UsageReport.id)))
