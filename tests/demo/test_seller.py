"""The demo's seller: shown on its invoices, and never in the way of what somebody entered."""

from __future__ import annotations

import io

from pypdf import PdfReader

from farthing.demo.books import Ledger
from farthing.demo.seller import load_seller
from tests.account import Account
from tests.invoices.desk import Desk, fixed


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
