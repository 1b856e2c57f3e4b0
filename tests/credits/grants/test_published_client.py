"""The published client through every operation of credit grants."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.billing.counter import opened
from tests.credits.grants.granting import GrantingOffice
from tests.subscriptions.shop import fixed


async def test_every_operation_of_the_published_client(office: GrantingOffice) -> None:
    client = office.account.sdk()
    grants = client.credit_grants
    plan, addon = await office.plan(fixed("10")), await office.addon(fixed("5"))
    customer = await office.customer()
    recurring = {"cadence": "RECURRING", "period": "MONTHLY", "period_count": 1, "credits": "100"}
    made = await grants.create_credit_grant_async(
        name="Monthly",
        scope="PLAN",
        plan_id=plan["id"],
        expiration_type="DURATION",
        expiration_duration=1,
        expiration_duration_unit="MONTH",
        priority=2,
        conversion_rate="2",
        metadata={"tier": "gold"},
        **recurring,
    )
    assert (made.scope, made.credits, made.period, made.priority, made.conversion_rate) == (
        "PLAN",
        "100",
        "MONTHLY",
        2,
        "2",
    )
    of_addon = await grants.create_credit_grant_async(
        name="Once", scope="ADDON", addon_id=addon["id"], cadence="ONETIME", credits="5.5", expiration_type="NEVER"
    )
    assert (await grants.get_credit_grant_async(id=of_addon.id)).credits == "5.5"
    assert [grant.id for grant in (await grants.get_plan_credit_grants_async(id=plan["id"])).items] == [made.id]
    assert [grant.id for grant in (await grants.get_addon_credit_grants_async(id=addon["id"])).items] == [of_addon.id]

    subscription = await opened(office, plan, customer)
    upcoming = await client.subscriptions.get_subscription_upcoming_grants_async(id=subscription["id"])
    (waiting,) = upcoming.items
    assert (waiting.application_status, waiting.application_reason) == ("pending", "recurring_credit_grant")
    assert waiting.scheduled_for.startswith("2025-02-01")
    of_customer = await client.customers.get_customer_upcoming_grants_async(id=customer["id"])
    assert [application.id for application in of_customer.items] == [waiting.id]

    own = await grants.create_credit_grant_async(
        name="Own",
        scope="SUBSCRIPTION",
        subscription_id=subscription["id"],
        expiration_type="NEVER",
        start_date=datetime(2025, 3, 1, tzinfo=UTC),
        **recurring,
    )
    changed = await grants.update_credit_grant_async(
        id=own.id, name="Renamed", metadata={"a": "b"}, end_date=datetime(2025, 6, 1, tzinfo=UTC)
    )
    assert (changed.name, changed.metadata, changed.end_date) == (
        "Renamed",
        {"a": "b"},
        datetime(2025, 6, 1, tzinfo=UTC),
    )
    ended = await grants.delete_credit_grant_async(id=own.id, effective_date=datetime(2025, 4, 1, tzinfo=UTC))
    assert ended.message
    assert (await grants.get_credit_grant_async(id=own.id)).end_date == datetime(2025, 4, 1, tzinfo=UTC)
    assert (await grants.delete_credit_grant_async(id=made.id)).message
    assert (await grants.get_credit_grant_async(id=made.id)).status == "archived"
