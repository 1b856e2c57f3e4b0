"""What programs read with the session of a customer, and what it may change of itself."""

from __future__ import annotations

import httpx

from tests.account import Account
from tests.invoices.desk import Desk, usage
from tests.subscriptions.shop import fixed


async def test_a_session_reads_everything_of_its_own(account: Account) -> None:
    desk = Desk(account)
    invoice = await desk.invoice([usage("60")])
    customer = await account.get(f"/customers/{invoice['customer_id']}")
    plan = await account.post("/plans", {"name": "Pro"})
    await account.post("/prices", {**fixed("5"), "entity_type": "PLAN", "entity_id": plan["id"]})
    asked = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    subscription = await account.post("/subscriptions", asked)
    token = (await account.get(f"/customers/portal/{customer['external_id']}"))["token"]
    headers = {"x-session-token": token}
    async with httpx.AsyncClient(base_url=f"{account.base_url}/v1/customer/portal", headers=headers) as outside:

        async def answered(method: str, path: str, body: object = None) -> dict[str, object]:
            answer = await outside.request(method, path, json=body)
            assert answer.status_code == 200, answer.text
            decoded: dict[str, object] = answer.json()
            return decoded

        assert (await answered("GET", "/info"))["id"] == customer["id"]
        assert (await answered("PUT", "/info", {"name": "Mine"}))["name"] == "Mine"
        assert "theme" in await answered("GET", "/config")
        assert (await answered("POST", "/subscriptions", {}))["items"]
        assert (await answered("GET", f"/subscriptions/{subscription['id']}"))["id"] == subscription["id"]
        assert (await answered("POST", "/invoices", {}))["items"]
        assert (await answered("GET", f"/invoices/{invoice['id']}"))["id"] == invoice["id"]
        assert str((await answered("GET", f"/invoices/{invoice['id']}/pdf"))["presigned_url"]).startswith("http")
        assert (await answered("GET", "/invoices/summary"))["customer_id"] == customer["id"]
        assert (await answered("POST", "/analytics/revenue", {}))["items"] == []
        assert (await outside.post("/analytics/cost", json={})).status_code == 403
        assert (await outside.get("/subscriptions/subs_nobody")).status_code == 404


async def test_a_session_sees_nothing_that_the_merchant_notes_for_itself(account: Account) -> None:
    noted = {"metadata": {"risk": "noted-inside"}}
    customer = await account.post("/customers", {"external_id": "seen", "name": "Seen", **noted})
    meter = {"name": "Calls", "event_name": "calls", "aggregation": {"type": "COUNT"}, "reset_usage": "NEVER"}
    feature = await account.post("/features", {"name": "Calls", "type": "metered", "meter": meter, **noted})
    plan = await account.post("/plans", {"name": "Pro", **noted})
    owned = {"entity_type": "PLAN", "entity_id": plan["id"], **noted}
    for price in (fixed("5"), {**fixed("1"), "type": "USAGE", "invoice_cadence": "ARREAR"}):
        metered = {"meter_id": feature["meter_id"]} if price["type"] == "USAGE" else {}
        await account.post("/prices", {**price, **metered, **owned})
    asked = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    subscription = await account.post("/subscriptions", {**asked, **noted})
    await account.post("/events", {"event_name": "calls", "external_customer_id": "seen"}, expect=202)
    token = (await account.get("/customers/portal/seen"))["token"]
    everything = ["price", "plan", "addon", "meter", "feature", "subscription_line_item"]
    async with httpx.AsyncClient(
        base_url=f"{account.base_url}/v1/customer/portal", headers={"x-session-token": token}
    ) as outside:
        (invoice,) = (await outside.post("/invoices", json={})).json()["items"]
        for method, path, body in (
            ("GET", "/info", None),
            ("PUT", "/info", {"name": "Seen again"}),
            ("POST", "/subscriptions", {}),
            ("GET", f"/subscriptions/{subscription['id']}", None),
            ("POST", "/invoices", {}),
            ("GET", f"/invoices/{invoice['id']}", None),
            ("GET", "/usage", None),
            ("POST", "/analytics/revenue", {"expand": everything}),
        ):
            answer = await outside.request(method, path, json=body)
            assert answer.status_code == 200, answer.text
            assert "noted-inside" not in answer.text, path
            assert account.user_id not in answer.text, path
    (used,) = answer.json()["items"]
    assert (used["price"]["amount"], used["plan"]["name"], used["feature"]["name"]) == ("1", "Pro", "Calls")
