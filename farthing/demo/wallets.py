"""The demo's wallets: credits that were bought with a bonus, given for a while, used and corrected, and watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import select

from farthing.core.encoding.decoding import convert
from farthing.credits.ledger.tables import Wallet
from farthing.credits.schemas import CreateWalletRequest, DebitWalletRequest, TopUpWalletRequest
from farthing.credits.wallets import lifecycle, movements
from farthing.demo.books import Ledger, StoryClock
from farthing.demo.company import DemoCustomer

EVERY = 8
"""Of so many customers one has a wallet."""
_SPAN = timedelta(days=75)


async def load_wallets(ledger: Ledger, story: Sequence[DemoCustomer], seed: int, now: datetime) -> int:
    """Open the wallets that are not there yet, each with its whole story in one transaction; how many there were."""
    async with ledger.database.transaction(ledger.scope, read_only=True) as session:
        owners = set(await session.scalars(select(Wallet.customer_id)))
    ids, _ = await ledger.present()
    waiting = [
        (number, customer)
        for number, customer in enumerate(story[::EVERY])
        if customer.external_id in ids and ids[customer.external_id] not in owners
    ]
    for number, customer in waiting:
        await _load_wallet(ledger, customer, ids, Random(f"{seed}/wallet/{number}"), now)  # noqa: S311 (a story)
    return len(waiting)


async def _load_wallet(
    ledger: Ledger, customer: DemoCustomer, ids: Mapping[str, str], chance: Random, now: datetime
) -> None:
    clock = StoryClock(max(now - _SPAN, customer.since))
    bought = chance.choice((500, 1000, 2500))
    async with ledger.database.transaction(ledger.scope, clock=clock) as session:
        body: dict[str, Any] = {"customer_id": ids[customer.external_id], "currency": customer.billing_currency}
        body["alert_settings"] = {
            "alert_enabled": True,
            "critical": {"threshold": str(bought // 4), "condition": "below"},
            "warning": {"threshold": str(bought // 2), "condition": "below"},
            "info": {"threshold": str(bought), "condition": "below"},
        }
        wallet = await lifecycle.create(session, convert(body, CreateWalletRequest), clock.now())
        purchase = {
            "transaction_reason": "PURCHASED_CREDIT_DIRECT",
            "credits_to_add": str(bought),
            "bonus_credits_to_add": str(bought // 10),
            "idempotency_key": f"demo-{customer.external_id}-purchase",
        }
        await movements.top_up(session, wallet.id, convert(purchase, TopUpWalletRequest), clock.now())
        gift = {
            "transaction_reason": "FREE_CREDIT_GRANT",
            "credits_to_add": "50",
            "priority": 1,
            "expiry_date_utc": (now + timedelta(days=chance.randint(10, 90))).isoformat(),
            "description": "Welcome credits",
            "idempotency_key": f"demo-{customer.external_id}-gift",
        }
        await movements.top_up(session, wallet.id, convert(gift, TopUpWalletRequest), clock.now())
        for number in range(1, 5):
            clock.at = min(clock.at + timedelta(days=chance.randint(5, 15)), now)
            debit = {
                "credits": str(chance.randint(20, bought // 5)),
                "transaction_reason": "MANUAL_BALANCE_DEBIT",
                "description": "Usage settled by hand",
                "idempotency_key": f"demo-{customer.external_id}-debit-{number}",
            }
            await movements.debit(session, wallet.id, convert(debit, DebitWalletRequest), clock.now())
