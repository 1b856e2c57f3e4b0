"""Wallets over HTTP: what callers put in and take out, with real parallel requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from farthing.credits.reads.derivation import ledger_differences
from tests.account import Account
from tests.customers.conftest import new_customer
from tests.invoices.listed import require_listed_as_read

FREE, DIRECT = "FREE_CREDIT_GRANT", "PURCHASED_CREDIT_DIRECT"


async def new_wallet(account: Account, **given: Any) -> dict[str, Any]:
    customer = await new_customer(account)
    body = {"customer_id": customer["id"], "currency": "USD", **given}
    made: dict[str, Any] = await account.post("/wallets", body, expect=200)
    return made


async def top_up(account: Account, wallet: dict[str, Any], credits: str, expect: int = 200, **given: Any) -> Any:
    body = {"credits_to_add": credits, "transaction_reason": FREE, **given}
    return await account.post(f"/wallets/{wallet['id']}/top-up", body, expect=expect)


async def debit(account: Account, wallet: dict[str, Any], credits: str, key: str, expect: int = 200) -> Any:
    body = {"credits": credits, "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": key}
    return await account.post(f"/wallets/{wallet['id']}/debit", body, expect=expect)


async def movements(account: Account, wallet: dict[str, Any]) -> list[dict[str, Any]]:
    """Oldest first."""
    page = await account.get(f"/wallets/{wallet['id']}/transactions", limit=1000)
    rows: list[dict[str, Any]] = page["items"][::-1]
    return rows


async def test_a_wallet_is_answered_as_it_was_made(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="20", conversion_rate="2")
    assert (wallet["name"], wallet["currency"]) == ("Prepaid Wallet - USD", "usd")
    assert (wallet["credit_balance"], wallet["balance"]) == ("20", "40")
    seen = await account.get(f"/wallets/{wallet['id']}", expand="credits_available_breakdown")
    assert seen["credits_available_breakdown"] == {"purchased": "0", "free": "20"}
    assert (await account.get(f"/customers/{wallet['customer_id']}/wallets"))[0] == wallet


async def test_the_chain_says_what_each_movement_left_and_consumed(account: Account) -> None:
    wallet = await new_wallet(account)
    first = (await top_up(account, wallet, "100"))["wallet_transaction"]["id"]
    await debit(account, wallet, "30", "a")
    second = (await top_up(account, wallet, "50"))["wallet_transaction"]["id"]
    assert (await debit(account, wallet, "120", "b"))["credit_balance"] == "0"
    rows = await movements(account, wallet)
    chain = [(row["credit_balance_before"], row["credit_balance_after"]) for row in rows]
    assert chain == [("0", "100"), ("100", "70"), ("70", "120"), ("120", "0")]
    assert rows[-1]["consumption_breakdown"] == [
        {"credit_transaction_id": first, "credits": "70"},
        {"credit_transaction_id": second, "credits": "50"},
    ]


@pytest.mark.parametrize(("added", "balance", "left"), [("100", "70", "70"), ("10", "-20", "0")])
async def test_a_manual_debit_may_overdraw_and_credits_repay_it(
    account: Account, added: str, balance: str, left: str
) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="20")
    preview = await account.post(f"/wallets/{wallet['id']}/debit/preview", {"credits": "50"}, expect=200)
    assert (preview["overdraft"], preview["credit_balance_after"]) == ("30", "-30")
    assert (await debit(account, wallet, "50", "a"))["credit_balance"] == "-30"
    answer = await top_up(account, wallet, added)
    assert answer["wallet"]["credit_balance"] == balance
    assert answer["wallet_transaction"]["credits_available"] == left


@pytest.mark.parametrize(
    ("rates", "reason", "amount", "credits", "balance"),
    [
        (("2", "2"), DIRECT, "10", "5", "10"),
        (("1", "0.8"), DIRECT, "80", "100", "100"),
        (("1", "0.8"), FREE, "80", "80", "80"),
        (("1", "0.8"), "CREDIT_NOTE", "80", "80", "80"),
        (("3", "3"), DIRECT, "10", "3.333333333", "9.999999999"),
    ],
)
async def test_currency_becomes_credits_at_the_rate_of_its_reason(
    account: Account, rates: tuple[str, str], reason: str, amount: str, credits: str, balance: str
) -> None:
    wallet = await new_wallet(account, conversion_rate=rates[0], topup_conversion_rate=rates[1])
    body = {"amount": amount, "transaction_reason": reason}
    answer = await account.post(f"/wallets/{wallet['id']}/top-up", body, expect=200)
    assert answer["wallet_transaction"]["credit_amount"] == credits
    assert answer["wallet_transaction"]["amount"] == amount
    assert answer["wallet"]["balance"] == balance


async def test_a_bonus_follows_its_purchase_in_the_chain(account: Account) -> None:
    wallet = await new_wallet(account)
    await top_up(account, wallet, "500", transaction_reason=DIRECT, bonus_credits_to_add="50")
    purchase, bonus = await movements(account, wallet)
    assert bonus["parent_transaction_id"] == purchase["id"]
    assert (bonus["credit_balance_before"], bonus["credit_balance_after"]) == ("500", "550")
    refused = await top_up(account, wallet, "5", expect=400, bonus_credits_to_add="1")
    assert "bonus_credits_to_add" in refused["details"]


async def test_a_key_is_carried_out_once_and_only_for_its_request(account: Account) -> None:
    wallet = await new_wallet(account)
    answers = [await top_up(account, wallet, "10", idempotency_key="k") for _ in range(3)]
    assert len({answer["wallet_transaction"]["id"] for answer in answers}) == 1
    await top_up(account, wallet, "11", expect=409, idempotency_key="k")
    await debit(account, wallet, "10", "k", expect=409)
    assert (await account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "10"


async def test_parallel_debits_lose_nothing_and_one_key_counts_once(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="100")
    await asyncio.gather(*(debit(account, wallet, "3", f"key {number % 16}") for number in range(32)))
    rows = await movements(account, wallet)
    assert len(rows) == 17
    assert (await account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "52"
    assert rows[0]["credits_available"] == "52"


async def test_the_ledger_is_proven_from_its_rows(account: Account) -> None:
    """Credits, an overdraft, its repayment, a bonus and a termination; then a lot that is not what consumed it says."""
    wallet = await new_wallet(account, initial_credits_to_load="5", conversion_rate="0.7")
    await debit(account, wallet, "8", "a")
    await debit(account, wallet, "1", "b")
    await top_up(account, wallet, "10", transaction_reason=DIRECT, bonus_credits_to_add="2.5")
    await debit(account, wallet, "3", "c")
    async with account.transaction(read_only=True) as session:
        assert await ledger_differences(session) == []
    async with account.transaction() as session:
        await session.execute(text("UPDATE wallet_transactions SET credits_available = 1 WHERE credits_available > 1"))
    async with account.transaction(read_only=True) as session:
        figures = {difference.figure for difference in await ledger_differences(session)}
    assert figures == {"credits left in lots", "credits_available"}


async def test_one_of_many_parallel_wallets_is_made(account: Account) -> None:
    customer = await new_customer(account)
    body = {"customer_id": customer["id"], "currency": "usd"}
    answers = await asyncio.gather(*(account.http.post("/wallets", json=body) for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15


async def test_a_frozen_or_closed_wallet_takes_nothing(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="5")
    await account.post(f"/wallets/{wallet['id']}/freeze", {}, expect=200)
    await top_up(account, wallet, "1", expect=400)
    await debit(account, wallet, "1", "a", expect=400)
    await account.post(f"/wallets/{wallet['id']}/unfreeze", {}, expect=200)
    await account.post(f"/wallets/{wallet['id']}/freeze", {}, expect=200)
    closed = await account.post(f"/wallets/{wallet['id']}/terminate", {}, expect=200)
    assert (closed["wallet_status"], closed["credit_balance"]) == ("closed", "0")
    assert (await movements(account, wallet))[-1]["transaction_reason"] == "WALLET_TERMINATION"
    for path in ("terminate", "freeze", "unfreeze"):
        await account.post(f"/wallets/{wallet['id']}/{path}", {}, expect=400)
    await top_up(account, wallet, "1", expect=400)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wallet_transactions SET credit_amount = 1",
        "UPDATE wallet_transactions SET credits_available = credits_available + 1",
        "DELETE FROM wallet_transactions",
        "DELETE FROM wallet_consumptions",
        "UPDATE wallets SET credit_balance = 7, balance = 7",
        "UPDATE wallets SET last_seq = last_seq + 1",
    ],
)
async def test_the_database_refuses_to_change_the_ledger(account: Account, statement: str) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="5")
    await debit(account, wallet, "2", "a")
    with pytest.raises(IntegrityError):
        async with account.transaction() as session:
            await session.execute(text(statement))


async def test_a_customer_with_an_open_wallet_stays(account: Account) -> None:
    wallet = await new_wallet(account)
    refused = await account.http.delete(f"/customers/{wallet['customer_id']}")
    assert refused.status_code == 400


async def test_what_is_not_there_yet_is_refused_by_name(account: Account) -> None:
    wallet = await new_wallet(account)
    invoiced = "PURCHASED_CREDIT_INVOICED"
    await top_up(account, wallet, "1", expect=501, transaction_reason=invoiced, force_sync_invoice=True)


async def test_wallets_and_transactions_are_listed_as_they_are_answered_alone(account: Account) -> None:
    low = {"threshold": "1500", "condition": "below"}
    wallet = await new_wallet(account, alert_settings={"alert_enabled": True, "critical": low})
    auto = {"enabled": True, "threshold": 20, "amount": 100, "invoicing": True, "monthly_limit": 500}
    cooldown = {"value": 2, "unit": "day"}
    await account.put(f"/wallets/{wallet['id']}", {"auto_topup": {**auto, "cooldown": cooldown}})
    of_customer = {"customer_id": wallet["customer_id"], "currency": "EUR"}
    await account.post("/wallets", of_customer, expect=200)
    assert await require_listed_as_read(account, "wallets") == 2
    for alert_enabled, count in (("true", 1), ("false", 1)):
        assert await require_listed_as_read(account, "wallets", alert_enabled=alert_enabled) == count
    given = [(await top_up(account, wallet, credits))["wallet_transaction"] for credits in ("5", "4")]
    taken = await account.post(f"/wallets/transactions/{given[0]['id']}/void", {}, expect=200)
    listed = {row["id"]: row for row in await movements(account, wallet)}
    for answered in (given[1], taken["wallet_transaction"]):
        assert listed[answered["id"]] == answered
    assert listed[taken["wallet_transaction"]["id"]]["consumption_breakdown"]
    carrying = await account.get(f"/wallets/{wallet['id']}/transactions", expand="wallet")
    assert [{**row, "wallet": None} for row in carrying["items"][::-1]] == [
        {**row, "wallet": None} for row in listed.values()
    ]


async def test_transactions_of_a_wallet_that_is_not_there(account: Account, stranger: Account) -> None:
    wallet = await new_wallet(account)
    assert (await account.get(f"/wallets/{wallet['id']}/transactions"))["items"] == []
    await account.get("/wallets/wallet_x/transactions", expect=404)
    await stranger.get(f"/wallets/{wallet['id']}/transactions", expect=404)
