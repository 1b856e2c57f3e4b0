"""Random operations by many at once in real transactions: whatever came first, the ledger holds and can be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, text

from farthing.core.clock import FixedClock
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.core.money import EXACT, ZERO
from farthing.credits.enums import TransactionReason, TransactionType
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, lock_wallet, open_lots, post, require_active
from farthing.credits.ledger.tables import WalletConsumption, WalletTransaction
from farthing.credits.reads.derivation import ledger_differences
from farthing.credits.rules.lots import plan_debit
from farthing.credits.schemas import DebitWalletRequest, TopUpWalletRequest
from farthing.credits.wallets import lifecycle, movements
from farthing.credits.wallets.conversion import convert_to_postpaid
from farthing.credits.wallets.voiding import void_credit
from tests.account import Account
from tests.credits.wallets.test_wallets import new_wallet, top_up

START = datetime(2026, 1, 1, tzinfo=UTC)
REASONS = (
    TransactionReason.FREE_CREDIT_GRANT,
    TransactionReason.PURCHASED_CREDIT_DIRECT,
    TransactionReason.CREDIT_NOTE,
)


async def pay(account: Account, wallet_id: str, credits: str, key: str, at: datetime = START) -> None:
    """A debit that never overdraws, as payments and adjustments make it. Raises InvalidOperation."""
    async with account.database.transaction(account.scope, clock=FixedClock(at)) as session:
        wallet = await lock_wallet(session, wallet_id)
        require_active(wallet, "debited")
        plan = plan_debit(await open_lots(session, wallet.id), Decimal(credits), at)
        if plan.uncovered:
            raise InvalidOperation("insufficient balance")
        await post(
            session, wallet, DebitMovement(plan, TransactionReason.INVOICE_PAYMENT, MovementOrigin(system_key=key)), at
        )


@pytest.mark.parametrize(
    ("balance", "credits", "payers", "paid", "left"),
    [
        pytest.param("100", "3", 50, 33, "1", id="fifty pay 3 of 100"),
        pytest.param("10", "10", 8, 1, "0", id="one of eight pays all"),
        pytest.param("1", "0.3", 7, 3, "0.1", id="fractions"),
        pytest.param("0.000000003", "0.000000001", 6, 3, "0", id="the smallest parts"),
        pytest.param("5", "6", 4, 0, "5", id="nobody can"),
        pytest.param("90", "4.5", 20, 20, "0", id="all can"),
    ],
)
async def test_parallel_payments_never_overdraw(
    account: Account, balance: str, credits: str, payers: int, paid: int, left: str
) -> None:
    wallet = await new_wallet(account, initial_credits_to_load=balance)
    outcomes = await asyncio.gather(
        *(pay(account, wallet["id"], credits, f"{wallet['id']} {number}") for number in range(payers)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [InvalidOperation] * (payers - paid)
    assert (await account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == left
    rows = await chain(account, wallet["id"])
    assert [row.seq for row in rows] == list(range(1, paid + 2))


async def chain(account: Account, wallet_id: str) -> Sequence[WalletTransaction]:
    async with account.transaction(read_only=True) as session:
        query = select(WalletTransaction).where(
            WalletTransaction.wallet_id == wallet_id, WalletTransaction.seq.is_not(None)
        )
        return (await session.scalars(query.order_by(WalletTransaction.seq))).all()


class Life:
    """Random operations on some wallets, each in a transaction of its own, at a time that goes on."""

    def __init__(self, account: Account, wallet_ids: Sequence[str], seed: int) -> None:
        self.account, self.wallet_ids, self.chance = account, list(wallet_ids), Random(seed)
        self.now, self.keys = START, 0

    async def step(self) -> None:
        """One operation; a refusal by a rule is as good as any outcome."""
        self.keys += 1
        self.now += timedelta(minutes=self.chance.randint(0, 300))
        at, key, wallet_id = self.now, f"life-{self.keys}", self.chance.choice(self.wallet_ids)
        credits = Decimal(self.chance.randint(1, 4000)).scaleb(-self.chance.choice((0, 2, 9)))
        operation = self.chance.choice((self._add, self._add, self._take, self._pay, self._pay, self._void, self._rare))
        try:
            await operation(wallet_id, credits, key, at)
        except FarthingError:
            return

    def _transaction(self, at: datetime) -> Any:
        return self.account.database.transaction(self.account.scope, clock=FixedClock(at))

    async def _add(self, wallet_id: str, credits: Decimal, key: str, at: datetime) -> None:
        expiry = at + timedelta(hours=self.chance.randint(1, 90)) if self.chance.random() < 0.5 else None
        priority = self.chance.choice((None, None, 1, 2))
        reason = self.chance.choice(REASONS)
        bonus = Decimal(5) if reason is TransactionReason.PURCHASED_CREDIT_DIRECT else None
        request = TopUpWalletRequest(
            transaction_reason=reason,
            credits_to_add=credits,
            expiry_date_utc=expiry,
            priority=priority,
            idempotency_key=key,
            bonus_credits_to_add=bonus,
        )
        async with self._transaction(at) as session:
            await movements.top_up(session, wallet_id, request, at)

    async def _take(self, wallet_id: str, credits: Decimal, key: str, at: datetime) -> None:
        reason = TransactionReason.MANUAL_BALANCE_DEBIT
        request = DebitWalletRequest(credits=credits, transaction_reason=reason, idempotency_key=key)
        for _ in range(2):  # a retry of the same request changes nothing
            async with self._transaction(at) as session:
                await movements.debit(session, wallet_id, request, at)

    async def _pay(self, wallet_id: str, credits: Decimal, key: str, at: datetime) -> None:
        await pay(self.account, wallet_id, str(credits), f"{wallet_id}-{key}", at)

    async def _void(self, wallet_id: str, credits: Decimal, key: str, at: datetime) -> None:
        del credits, key
        lots = [row.id for row in await chain(self.account, wallet_id) if row.type is TransactionType.CREDIT]
        async with self._transaction(at) as session:
            await void_credit(session, self.chance.choice(lots), "", at, force=self.chance.random() < 0.3)

    async def _rare(self, wallet_id: str, credits: Decimal, key: str, at: datetime) -> None:
        del credits, key
        async with self._transaction(at) as session:
            await expire_due(session, at, batch=5)
        if self.chance.random() < 0.1:
            async with self._transaction(at) as session:
                _, converted = await convert_to_postpaid(session, wallet_id, at)
            self.wallet_ids.append(converted.id)
        elif self.chance.random() < 0.05:
            async with self._transaction(at) as session:
                await lifecycle.terminate(session, wallet_id, at)


def replay(rows: Sequence[WalletTransaction], consumed: dict[str, list[tuple[str, Decimal]]]) -> None:
    """An independent reading of a chain: balances, what is left of each lot, and that every payment took the lots in
    order. Raises AssertionError."""
    balance, left, lots = ZERO, dict[str, Decimal](), dict[str, WalletTransaction]()
    for row in rows:
        assert row.credit_balance_before == balance, row.id
        if row.type is TransactionType.CREDIT:
            left[row.id] = max(ZERO, min(row.credit_amount, EXACT.add(balance, row.credit_amount)))
            lots[row.id] = row
            balance = EXACT.add(balance, row.credit_amount)
            continue
        taken = consumed.get(row.id, [])
        if row.transaction_reason is TransactionReason.INVOICE_PAYMENT:
            at = row.created_at
            open_lots = [lot for lot in lots.values() if left[lot.id] and (lot.expiry_date or at) >= at]
            far = datetime.max.replace(tzinfo=UTC)
            order = sorted(
                open_lots,
                key=lambda lot: (
                    10**9 if lot.priority is None else lot.priority,
                    lot.expiry_date or far,
                    -lot.credit_amount,
                    lot.created_at,
                    lot.id,
                ),
            )
            assert [lot_id for lot_id, _ in taken] == [lot.id for lot in order[: len(taken)]], row.id
            assert all(part == left[lot_id] for lot_id, part in taken[:-1]), "a lot was left for a later one"
        for lot_id, part in taken:
            left[lot_id] = EXACT.subtract(left[lot_id], part)
            assert left[lot_id] >= 0, lot_id
        balance = EXACT.subtract(balance, row.credit_amount)
        assert sum((part for _, part in taken), ZERO) <= row.credit_amount
        assert row.credit_balance_after == balance
    assert {lot.id: lot.credits_available for lot in lots.values()} == left
    assert sum(left.values(), ZERO) == max(ZERO, balance)


@pytest.mark.parametrize(("seed", "at_once"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32)])
async def test_random_lives_of_many_at_once_can_be_replayed(account: Account, seed: int, at_once: int) -> None:
    first = await new_wallet(account, initial_credits_to_load="100", conversion_rate="0.7")
    body = {"customer_id": first["customer_id"], "currency": "eur", "initial_credits_to_load": "7"}
    second = await account.post("/wallets", body, expect=200)
    life = Life(account, [first["id"], second["id"]], seed)
    for _ in range(64 // at_once):
        await asyncio.gather(*(life.step() for _ in range(at_once)))
    async with account.transaction(read_only=True) as session:
        assert await ledger_differences(session) == []
        parts = await session.scalars(select(WalletConsumption).order_by(WalletConsumption.position))
        consumed: dict[str, list[tuple[str, Decimal]]] = {}
        for part in parts:
            consumed.setdefault(part.debit_id, []).append((part.credit_id, part.credits))
    for wallet_id in life.wallet_ids:
        replay(await chain(account, wallet_id), consumed)


async def test_an_operation_that_is_undone_leaves_nothing(account: Account) -> None:
    wallet = await new_wallet(account, initial_credits_to_load="10")
    counts = text("SELECT (SELECT count(*) FROM wallet_transactions), (SELECT count(*) FROM system_events)")
    async with account.transaction(read_only=True) as session:
        before = (await session.execute(counts)).one()
    reason = TransactionReason.MANUAL_BALANCE_DEBIT
    request = DebitWalletRequest(credits=Decimal(3), transaction_reason=reason, idempotency_key="undone")

    async def fail_after_the_debit() -> None:
        async with account.transaction() as session:
            await movements.debit(session, wallet["id"], request, START)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_the_debit()
    async with account.transaction(read_only=True) as session:
        assert (await session.execute(counts)).one() == before
    assert (await account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "10"


async def test_a_balance_that_is_read_includes_what_was_answered_before(account: Account) -> None:
    wallet = await new_wallet(account)
    for total in range(1, 6):
        await top_up(account, wallet, "1")
        read = await account.get(f"/wallets/{wallet['id']}/balance/real-time")
        assert read["real_time_balance"] == str(total)
