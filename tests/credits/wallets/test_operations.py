"""What an operator does with a wallet: converts it, voids a lot, reads its statement."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest

from farthing.billing.proof.credits import credit_differences
from farthing.credits.reads import statement
from farthing.credits.reads.derivation import ledger_differences
from farthing.invoices.reads import statement_page
from tests.account import Account
from tests.credits.wallets.test_wallets import DIRECT, debit, movements, new_wallet, top_up
from tests.customers.conftest import new_customer


async def proven(account: Account) -> None:
    async with account.transaction(read_only=True) as session:
        assert await ledger_differences(session) == []


async def modify(account: Account, wallet: Any, expect: int = 200) -> Any:
    body = {"modification_type": "prepaid_to_postpaid"}
    return await account.post(f"/wallets/{wallet['id']}/modify", body, expect=expect)


async def test_conversion_keeps_each_lot_as_it_was(account: Account) -> None:
    """60 bought without expiry (priority 2) and 40 free that expire; 10 are consumed of the free ones before."""
    wallet = await new_wallet(account)
    await top_up(account, wallet, "60", transaction_reason=DIRECT, priority=2)
    await top_up(account, wallet, "50", expiry_date_utc="2099-06-01T00:00:00Z", priority=1)
    await debit(account, wallet, "10", "before")
    answer = await modify(account, wallet)
    old, new = answer["original_wallet"], answer["new_wallet"]
    assert (old["wallet_status"], old["credit_balance"]) == ("closed", "0")
    assert (new["wallet_type"], new["wallet_status"], new["credit_balance"]) == ("POST_PAID", "active", "100")
    assert new["config"] == {"allowed_price_types": ["ALL"]}
    assert new["metadata"]["converted_from"] == old["id"]
    last = (await movements(account, old))[-1]
    assert (last["transaction_reason"], last["credit_amount"]) == ("WALLET_TERMINATION", "100")
    lots = await movements(account, new)
    assert [(lot["credit_amount"], lot["transaction_reason"], lot.get("priority")) for lot in lots] == [
        ("40", "FREE_CREDIT_GRANT", 1),
        ("60", DIRECT, 2),
    ]
    assert lots[0]["expiry_date"] == "2099-06-01T00:00:00Z"
    parents = [row["id"] for row in await movements(account, old)]
    assert [lot["parent_transaction_id"] for lot in lots] == [parents[1], parents[0]]
    read = await account.get(f"/wallets/{new['id']}", expand="credits_available_breakdown")
    assert read["credits_available_breakdown"] == {"purchased": "60", "free": "40"}
    await modify(account, old, expect=400)
    await modify(account, new, expect=400)
    await proven(account)


async def test_credits_sold_by_invoice_survive_a_conversion_for_the_doctor(account: Account) -> None:
    wallet = await new_wallet(account)
    sold = await top_up(account, wallet, "30", transaction_reason="PURCHASED_CREDIT_INVOICED", bonus_credits_to_add="3")
    (invoice,) = (await account.post("/invoices/search", {}, expect=200))["items"]
    paid = {"amount": "30", "currency": "usd", "payment_method_type": "OFFLINE", "process_payment": True}
    await account.post("/payments", {"destination_type": "INVOICE", "destination_id": invoice["id"], **paid})
    await account.post(f"/wallets/transactions/{sold['wallet_transaction']['id']}/void", {"force": True}, expect=200)
    await top_up(account, wallet, "5")
    sold = await top_up(account, wallet, "20", transaction_reason="PURCHASED_CREDIT_INVOICED")
    waiting = sold["wallet_transaction"]["id"]
    await account.post(f"/wallets/transactions/{waiting}/void", {}, expect=400)
    assert (await modify(account, wallet))["new_wallet"]["credit_balance"] == "5"
    async with account.transaction(read_only=True) as session:
        assert await credit_differences(session) == []
    await proven(account)


async def other_wallet(account: Account, **given: Any) -> Any:
    """That of a further customer."""
    customer = await new_customer(account, external_id=f"other-{len(given)}")
    return await account.post("/wallets", {"customer_id": customer["id"], "currency": "usd", **given}, expect=200)


async def test_what_cannot_be_converted(account: Account) -> None:
    owing = await new_wallet(account)
    await debit(account, owing, "5", "a")
    await modify(account, owing, expect=400)
    beside = await other_wallet(account, initial_credits_to_load="5")
    body = {"customer_id": beside["customer_id"], "currency": "usd", "wallet_type": "POST_PAID"}
    await account.post("/wallets", body, expect=200)
    await modify(account, beside, expect=409)
    assert (await account.get(f"/wallets/{beside['id']}"))["credit_balance"] == "5"
    frozen = await other_wallet(account)
    await account.post(f"/wallets/{frozen['id']}/freeze", {}, expect=200)
    await modify(account, frozen, expect=400)


async def test_one_of_many_parallel_conversions_succeeds(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="5")
    path, body = f"/wallets/{wallet['id']}/modify", {"modification_type": "prepaid_to_postpaid"}
    answers = await asyncio.gather(*(account.http.post(path, json=body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


async def test_a_voided_lot_goes_first_and_then_the_others(account: Account) -> None:
    """30, of which 20 are consumed, beside 100: voiding the 30 takes the 10 left and 20 of the 100."""
    wallet = await new_wallet(account)
    first = await top_up(account, wallet, "30", priority=1)
    await top_up(account, wallet, "100")
    await debit(account, wallet, "20", "a")
    path = f"/wallets/transactions/{first['wallet_transaction']['id']}/void"
    voided = await account.post(path, {"description": "Entered twice"}, expect=200)
    row = voided["wallet_transaction"]
    assert voided["wallet"]["credit_balance"] == "80"
    assert (row["parent_transaction_id"], row["description"]) == (first["wallet_transaction"]["id"], "Entered twice")
    assert [part["credits"] for part in row["consumption_breakdown"]] == ["10", "20"]
    again = await account.post(path, {}, expect=200)
    assert again["wallet_transaction"]["id"] == row["id"]
    await account.post(f"/wallets/transactions/{row['id']}/void", {}, expect=400)
    await proven(account)


async def test_a_void_overdraws_only_by_force_and_takes_the_bonus_along(account: Account) -> None:
    wallet = await new_wallet(account)
    bought = await top_up(account, wallet, "30", transaction_reason=DIRECT, bonus_credits_to_add="5")
    await debit(account, wallet, "20", "a")
    path = f"/wallets/transactions/{bought['wallet_transaction']['id']}/void"
    refused = await account.post(path, {}, expect=400)
    assert refused["details"]["field"] == "force"
    assert len(await movements(account, wallet)) == 3
    voided = await account.post(path, {"force": True}, expect=200)
    assert voided["wallet"]["credit_balance"] == "-20"
    await proven(account)


async def test_parallel_voids_take_the_credits_once(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="5")
    (lot,) = await movements(account, wallet)
    path = f"/wallets/transactions/{lot['id']}/void"
    await asyncio.gather(*(account.post(path, {}, expect=200) for _ in range(8)))
    assert (await account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "0"
    assert len(await movements(account, wallet)) == 2


@pytest.fixture
async def january(account: Account) -> Any:
    """A wallet that moves in January: 100 on the 1st, 30 taken on the 10th, 50 added on the 31st; then nothing."""
    from datetime import UTC, datetime

    async def on(day: int, month: int = 1) -> None:
        await account.freeze(datetime(2026, month, day, tzinfo=UTC))

    await on(1)
    wallet = await new_wallet(account, initial_credits_to_load="100", conversion_rate="2")
    await on(10)
    await debit(account, wallet, "30", "=2+3")
    await on(31)
    await top_up(account, wallet, "50", description="=HYPERLINK()")
    await on(15, 3)
    return wallet


@pytest.mark.parametrize(
    ("start", "end", "opening", "added", "taken", "closing", "count"),
    [
        pytest.param("2026-01-01", "2026-02-01", "0", "150", "30", "120", 3, id="the whole of January"),
        pytest.param("2026-01-02", "2026-01-31", "100", "0", "30", "70", 1, id="the period is half-open"),
        pytest.param("2026-01-10", "2026-01-11", "100", "0", "30", "70", 1, id="a movement at the start is inside"),
        pytest.param("2026-02-01", "2026-03-01", "120", "0", "0", "120", 0, id="nothing moved"),
        pytest.param("2025-12-01", "2026-01-01", "0", "0", "0", "0", 0, id="before there was anything"),
    ],
)
async def test_statements(
    account: Account,
    january: Any,
    start: str,
    end: str,
    opening: str,
    added: str,
    taken: str,
    closing: str,
    count: int,
) -> None:
    query: dict[str, Any] = {"start_time": f"{start}T00:00:00Z", "end_time": f"{end}T00:00:00Z"}
    statement = await account.get(f"/wallets/{january['id']}/statement", **query)
    assert [statement[f"{name}_credit_balance"] for name in ("opening", "closing")] == [opening, closing]
    assert (statement["credits_added"], statement["credits_taken"]) == (added, taken)
    assert statement["closing_balance"] == str(int(closing) * 2)
    assert len(statement["transactions"]) == count


async def test_a_statement_is_a_table_and_a_document(account: Account, january: Any) -> None:
    query = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T00:00:00Z"}
    table = await account.http.get(f"/wallets/{january['id']}/statement/csv", params=query)
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["type"], row["credits"], row["credit_balance_after"]) for row in rows] == [
        ("opening", "", "0"),
        ("credit", "100", "100"),
        ("debit", "-30", "70"),
        ("credit", "50", "120"),
        ("closing", "", "120"),
    ]
    assert rows[3]["description"] == "'=HYPERLINK()"
    document = await account.http.get(f"/wallets/{january['id']}/statement/pdf", params=query)
    assert document.content.startswith(b"%PDF")
    refused = await account.get(f"/wallets/{january['id']}/statement", expect=400, start_time="2026-01-01T00:00:00Z")
    assert "end_time" in refused["details"]


async def test_more_movements_than_a_statement_holds_are_refused(
    account: Account, january: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    query: dict[str, Any] = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T00:00:00Z"}
    path = f"/wallets/{january['id']}/statement"
    monkeypatch.setattr(statement_page, "MOST_ROWS", 2)
    assert "end_time" in (await account.get(f"{path}/pdf", expect=400, **query))["details"]
    await account.get(path, **query)
    monkeypatch.setattr(statement, "MOST_MOVEMENTS", 2)
    for form in ("", "/csv"):
        assert "end_time" in (await account.get(f"{path}{form}", expect=400, **query))["details"]


async def test_transactions_carry_what_is_asked_for(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="5")
    page = await account.get(f"/wallets/{wallet['id']}/transactions", expand="customer,created_by_user,wallet")
    (row,) = page["items"]
    assert row["customer"]["id"] == wallet["customer_id"]
    assert row["wallet"]["id"] == wallet["id"]
    assert row["created_by_user"]["id"] == account.user_id
    await account.get(f"/wallets/{wallet['id']}/transactions", expand="invoice", expect=400)


async def test_what_is_empty_is_as_on_a_new_wallet(account: Account) -> None:
    named = {
        "name": "Mine",
        "description": "For tests",
        "metadata": {"a": "b"},
        "config": {"allowed_price_types": ["ALL"]},
    }
    wallet = await new_wallet(account, **named)
    path = f"/wallets/{wallet['id']}"
    same = await account.put(path, {"metadata": {"a": "b"}})
    assert {name: same[name] for name in named} == named
    cleared = await account.put(path, {"name": "", "description": None, "metadata": {}, "config": {}})
    assert {name: cleared[name] for name in named} == {
        "name": "Prepaid Wallet - USD",
        "description": "",
        "metadata": {},
        "config": {"allowed_price_types": ["USAGE"]},
    }


async def test_lists_say_where_the_next_page_begins(account: Account) -> None:
    """`pagination.offset` is where the page after this one begins, for wallets and for transactions."""
    customer = await new_customer(account)
    wallet = await account.post("/wallets", {"customer_id": customer["id"], "currency": "usd"}, 200)
    for path in ("/wallets", f"/wallets/{wallet['id']}/transactions"):
        for offset in (0, 3):
            answer = await account.get(path, limit=5, offset=offset)
            assert answer["pagination"]["offset"] == offset + 5
    for path in ("/wallets/search", "/wallets/transactions/search"):
        answer = await account.post(path, {"limit": 4, "offset": 2}, 200)
        assert answer["pagination"]["offset"] == 6
