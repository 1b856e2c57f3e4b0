"""The demo's seller: shown on its invoices, and never in the way of what somebody entered."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

from pypdf import PdfReader
from sqlalchemy import select

from farthing.demo.books import Ledger, _buyer_of
from farthing.demo.company import customers
from farthing.demo.notices import load_notices
from farthing.demo.seller import load_seller
from farthing.invoices.einvoice.model import Format
from farthing.notifications.email.tables import Email, EmailState
from tests.account import Account
from tests.invoices.desk import Desk, fixed
from tests.subscriptions.shop import Shop

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)


async def _load(account: Account) -> None:
    await load_seller(Ledger(account.settings, account.database, account.scope))


async def test_the_seller_has_an_address_a_vat_id_and_a_logo_on_its_invoices(account: Account) -> None:
    await account.put("/tenants/update", {"name": "Farthing"})
    await _load(account)
    seller = await account.get(f"/tenants/{account.tenant_id}")
    assert seller["name"] == "Larkspur AI"
    invoice = await Desk(account).invoice([fixed("40")])
    answer = await account.http.get(f"/invoices/{invoice['id']}/pdf")
    page = PdfReader(io.BytesIO(answer.content)).pages[0]
    printed = page.extract_text()
    assert "12 Grattan Quay" in printed
    assert f"Tax ID {seller['billing_details']['tax_id']}" in printed
    assert len(page.images) == 1


async def test_what_somebody_entered_stays(account: Account) -> None:
    await account.put("/tenants/update", {"name": "Acme", "billing_details": {"phone": "1"}})
    await _load(account)
    await _load(account)
    seller = await account.get(f"/tenants/{account.tenant_id}")
    assert seller["name"] == "Acme"
    assert seller["billing_details"]["phone"] == "1"
    assert "tax_id" not in seller["billing_details"]


async def test_its_e_invoices_can_be_downloaded_at_once(account: Account) -> None:
    await _load(account)
    desk = Desk(account)
    buyer = {"name": "Aster Labs GmbH", **_buyer_of(replace(customers(1, 1, NOW)[0], country="DE", city="Berlin"))}
    customer = await desk.customer(**buyer, address_country="DE", address_city="Berlin", address_line1="1 Mill Road")
    invoice = await desk.invoice([fixed("40")], customer=customer)
    for format in Format:
        answer = await account.http.get(f"/invoices/{invoice['id']}/einvoice", params={"format": format})
        assert answer.status_code == 200, answer.text


async def test_it_watches_spend_queues_mails_and_has_an_endpoint_that_is_off(account: Account) -> None:
    shop = Shop(account)
    await shop.on("2026-04-01")
    calls, customer = await shop.feature("calls"), await shop.customer("used")
    plan = await shop.plan(shop.usage(calls, "1"))
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    await account.post("/subscriptions", {**body, "start_date": "2026-04-01T00:00:00Z"})
    for number in range(3):
        event = {"event_name": "calls", "event_id": f"call-{number}", "external_customer_id": "used"}
        await account.post("/events", {**event, "timestamp": "2026-04-01T00:00:00Z"}, expect=202)
    await Desk(account).invoice([fixed("40")])
    ledger = Ledger(account.settings, account.database, account.scope)
    for _ in range(2):
        await load_notices(ledger, account.settings, NOW)
    assert [alert["alert_status"] for alert in (await account.post("/alerts/search", {}, 200))["items"]] == ["in_alarm"]
    (endpoint,) = (await account.get("/webhooks/endpoints"))["items"]
    assert endpoint["disabled"] is True
    async with account.transaction() as session:
        assert (await session.scalars(select(Email.state))).all() == [EmailState.QUEUED]
