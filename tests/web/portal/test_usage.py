"""What a customer may read of its own usage, with nothing but its portal session."""

from __future__ import annotations

import httpx

from tests.account import Account


async def test_a_session_reads_its_own_usage_and_no_other(account: Account) -> None:
    meter = {"name": "Calls", "event_name": "call", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
    feature = await account.post("/features", {"name": "Calls", "type": "metered", "meter": meter})
    plan = await account.post("/plans", {"name": "Pro"})
    limit = {"entity_type": "PLAN", "entity_id": plan["id"], "feature_id": feature["id"], "feature_type": "metered"}
    await account.post(
        "/entitlements", {**limit, "usage_limit": 10, "usage_reset_period": "MONTHLY", "is_enabled": True}
    )
    price = {"entity_type": "PLAN", "entity_id": plan["id"], "type": "FIXED", "amount": "5", "currency": "usd"}
    shape = {"billing_model": "FLAT_FEE", "billing_cadence": "RECURRING", "billing_period": "MONTHLY"}
    await account.post("/prices", {**price, **shape, "invoice_cadence": "ADVANCE", "price_unit_type": "FIAT"})
    tokens = []
    for name, calls in (("a", 3), ("b", 5)):
        customer = await account.post("/customers", {"external_id": name, "name": name})
        asked = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        await account.post(
            "/subscriptions", {**asked, "start_date": "2026-01-01T00:00:00Z", "billing_cadence": "RECURRING"}
        )
        for number in range(calls):
            event = {"event_id": f"{name}{number}", "event_name": "call", "external_customer_id": name}
            await account.post("/events", event, expect=202)
        tokens.append((await account.get(f"/customers/portal/{name}"))["token"])
    async with httpx.AsyncClient(base_url=f"{account.base_url}/v1/customer/portal") as outside:
        for token, expected in zip(tokens, ("3", "5"), strict=True):
            answer = await outside.get("/usage", headers={"x-session-token": token})
            assert answer.status_code == 200, answer.text
            (used,) = answer.json()["features"]
            assert (used["current_usage"], used["total_limit"]) == (expected, 10)
        assert (await outside.get("/usage")).status_code == 401
