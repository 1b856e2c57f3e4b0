"""Credits are taxed once: when they pay for usage, or when they are bought."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import text

from farthing.billing.proof.credits import credit_differences
from farthing.rating.totals.prepaid import CreditSlice, taxed_parts
from tests.account import Account
from tests.credits.invoicing.test_purchases import buy, pay
from tests.credits.ledger_desk import LedgerDesk
from tests.invoices.desk import usage

TAXED, FREE = "T", "F"


@pytest.mark.parametrize(
    ("taken", "slices", "digits", "parts"),
    [
        pytest.param("50", "T100", 2, "50", id="all of it was taxed"),
        pytest.param("50", "F100", 2, "0", id="none of it"),
        pytest.param("120", "F40 T80", 2, "80", id="free credits first"),
        pytest.param("30 30 20", "F40 T40", 2, "0 20 20", id="a line that takes of both"),
        pytest.param("0.01 0.01 0.01", "T0.005 F0.025", 2, "0.01 0 0", id="half a cent is rounded once"),
        pytest.param("0.01 0.01", "T0.004 F0.006 T0.01", 2, "0 0.01", id="less than half of one is left out"),
        pytest.param("100 50", "T99.6 F50.4", 0, "100 0", id="yen"),
    ],
)
def test_the_part_of_each_line(taken: str, slices: str, digits: int, parts: str) -> None:
    given = [CreditSlice(Fraction(part[1:]), part[0] == TAXED) for part in slices.split()]
    found = taxed_parts([Decimal(amount) for amount in taken.split()], given, digits)
    assert [float(part) for part in found] == [float(part) for part in parts.split()]


async def taxed_payer(account: Account, setting: str) -> tuple[LedgerDesk, str, str]:
    """A customer who is charged 19 %, the id of the rate, and when credits are taxed."""
    await account.put("/settings/invoice_config", {"value": {"credit_purchase_tax": setting}})
    desk = LedgerDesk(account)
    customer = await desk.customer()
    rate = await desk.tax("19%")
    code = (await account.get(f"/taxes/rates/{rate}"))["code"]
    association = {"tax_rate_code": code, "entity_type": "customer", "entity_id": customer, "auto_apply": True}
    await account.post("/taxes/associations", association, 200)
    return desk, customer, rate


async def used(desk: LedgerDesk, customer: str, rate: str, *amounts: str) -> dict[str, Any]:
    """A finalized invoice of usage that carries the rate."""
    return await desk.billed(customer, [usage(amount) for amount in amounts], tax_rates=[rate])


@pytest.mark.parametrize(
    ("setting", "free", "price", "tax", "total"),
    [
        pytest.param("consumption", "0", "100", "28.5", "78.5", id="taxed when it is used"),
        pytest.param("purchase", "0", "119", "9.5", "59.5", id="taxed when it is bought"),
        pytest.param("purchase", "40", "119", "9.5", "19.5", id="free credits pay what is taxed"),
    ],
)
async def test_bought_credits_are_taxed_once(
    account: Account, setting: str, free: str, price: str, tax: str, total: str
) -> None:
    """150 of usage under 19 %, of which 100 bought credits pay."""
    desk, customer, rate = await taxed_payer(account, setting)
    wallet = await desk.wallet(customer, free)
    _, invoice = await buy(desk, wallet, "100")
    assert invoice["total"] == price
    await pay(account, invoice)
    billed = await used(desk, customer, rate, "90", "60")
    assert (billed["total_tax"], billed["total"]) == (tax, total)
    await desk.require_sound()


async def test_the_setting_holds_from_the_purchase_on(account: Account) -> None:
    """Bought while purchases were taxed; used when they are not any more, and the other way round."""
    desk, customer, rate = await taxed_payer(account, "purchase")
    wallet = await desk.wallet(customer)
    _, invoice = await buy(desk, wallet, "100", priority=1)
    await account.put("/settings/invoice_config", {"value": {"credit_purchase_tax": "consumption"}})
    await pay(account, invoice)
    _, later = await buy(desk, wallet, "100", priority=2)
    assert later["total"] == "100"
    await pay(account, later)
    await account.put("/settings/invoice_config", {"value": {"credit_purchase_tax": "purchase"}})
    assert (await used(desk, customer, rate, "100"))["total_tax"] == "0"
    assert (await used(desk, customer, rate, "100"))["total_tax"] == "19"
    await desk.require_sound()


async def test_a_void_returns_credits_that_are_taxed_already(account: Account) -> None:
    desk, customer, rate = await taxed_payer(account, "purchase")
    wallet = await desk.wallet(customer)
    _, invoice = await buy(desk, wallet, "100")
    await pay(account, invoice)
    billed = await used(desk, customer, rate, "100")
    await account.post(f"/invoices/{billed['id']}/void", {}, 200)
    assert await desk.balance(wallet) == "100"
    assert (await used(desk, customer, rate, "100"))["total"] == "0"
    await desk.require_sound()


async def test_bonus_credits_pay_what_is_taxed(account: Account) -> None:
    desk, customer, rate = await taxed_payer(account, "purchase")
    wallet = await desk.wallet(customer)
    _, invoice = await buy(desk, wallet, "100", bonus_credits_to_add="50")
    assert invoice["total"] == "119"
    await pay(account, invoice)
    billed = await used(desk, customer, rate, "150")
    assert (billed["total_tax"], billed["total"]) == ("9.5", "9.5")
    await desk.require_sound()


async def test_a_wallet_that_pays_invoices_buys_without_tax(account: Account) -> None:
    desk, customer, _ = await taxed_payer(account, "purchase")
    wallet = await desk.wallet(customer, wallet_type="POST_PAID")
    _, invoice = await buy(desk, wallet, "100")
    assert invoice["total"] == "100"


@pytest.mark.parametrize("paid", [True, False], ids=["paid", "waiting"])
async def test_taxed_credits_stay_prepaid(account: Account, paid: bool) -> None:
    desk, customer, _ = await taxed_payer(account, "purchase")
    wallet = await desk.wallet(customer)
    _, invoice = await buy(desk, wallet, "100")
    if paid:
        await pay(account, invoice)
    await account.post(f"/wallets/{wallet['id']}/modify", {"modification_type": "prepaid_to_postpaid"}, 400)


async def test_an_exempt_payer_buys_without_tax(account: Account) -> None:
    desk, customer, _ = await taxed_payer(account, "purchase")
    await account.put(f"/customers/{customer}", {"tax_treatment": "exempt"})
    _, invoice = await buy(desk, await desk.wallet(customer), "100")
    assert invoice["total"] == "100"


async def test_the_doctor_derives_what_was_taxed_before(account: Account) -> None:
    desk, customer, rate = await taxed_payer(account, "purchase")
    _, invoice = await buy(desk, await desk.wallet(customer), "100")
    await pay(account, invoice)
    await used(desk, customer, rate, "150")
    async with account.transaction() as session:
        await session.execute(text("UPDATE invoice_line_items SET taxed_credits_applied = 0"))
        assert [difference.figure for difference in await credit_differences(session)] == ["credits taxed before"]
        await session.rollback()
