"""What a void gives back: credits as the lots they were, money as a lot that was bought."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import text

from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.invoices.desk import fixed, usage


async def test_consumed_lots_come_back_as_they_were(account: Account) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer)
    await desk.top_up(wallet, "10", priority=1, expiry_date_utc="2099-01-01T00:00:00Z")
    await desk.top_up(wallet, "50", priority=2, transaction_reason="PURCHASED_CREDIT_DIRECT")
    free, bought = await desk.rows(wallet)
    made = await desk.billed(customer, [usage("30"), fixed("5")])
    assert await desk.balance(wallet) == "30"
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    voided = await desk.get(made)
    assert (voided["refunded_amount"], voided["payment_status"]) == ("30", "REFUNDED")
    assert [
        (row["credit_amount"], row["priority"], row.get("expiry_date"), row["parent_transaction_id"])
        for row in (await desk.rows(wallet))[3:]
    ] == [("10", 1, free["expiry_date"], free["id"]), ("20", 2, None, bought["id"])]
    seen = await account.get(f"/wallets/{wallet['id']}", expand="credits_available_breakdown")
    assert seen["credits_available_breakdown"] == {"purchased": "50", "free": "10"}
    await account.post(f"/invoices/{made['id']}/void", expect=400)
    await desk.require_sound()


async def test_money_goes_into_a_wallet_that_is_made_for_it(account: Account) -> None:
    """Paid 70, credits 30, refunded 20 before: 80 comes back."""
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, "30")
    made = await desk.billed(customer, [usage("30"), fixed("70")])
    await account.put(f"/invoices/{made['id']}/payment", {"payment_status": "SUCCEEDED"})
    async with account.transaction() as session:
        await session.execute(
            text("UPDATE invoices SET refunded_amount = 20, payment_status = 'PARTIALLY_REFUNDED' WHERE id = :id"),
            {"id": made["id"]},
        )
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    voided = await desk.get(made)
    assert (voided["refunded_amount"], voided["payment_status"]) == ("100", "REFUNDED")
    assert await desk.balance(wallet) == "80"
    other = await desk.customer()
    made = await desk.billed(other, [fixed("70")])
    await account.put(f"/invoices/{made['id']}/payment", {"payment_status": "SUCCEEDED"})
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    (opened,) = await account.get(f"/customers/{other}/wallets")
    assert (opened["name"], opened["wallet_type"], opened["balance"]) == ("Subscription Wallet", "PRE_PAID", "70")


async def test_a_closed_wallet_is_succeeded_at_its_rate(account: Account) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, "100", conversion_rate="0.5")
    made = await desk.billed(customer, [usage("30")])
    await account.post(f"/wallets/{wallet['id']}/terminate", {}, expect=200)
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    (opened,) = await account.get(f"/customers/{customer}/wallets")
    assert (opened["conversion_rate"], opened["credit_balance"]) == ("0.5", "60")
    await account.post(f"/wallets/{opened['id']}/terminate", {}, expect=200)
    successor = await desk.wallet(customer, conversion_rate="3")
    made = await desk.billed(customer, [fixed("70")])
    await account.put(f"/invoices/{made['id']}/payment", {"payment_status": "SUCCEEDED"})
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    assert Decimal(await desk.balance(successor)) == Decimal("23.333333333")
    await desk.require_sound()


async def test_a_frozen_wallet_takes_what_comes_back(account: Account) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, "30")
    made = await desk.billed(customer, [usage("30")])
    await account.post(f"/wallets/{wallet['id']}/freeze", {}, expect=200)
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    assert await desk.balance(wallet) == "30"


async def test_what_comes_back_is_worth_what_was_taken(account: Account) -> None:
    """Credits of 0.7 and of 10 billion: the lots that come back say the amount that they paid."""
    desk = LedgerDesk(account)
    for rate, loaded, price in (("0.7", "50", "33.33"), ("10000000000", "0.000000001", "1"), ("3", "7", "10")):
        customer = await desk.customer()
        wallet = await desk.wallet(customer, loaded, conversion_rate=rate)
        await desk.top_up(wallet, loaded)
        made = await desk.billed(customer, [usage(price)])
        await account.post(f"/invoices/{made['id']}/void", expect=200)
        back = [row for row in await desk.rows(wallet) if row["transaction_reason"] == "INVOICE_VOID_REFUND"]
        assert sum(Decimal(row["amount"]) for row in back) == Decimal(price)
        assert Decimal(await desk.balance(wallet)) == 2 * Decimal(loaded)
    await desk.require_sound()
