"""What somebody who has a link to the portal can reach with it: their own books, and no others."""

from __future__ import annotations

import jwt

from farthing.customers import portal
from farthing.identity.credentials.keys import derived_key
from tests.invoices.desk import Desk, usage
from tests.web.stage import Stage
from tests.web.visitor import Visitor


class TestPortal:
    """One customer's link shows that customer alone."""

    async def _link(self, own: Stage, customer_id: str) -> str:
        customer = await own.account.get(f"/customers/{customer_id}")
        return str((await own.account.get(f"/customers/portal/{customer['external_id']}"))["token"])

    async def test_another_customers_invoice_is_missing(self, own: Stage, outside: Visitor) -> None:
        desk = Desk(own.account)
        mine, theirs = await desk.invoice([usage("60")]), await desk.invoice([usage("70")])
        draft = await desk.invoice([usage("80")], customer=mine["customer_id"], invoice_status="DRAFT")
        token = await self._link(own, mine["customer_id"])
        assert (await outside.http.get(f"/portal/{token}/invoices/{mine['id']}")).status_code == 200
        for id in (theirs["id"], draft["id"], "inv_nothing"):
            missing = await outside.http.get(f"/portal/{token}/invoices/{id}")
            assert missing.status_code == 404
            assert (await outside.http.get(f"/portal/{token}/invoices/{id}/pdf")).status_code == 404
            assert (await outside.post(f"/portal/{token}/invoices/{id}/pay")).status_code in {303, 404}
            for path in (f"/v1/customer/portal/invoices/{id}", f"/v1/customer/portal/invoices/{id}/pdf"):
                answer = await outside.http.get(path, headers={"x-session-token": token})
                assert answer.status_code == 404
        assert (await own.account.get("/payments"))["items"] == []

    async def test_somebody_elses_payment_page_is_missing(self, own: Stage, outside: Visitor) -> None:
        await own.account.post("/connections", {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}})
        desk = Desk(own.account)
        mine, theirs = await desk.invoice([usage("60")]), await desk.invoice([usage("70")])
        their_token = await self._link(own, theirs["customer_id"])
        answer = await outside.post(f"/portal/{their_token}/invoices/{theirs['id']}/pay")
        page_id = answer.headers["location"].rsplit("/", 1)[-1]
        token = await self._link(own, mine["customer_id"])
        assert (await outside.http.get(f"/portal/{token}/test-payment/{page_id}")).status_code == 404
        assert (await outside.post(f"/portal/{token}/test-payment/{page_id}", {"action": "pay"})).status_code == 404
        assert (await own.account.get(f"/invoices/{theirs['id']}"))["amount_paid"] == "0"

    async def test_only_a_live_portal_token_opens_it(self, own: Stage, outside: Visitor) -> None:
        customer_id = await Desk(own.account).customer()
        token = await self._link(own, customer_id)
        claims = jwt.decode(token, options={"verify_signature": False})
        master = own.account.settings.master_key()
        key = derived_key(master, portal.KEY_PURPOSE)
        bad = [
            jwt.encode(claims, "another key of thirty-two bytes long", "HS256"),
            jwt.encode({**claims, "exp": 1}, key, "HS256"),
            jwt.encode({**claims, "typ": "user"}, key, "HS256"),
            jwt.encode({**claims, "environment_id": "env_other"}, key, "HS256"),
            jwt.encode({**claims, "customer_id": 7}, key, "HS256"),
            jwt.encode({k: v for k, v in claims.items() if k != "exp"}, key, "HS256"),
            jwt.encode(claims, derived_key(master, "user-tokens"), "HS256"),
            "x",
        ]
        for forged in bad:
            page = await outside.http.get(f"/portal/{forged}")
            assert (page.status_code, page.headers["content-type"][:9]) == (401, "text/html")
            answer = await outside.http.get("/v1/customer/portal/info", headers={"x-session-token": forged})
            assert answer.status_code == 401
            assert answer.json()["message"] == "Invalid or expired session token"
        nothing = await outside.http.get("/v1/customer/portal/info")
        assert (nothing.status_code, nothing.json()["message"]) == (401, "Session token required")
        assert (await outside.http.get("/portal")).status_code == 401
        await own.account.delete(f"/customers/{customer_id}")
        assert (await outside.http.get(f"/portal/{token}")).status_code == 401

    async def test_the_address_is_told_to_nobody(self, own: Stage, outside: Visitor) -> None:
        token = await self._link(own, await Desk(own.account).customer())
        page = await outside.http.get(f"/portal/{token}")
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"

    async def test_a_body_cannot_name_another_customer(self, own: Stage, outside: Visitor) -> None:
        desk = Desk(own.account)
        mine, theirs = await desk.invoice([usage("60")]), await desk.invoice([usage("70")])
        headers = {"x-session-token": await self._link(own, mine["customer_id"])}
        body = {"customer_id": theirs["customer_id"], "external_customer_id": "x", "limit": 10}
        answer = await outside.http.post("/v1/customer/portal/invoices", json=body, headers=headers)
        assert [item["id"] for item in answer.json()["items"]] == [mine["id"]]
        await outside.http.put(
            "/v1/customer/portal/info",
            json={"name": "Mine", "external_id": "stolen", "metadata": {"a": "b"}, "billing_currency": "eur"},
            headers=headers,
        )
        now = await own.account.get(f"/customers/{mine['customer_id']}")
        assert (now["name"], now["metadata"]) == ("Mine", {})
        assert now["external_id"] != "stolen"
        cost = await outside.http.post("/v1/customer/portal/analytics/cost", json={}, headers=headers)
        assert cost.status_code == 403
        for bad in ({"page": 0}, {"limit": 0}, {"limit": 101}):
            answer = await outside.http.post("/v1/customer/portal/subscriptions", json=bad, headers=headers)
            assert answer.status_code == 400
