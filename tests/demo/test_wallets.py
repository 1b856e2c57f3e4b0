"""The demo's wallets: each has a story that the ledger proves, and loading again adds none."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select

from farthing.credits.ledger.tables import Wallet
from farthing.credits.reads.derivation import ledger_differences
from farthing.demo.books import Ledger, load_customer
from farthing.demo.company import customers
from farthing.demo.wallets import EVERY, load_wallets
from tests.account import Account

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


async def test_wallets_are_opened_once_and_add_up(account: Account) -> None:
    story = customers(2 * EVERY + 1, 1, NOW)
    ledger = Ledger(account.settings, account.database, account.scope)
    for customer in story:
        await load_customer(ledger, customer)
    assert await load_wallets(ledger, story, 1, NOW) == 3
    assert await load_wallets(ledger, story, 1, NOW) == 0
    async with account.transaction(read_only=True) as session:
        balances = list(await session.scalars(select(Wallet.credit_balance)))
        assert await ledger_differences(session) == []
    assert len(balances) == 3
    assert all(balance > 0 for balance in balances)
