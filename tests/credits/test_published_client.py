"""The published client through every wallet operation: what it sends is taken, what it reads it understands."""

from __future__ import annotations

from typing import Any

from flexprice import Flexprice

from tests.account import Account
from tests.customers.conftest import new_customer


async def test_a_wallet_through_the_client(account: Account) -> None:
    customer = await new_customer(account)
    wallets: Any = Flexprice(server_url=f"{account.base_url}/v1", api_key_auth=account.key).wallets
    made = await wallets.create_wallet_async(
        currency="usd",
        customer_id=customer["id"],
        initial_credits_to_load="10",
        conversion_rate="2",
        auto_topup={"enabled": True, "threshold": 5.5, "amount": 100, "invoicing": False},
        alert_settings={"alert_enabled": True, "critical": {"threshold": "1", "condition": "below"}},
    )
    assert (made.balance, made.credit_balance, made.name) == ("20", "10", "Prepaid Wallet - USD")
    assert (made.auto_topup.threshold, made.auto_topup.amount) == (5.5, 100)
    renamed = await wallets.update_wallet_async(id=made.id, name="Mine")
    assert (renamed.name, renamed.auto_topup.enabled, renamed.alert_settings.alert_enabled) == ("Mine", True, True)
    added = await wallets.top_up_wallet_async(
        id=made.id, amount="7", transaction_reason="PURCHASED_CREDIT_DIRECT", idempotency_key="one"
    )
    assert (added.wallet_transaction.credit_amount, added.wallet.credit_balance) == ("3.5", "13.5")
    live = await wallets.get_wallet_balance_async(id=made.id, expand="credits_available_breakdown")
    assert (live.real_time_balance, live.is_cached_fallback) == ("27", False)
    assert (live.credits_available_breakdown.purchased, live.credits_available_breakdown.free) == ("3.5", "10")
    page = await wallets.get_wallet_transactions_async(
        id_path_parameter=made.id, credits_available_gt=4, expand="customer,wallet"
    )
    assert [(row.credit_amount, row.wallet.id, row.customer.id) for row in page.items] == [
        ("10", made.id, customer["id"])
    ]
    found = await wallets.query_wallet_transaction_async(id=made.id, transaction_reason="PURCHASED_CREDIT_DIRECT")
    assert [row.id for row in found.items] == [added.wallet_transaction.id]
    assert [row.id for row in (await wallets.query_wallet_async(wallet_ids=[made.id], alert_enabled=True)).items] == [
        made.id
    ]
    listed = await wallets.get_customer_wallets_async(id=customer["id"], include_real_time_balance=True)
    assert [row.real_time_credit_balance for row in listed] == ["13.5"]
    assert [row.id for row in await wallets.get_wallets_by_customer_id_async(id=customer["id"])] == [made.id]
    assert (await wallets.get_wallet_async(id=made.id)).wallet_status == "active"
    closed = await wallets.terminate_wallet_async(id=made.id)
    assert (closed.wallet_status, closed.balance) == ("closed", "0")
