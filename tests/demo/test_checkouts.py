"""The demo's checkouts: one in each state, once, and sound books."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from sqlalchemy import select

from farthing.checkout.tables import CheckoutSession
from farthing.demo.books import Ledger, load_customer
from farthing.demo.checkouts import ENDS, load_checkouts
from farthing.demo.company import customers
from farthing.doctor.examination import audit
from tests.account import Account


async def test_each_state_is_there_once_and_the_books_are_sound(account: Account) -> None:
    now = datetime.now(UTC)
    story = customers(7 * len(ENDS) + 1, 1, now)
    ledger = Ledger(account.settings, account.database, account.scope)
    for customer in story[1::7]:
        await load_customer(ledger, customer)
    assert await load_checkouts(ledger, account.settings, story, now) == len(ENDS)
    assert await load_checkouts(ledger, account.settings, story, now) == 0
    async with account.transaction(read_only=True) as session:
        states = Counter(await session.scalars(select(CheckoutSession.checkout_status)))
    assert states == {"pending": 2, "completed": 2, "failed": 1, "expired": 1}
    assert (await audit(account.database, only={account.environment_id})).differences == []
