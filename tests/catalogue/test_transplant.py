"""The catalogue of one environment copied into another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from farthing.catalogue.transplant import TransplantResult, transplant
from farthing.core.errors import ValidationFailed
from farthing.storage.scope import Scope
from tests.account import Account
from tests.catalogue.prices.asking import new_meter, new_plan, new_unit, price, quoted, usage


class Pair:
    """A source, which is the account's environment, and an empty target with a client of its own."""

    def __init__(self, account: Account, target: str, key: str) -> None:
        self.account = account
        self.target = Scope(account.tenant_id, target, account.user_id)
        self.http = account.client(key)

    async def run(self) -> TransplantResult:
        return await transplant(self.account.database, self.account.scope, self.target)

    async def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """What the target lists, oldest first."""
        found = (await self.http.get(path, params={"order": "asc", **query})).json()["items"]
        return list(found)


@pytest.fixture
async def pair(account: Account) -> AsyncIterator[Pair]:
    target = await account.new_environment()
    pair = Pair(account, target, await account.new_key(["all_writer"], environment_id=target))
    async with pair.http:
        yield pair


async def _catalogue(account: Account) -> tuple[dict[str, Any], str]:
    group = await account.post("/groups", {"name": "AI", "entity_type": "feature", "lookup_key": "ai"})
    meter = await new_meter(account)
    asked = {"name": "Tokens", "type": "metered", "meter_id": meter, "group_id": group["id"]}
    feature = await account.post("/features", asked)
    plan = await new_plan(account, lookup_key="pro")
    await account.post("/prices", usage(plan, meter, lookup_key="tokens"))
    ended = await account.post("/prices", price(plan))
    await account.delete(f"/prices/{ended['id']}", expect=200)
    await account.post("/entitlements", {"plan_id": plan, "feature_id": feature["id"], "feature_type": "metered"})
    grant: dict[str, Any] = {
        "name": "Included",
        "scope": "PLAN",
        "plan_id": plan,
        "credits": "12.5",
        "cadence": "RECURRING",
    }
    grant |= {"period": "MONTHLY", "period_count": 2, "expiration_type": "DURATION", "rollover_maximum": "3"}
    await account.post("/creditgrants", {**grant, "expiration_duration": 1, "expiration_duration_unit": "YEAR"})
    return feature, plan


async def test_features_and_plans_arrive_with_all_that_they_need(account: Account, pair: Pair) -> None:
    feature, plan = await _catalogue(account)
    outcome = await pair.run()
    assert outcome == TransplantResult(features_cloned=[feature["id"]], plans_cloned=[plan])
    (copy,) = await pair.items("/features", expand="meters")
    assert copy["id"] != feature["id"]
    assert copy["meter"]["aggregation"] == feature["meter"]["aggregation"]
    assert copy["metadata"] == {
        "source_environment_feature_id": feature["id"],
        "source_environment_id": account.environment_id,
    }
    (arrived,) = await pair.items("/plans", expand="prices,entitlements,credit_grant")
    (granted,) = arrived["credit_grants"]
    assert (granted["credits"], granted["period_count"], granted["rollover_maximum"]) == ("12.5", 2, "3")
    assert (granted["plan_id"], granted["environment_id"]) == (arrived["id"], pair.target.environment_id)
    assert arrived["metadata"]["source_environment_plan_id"] == plan
    assert [(price["lookup_key"], price["meter_id"]) for price in arrived["prices"]] == [("tokens", copy["meter_id"])]
    assert [entitlement["feature_id"] for entitlement in arrived["entitlements"]] == [copy["id"]]
    assert arrived["environment_id"] == copy["environment_id"] == pair.target.environment_id


async def test_a_second_run_changes_nothing_even_without_keys(account: Account, pair: Pair) -> None:
    feature, plan = await _catalogue(account)
    keyless = await new_plan(account)
    await pair.run()
    again = await pair.run()
    assert again == TransplantResult(features_skipped=[feature["id"]], plans_skipped=[plan, keyless])
    assert len(await pair.items("/plans")) == 2


async def test_what_the_target_has_under_the_same_key_is_used(account: Account, pair: Pair) -> None:
    feature, plan = await _catalogue(account)
    meter = {"name": "M", "event_name": "e", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
    theirs = {"name": "Theirs", "lookup_key": feature["lookup_key"], "type": "metered", "meter": meter}
    own = (await pair.http.post("/features", json=theirs)).json()
    outcome = await pair.run()
    assert (outcome.features_skipped, outcome.plans_cloned) == ([feature["id"]], [plan])
    (arrived,) = await pair.items("/plans", expand="prices")
    assert arrived["prices"][0]["meter_id"] == own["meter_id"]


async def test_a_plan_that_lacks_something_fails_as_a_whole_and_the_rest_go_on(account: Account, pair: Pair) -> None:
    loose = await new_plan(account, name="Loose")
    await account.post("/prices", price(loose))
    await account.post("/prices", usage(loose, await new_meter(account)))
    await new_unit(account)
    foreign = await new_plan(account, name="Foreign")
    await account.post("/prices", quoted(foreign, {"price_unit": "crd", "amount": "1"}))
    fine = await new_plan(account, name="Fine")
    outcome = await pair.run()
    assert outcome.plans_cloned == [fine]
    assert [(error.entity_type, error.entity_id, error.entity_name) for error in outcome.errors] == [
        ("plan", loose, "Loose"),
        ("plan", foreign, "Foreign"),
    ]
    assert "meter_id" in outcome.errors[0].reason
    assert "crd" in outcome.errors[1].reason
    assert await pair.items("/prices") == []


async def test_an_environment_is_not_copied_into_itself(account: Account) -> None:
    with pytest.raises(ValidationFailed):
        await transplant(account.database, account.scope, account.scope)
