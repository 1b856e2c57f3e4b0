"""Credit grants over HTTP: what subscriptions are given, when, how often and how long it lasts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.counter import cancel, opened
from tests.credits.grants.granting import MONTHLY, ONCE, GrantingOffice
from tests.subscriptions.shop import fixed

OWN = {**MONTHLY, "scope": "SUBSCRIPTION"}


# --- when, how many, how long -----------------------------------------------------------------------------------------


async def test_a_month_after_the_31st_is_the_last_day_of_february(office: GrantingOffice) -> None:
    terms = {"expiration_type": "DURATION", "expiration_duration": 1, "expiration_duration_unit": "MONTH"}
    made = await office.started("2025-01-31", await office.granting_plan(**terms, priority=3))
    await office.moved("2025-04-29")
    assert await office.became(made) == [
        "01-31 applied 100",
        "02-28 applied 100",
        "03-31 applied 100",
        "04-30 pending 100",
    ]
    lots = await office.lots(made)
    assert [lot["expiry_date"][:10] for lot in lots] == ["2025-02-28", "2025-03-28", "2025-04-30"]
    applications = await office.applications(made)
    assert [lot["idempotency_key"] for lot in lots] == [row["id"] for row in applications[:3]]
    assert {lot["priority"] for lot in lots} == {3}
    first = applications[0]
    assert lots[0]["metadata"] == {
        "grant_id": first["credit_grant_id"],
        "subscription_id": made["id"],
        "cga_id": first["id"],
    }
    reasons = [row["application_reason"] for row in applications]
    assert reasons == ["first_time_recurring_credit_grant", *["recurring_credit_grant"] * 3]
    assert await office.differences() == []


@pytest.mark.parametrize(
    ("expiration", "became", "balance"),
    [
        ("NEVER", ["01-01 applied", "02-01 applied", "03-01 applied", "04-01 applied", "05-01 pending"], "400"),
        ("BILLING_CYCLE", ["01-01 skipped", "02-01 skipped", "03-01 skipped", "04-01 applied", "05-01 pending"], "100"),
    ],
)
async def test_a_start_in_the_past_is_caught_up(
    office: GrantingOffice, expiration: str, became: list[str], balance: str
) -> None:
    plan = await office.granting_plan(expiration_type=expiration)
    made = await office.started("2025-04-10", plan, start_date="2025-01-01T00:00:00Z")
    assert [row.rsplit(" ", 1)[0] for row in await office.became(made)] == became
    assert await office.balance(made) == balance
    assert await office.differences() == []


async def test_more_than_a_hundred_periods_are_caught_up_by_the_sweep(office: GrantingOffice) -> None:
    plan = await office.granting_plan(period="DAILY", credits="1")
    made = await office.started("2025-06-01", plan, start_date="2025-01-01T00:00:00Z")
    assert await office.balance(made) == "100"
    assert (await office.swept()).counts()["succeeded"] == 52
    assert (await office.swept()).counts()["succeeded"] == 0
    assert await office.balance(made) == "152"


@pytest.mark.parametrize(
    ("terms", "until", "balance"),
    [
        pytest.param(ONCE, "2025-06-01", "25", id="once"),
        pytest.param({"period": "WEEKLY", "credits": "1.5"}, "2025-02-01", "7.5", id="weekly"),
        pytest.param({"period": "DAILY", "period_count": 3}, "2025-01-10", "400", id="every third day"),
        pytest.param({"period": "QUARTERLY"}, "2025-07-01", "300", id="quarterly"),
        pytest.param({"period": "ANNUAL"}, "2025-12-31", "100", id="annual"),
    ],
)
async def test_each_rhythm(office: GrantingOffice, terms: dict[str, Any], until: str, balance: str) -> None:
    body = {**OWN, **terms, "scope": "SUBSCRIPTION"}
    if terms is ONCE:
        del body["period"], body["period_count"]
    made = await office.started("2025-01-01", await office.plan(fixed("10")), credit_grants=[body])
    await office.moved(until)
    assert await office.balance(made) == balance
    assert await office.differences() == []


async def test_months_are_those_of_the_customers_time_zone(office: GrantingOffice) -> None:
    customer = await office.customer(timezone="America/New_York")
    await office.on("2025-01-31T05:00")
    made = await opened(office, await office.granting_plan(), customer)
    await office.moved("2025-04-10")
    assert [row["period_start"] for row in await office.applications(made)] == [
        "2025-01-31T05:00:00Z",
        "2025-02-28T05:00:00Z",
        "2025-03-31T04:00:00Z",
        "2025-04-30T04:00:00Z",
    ]


# --- templates and copies ---------------------------------------------------------------------------------------------


async def test_a_plans_grants_are_copied_and_later_changes_do_not_touch_copies(office: GrantingOffice) -> None:
    plan = await office.plan(fixed("10"))
    template = await office.grant(plan, metadata={"tier": "gold"})
    made = await office.started("2025-01-01", plan)
    await office.account.put(f"/creditgrants/{template['id']}", {"name": "Renamed"})
    await office.account.delete(f"/creditgrants/{template['id']}", expect=200)
    (copy,) = (await office.account.get(f"/subscriptions/{made['id']}"))["credit_grants"]
    assert (copy["name"], copy["scope"], copy["plan_id"]) == ("Monthly credits", "SUBSCRIPTION", plan["id"])
    assert (copy["metadata"], copy["start_date"]) == ({"tier": "gold"}, "2025-01-01T00:00:00Z")
    assert (await office.account.get(f"/plans/{plan['id']}", expand="credit_grant"))["credit_grants"] == []
    assert (await office.account.get(f"/creditgrants/{template['id']}"))["status"] == "archived"
    await office.moved("2025-02-15")
    assert await office.balance(made) == "200"
    later = await opened(office, plan)
    assert await office.balance(later) == "none"


async def test_named_grants_stand_in_for_the_plans_and_an_empty_list_for_none(office: GrantingOffice) -> None:
    plan = await office.granting_plan()
    own = await opened(office, plan, credit_grants=[{**ONCE, "scope": "SUBSCRIPTION"}])
    nothing = await opened(office, plan, credit_grants=[])
    assert [await office.balance(wallet) for wallet in (own, nothing)] == ["25", "none"]
    wrong = {**ONCE, "scope": "PLAN", "plan_id": plan["id"]}
    refused = await opened(office, plan, credit_grants=[wrong], expect=400)
    assert "scope" in str(refused["details"])


async def test_a_copied_plan_has_copies_of_its_grants(office: GrantingOffice) -> None:
    plan = await office.granting_plan(priority=2)
    copy = await office.account.post(f"/plans/{plan['id']}/clone", {"name": "Copy", "lookup_key": "copy"})
    (grant,) = copy["credit_grants"]
    assert (grant["credits"], grant["priority"], grant["plan_id"]) == ("100", 2, copy["id"])
    listed = await office.account.get(f"/plans/{copy['id']}/creditgrants")
    assert [item["id"] for item in listed["items"]] == [grant["id"]]


async def test_a_wallet_is_made_with_the_grants_rates_and_then_used_again(office: GrantingOffice) -> None:
    plan = await office.granting_plan(conversion_rate="0.5", topup_conversion_rate="0.4")
    made = await office.started("2025-01-01", plan)
    wallet = await office.wallet(made["customer_id"])
    assert wallet is not None
    assert (wallet["conversion_rate"], wallet["topup_conversion_rate"], wallet["balance"]) == ("0.5", "0.4", "50")
    assert wallet["config"] == {"allowed_price_types": ["USAGE"]}
    customer = {"id": made["customer_id"]}
    again = await opened(office, plan, customer)
    assert await office.balance(again) == "200"
    assert len(await office.account.get(f"/customers/{made['customer_id']}/wallets")) == 1


# --- addons -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "credits", "given"),
    [
        pytest.param("2025-01-20", "100", "38.70967742", id="twelve of 31 days"),
        pytest.param("2025-01-31T23:59:30", "1", "0.0000112", id="30 seconds"),
        pytest.param("2025-01-01", "100", "100", id="at the start of the period"),
        pytest.param("2025-01-16T12:00", "62", "31", id="half"),
    ],
)
async def test_an_addon_attached_in_mid_period_brings_its_share(
    office: GrantingOffice, moment: str, credits: str, given: str
) -> None:
    made = await office.started("2025-01-01", await office.plan(fixed("10")))
    addon = await office.addon(fixed("5"))
    await office.grant(addon, credits=credits)
    await office.on(moment)
    await office.account.post(
        "/subscriptions/addon", {"subscription_id": made["id"], "addon_id": addon["id"]}, expect=200
    )
    assert await office.balance(made) == given
    first, following = await office.applications(made)
    assert (first["period_end"], following["period_start"]) == ("2025-02-01T00:00:00Z", "2025-02-01T00:00:00Z")
    assert (following["period_end"], following["credits"]) == ("2025-03-01T00:00:00Z", credits)
    if moment == "2025-01-20":
        assert first["metadata"] == {
            "proration_applied": "true",
            "proration_coefficient": "0.3870967741935484",
            "proration_original_credits": "100",
            "proration_period_start": "2025-01-01T00:00:00Z",
            "proration_period_end": "2025-02-01T00:00:00Z",
            "proration_date": "2025-01-20T00:00:00Z",
            "proration_strategy": "second_based",
            "proration_source": "addon_attachment",
        }
    assert await office.differences() == []


async def test_a_share_of_nothing_is_skipped_and_the_next_period_is_whole(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01", await office.plan(fixed("10")))
    addon = await office.addon(fixed("5"))
    await office.grant(addon, credits="0.000000001")
    await office.on("2025-01-31")
    await office.account.post(
        "/subscriptions/addon", {"subscription_id": made["id"], "addon_id": addon["id"]}, expect=200
    )
    await office.moved("2025-02-02")
    assert await office.became(made) == [
        "01-31 skipped 0",
        "02-01 applied 0.000000001",
        "03-01 pending 0.000000001",
    ]


async def test_a_detached_addon_takes_only_its_own_grants_along(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01")
    addon = await office.addon(fixed("5"))
    await office.grant(addon, credits="7")
    attached = await office.account.post(
        "/subscriptions/addon", {"subscription_id": made["id"], "addon_id": addon["id"]}, expect=200
    )
    twin = await office.account.post(
        "/subscriptions/addon", {"subscription_id": made["id"], "addon_id": addon["id"]}, expect=200
    )
    assert await office.balance(made) == "114"
    association = attached.get("id") or attached["addon_association_id"]
    assert association != (twin.get("id") or twin["addon_association_id"])
    http = office.account.http
    answer = await http.request("DELETE", "/subscriptions/addon", json={"addon_association_id": association})
    assert answer.status_code == 200, answer.text
    await office.moved("2025-02-02")
    assert await office.balance(made) == "221"


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_a_wallet_with_other_rates_is_named_and_tried_again(office: GrantingOffice) -> None:
    customer = await office.customer()
    wallet = {"customer_id": customer["id"], "currency": "usd", "conversion_rate": "2"}
    made_wallet = await office.account.post("/wallets", wallet, expect=200)
    made = await opened(office, await office.granting_plan(conversion_rate="1"), customer)
    (failed,) = await office.applications(made)
    assert (failed["application_status"], failed["retry_count"]) == ("failed", 1)
    assert failed["failure_reason"] == f"the wallet {made_wallet['id']} has another conversion_rate (2) than the grant"
    swept = await office.swept("2025-01-01T00:15")
    assert (swept.counts()["failed"], list(swept.failed)) == (1, [failed["id"]])
    await office.account.post(f"/wallets/{made_wallet['id']}/terminate", expect=200)
    assert (await office.swept("2025-01-02")).counts()["succeeded"] == 1
    assert await office.became(made) == ["01-01 applied 100", "02-01 pending 100"]


async def test_a_frozen_wallet_takes_what_it_missed_later(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01")
    wallet = await office.wallet(made["customer_id"])
    assert wallet is not None
    await office.account.post(f"/wallets/{wallet['id']}/freeze", expect=200)
    await office.swept("2025-02-01")
    assert (await office.became(made))[-1] == "02-01 failed 100"
    await office.account.post(f"/wallets/{wallet['id']}/unfreeze", expect=200)
    await office.swept("2025-03-02")
    assert await office.balance(made) == "300"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"credits": "0"}, "credits"),
    ({"credits": "-1"}, "credits"),
    ({"credits": "0.0000000001"}, "credits"),
    ({"scope": "WORLD"}, "scope"),
    ({"plan_id": None}, "plan_id"),
    ({"addon_id": "addon_1"}, "addon_id"),
    ({"subscription_id": "subs_1"}, "subscription_id"),
    ({"expiration_type": None}, "expiration_type"),
    ({"period": None}, "period"),
    ({"period_count": 0}, "period_count"),
    ({"period_count": None}, "period_count"),
    ({"expiration_type": "DURATION"}, "expiration_duration"),
    ({"expiration_type": "DURATION", "expiration_duration": 1}, "expiration_duration_unit"),
    ({"expiration_type": "DURATION", "expiration_duration": 0, "expiration_duration_unit": "DAY"}, "expiration_"),
    ({"conversion_rate": "0"}, "conversion_rate"),
    ({"topup_conversion_rate": "-1"}, "topup_conversion_rate"),
    ({"start_date": "2025-01-01T00:00:00Z"}, "start_date"),
    ({"end_date": "2025-01-01T00:00:00Z"}, "end_date"),
    ({"priority": -1}, "priority"),
    ({"rollover_maximum": "-1"}, "rollover_maximum"),
]
"""What is wrong with a body, and the field that the answer names."""


async def test_what_is_wrong_is_named(office: GrantingOffice) -> None:
    plan = await office.plan(fixed("10"))
    for terms, field in REFUSED:
        body = {**MONTHLY, "scope": "PLAN", "plan_id": plan["id"], **terms}
        given = {name: value for name, value in body.items() if value is not None}
        refused = await office.account.post("/creditgrants", given, expect=400)
        assert refused["code"] == "validation_error"
        assert any(name.startswith(field) for name in refused["details"]), (terms, refused)


async def test_owners_must_exist_be_published_and_live(office: GrantingOffice) -> None:
    await office.grant({"id": "plan_none"}, expect=404)
    await office.grant({"id": "addon_none"}, expect=404)
    await office.grant({"id": "subs_none"}, expect=404)
    plan = await office.plan(fixed("10"))
    made = await office.started("2025-01-10", plan)
    refused = await office.grant(made, start_date="2025-01-01T00:00:00Z", expect=400)
    assert "start_date" in refused["details"]
    await cancel(office, made)
    await office.grant(made, expect=400)
    await office.account.delete(f"/plans/{plan['id']}", expect=200)
    await office.grant(plan, expect=400)


async def test_the_grants_of_a_plan_have_the_same_rates(office: GrantingOffice) -> None:
    plan = await office.granting_plan(conversion_rate="2")
    assert "conversion_rate" in (await office.grant(plan, expect=400))["details"]
    await office.grant(plan, conversion_rate="2")


# --- lists, changes, ends ---------------------------------------------------------------------------------------------


async def test_grants_are_listed_by_what_they_are_of(office: GrantingOffice) -> None:
    plan, addon = await office.granting_plan(), await office.addon(fixed("5"))
    of_addon = await office.grant(addon)
    made = await opened(office, plan)
    listed = (await office.account.get("/creditgrants", plan_ids=plan["id"]))["items"]
    assert sorted(grant["scope"] for grant in listed) == ["PLAN", "SUBSCRIPTION"]
    for query, scopes in (
        ({"scope": "PLAN"}, ["PLAN"]),
        ({"addon_ids": addon["id"]}, ["ADDON"]),
        ({"subscription_ids": made["id"]}, ["SUBSCRIPTION"]),
        ({"credit_grant_ids": of_addon["id"]}, ["ADDON"]),
    ):
        assert [item["scope"] for item in (await office.account.get("/creditgrants", **query))["items"]] == scopes
    page = await office.account.get("/creditgrants", limit=2)
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 2}
    of_owner = await office.account.get(f"/addons/{addon['id']}/creditgrants")
    assert [item["id"] for item in of_owner["items"]] == [of_addon["id"]]


async def test_upcoming_grants_come_soonest_first(office: GrantingOffice) -> None:
    customer = await office.customer()
    path = f"/customers/{customer['id']}/grants/upcoming"
    assert (await office.account.get(path))["items"] == []
    plan = await office.granting_plan()
    await office.grant(plan, period="WEEKLY", credits="5")
    made = await opened(office, plan, customer)
    for shown in (path, f"/subscriptions/{made['id']}/grants/upcoming"):
        items = (await office.account.get(shown))["items"]
        assert [(item["scheduled_for"][:10], item["credits"]) for item in items] == [
            ("2025-01-08", "5"),
            ("2025-02-01", "100"),
        ]
    await cancel(office, made)
    await office.account.get(f"/subscriptions/{made['id']}/grants/upcoming", expect=404)
    assert (await office.account.get(path))["items"] == []


async def test_a_deleted_grant_of_a_subscription_ends_and_stays_published(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01")
    (grant,) = (await office.account.get(f"/subscriptions/{made['id']}"))["credit_grants"]
    path = f"/creditgrants/{grant['id']}"
    refused = await office.account.put(path, {"end_date": "2024-12-01T00:00:00Z"}, expect=400)
    assert "end_date" in refused["details"]
    await office.account.put(path, {"name": "Renamed", "end_date": "2025-03-15T00:00:00Z"})
    await office.moved("2025-02-02")
    answer = await office.account.http.request("DELETE", path, json={"effective_date": "2025-02-20T00:00:00Z"})
    assert (answer.status_code, list(answer.json())) == (200, ["message"])
    shown = await office.account.get(path)
    assert (shown["status"], shown["end_date"], shown["name"]) == ("published", "2025-02-20T00:00:00Z", "Renamed")
    await office.moved("2025-05-02")
    assert await office.became(made) == ["01-01 applied 100", "02-01 applied 100"]


# --- rollover ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maximum", "used", "balance"),
    [
        pytest.param("30", "20", "130", id="30 of the 80 that are left stay"),
        pytest.param("0", "20", "100", id="reset to the grant's credits"),
        pytest.param("90", "20", "180", id="all 80 are below the maximum"),
        pytest.param(None, "20", "180", id="all are carried over"),
        pytest.param("30", "100", "100", id="nothing is left"),
    ],
)
async def test_rollover(office: GrantingOffice, maximum: str | None, used: str, balance: str) -> None:
    terms = {} if maximum is None else {"rollover_maximum": maximum}
    made = await office.started("2025-01-01", await office.granting_plan(**terms))
    wallet = await office.wallet(made["customer_id"])
    assert wallet is not None
    debit = {"credits": used, "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": "used"}
    await office.on("2025-01-15")
    await office.account.post(f"/wallets/{wallet['id']}/debit", debit, expect=200)
    await office.moved("2025-02-05")
    assert await office.balance(made) == balance
    assert await office.differences() == []


async def test_what_is_not_granted_never_rolls_away(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01", await office.granting_plan(rollover_maximum="0"))
    wallet = await office.wallet(made["customer_id"])
    assert wallet is not None
    free = {"credits_to_add": "40", "transaction_reason": "FREE_CREDIT_GRANT"}
    await office.account.post(f"/wallets/{wallet['id']}/top-up", free, expect=200)
    await office.moved("2025-02-05")
    assert await office.balance(made) == "140"
