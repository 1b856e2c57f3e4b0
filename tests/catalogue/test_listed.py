"""Lists of the catalogue say what single reads of the same rows do, also of what few rows have."""

from __future__ import annotations

from tests.account import Account
from tests.catalogue.prices.asking import TIERS_A, new_plan, new_unit, price, quoted
from tests.catalogue.products.test_products import metered
from tests.invoices.listed import require_listed_as_read


async def test_features_are_listed_as_they_are_read(account: Account) -> None:
    unit = {"unit_singular": "second", "unit_plural": "seconds", "conversion_rate": "0.0010"}
    level = {"threshold": "500", "condition": "above"}
    alerts = {"alert_enabled": True, "critical": level}
    await account.post("/features", metered(reporting_unit=unit, alert_settings=alerts, metadata={"a": 'b"c'}))
    await account.post("/features", {"name": "Seats", "type": "boolean"})
    await account.post("/features", {"name": "Support", "type": "static", "unit_singular": "a", "unit_plural": "b"})
    assert await require_listed_as_read(account, "features") == 3
    assert await require_listed_as_read(account, "features", name_contains="seat") == 1


async def test_prices_are_listed_as_they_are_read(account: Account) -> None:
    plan = await new_plan(account)
    await new_unit(account)
    await account.post("/prices", price(plan))
    await account.post("/prices", price(plan, billing_model="TIERED", tier_mode="SLAB", amount=None, tiers=TIERS_A))
    package = {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 5, "round": "up"}}
    await account.post("/prices", price(plan, **package, lookup_key="package"))
    await account.post("/prices", price(plan, **{**package, "transform_quantity": {"divide_by": 5}}))
    await account.post("/prices", quoted(plan, {"price_unit": "crd", "amount": "3.50"}))
    assert await require_listed_as_read(account, "prices") == 5
    assert await require_listed_as_read(account, "prices", plan_ids=plan) == 5
    assert await require_listed_as_read(account, "prices", plan_ids=f"{plan},plan_x", order="asc") == 5
    assert await require_listed_as_read(account, "plans") == 1


async def test_entitlements_are_listed_as_they_are_read(account: Account) -> None:
    plan = await new_plan(account)
    calls = await account.post("/features", metered("Calls"))
    seats = await account.post("/features", {"name": "Seats", "type": "boolean"})
    level = await account.post("/features", {"name": "Level", "type": "static"})
    of_plan = {"entity_type": "PLAN", "entity_id": plan}
    limited = {"feature_type": "metered", "usage_limit": 2**40, "usage_reset_period": "MONTHLY", "is_soft_limit": True}
    for given in (
        {"feature_id": calls["id"], **limited},
        {"feature_id": seats["id"], "feature_type": "boolean", "is_enabled": True},
        {"feature_id": level["id"], "feature_type": "static", "static_value": "gold"},
    ):
        await account.post("/entitlements", {**of_plan, **given})
    assert await require_listed_as_read(account, "entitlements") == 3
    assert await require_listed_as_read(account, "entitlements", feature_type="static") == 1
