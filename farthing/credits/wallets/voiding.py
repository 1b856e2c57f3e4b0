"""Taking back credits that should not have been added."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.credits.enums import TransactionReason, TransactionStatus, TransactionType
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, lock_wallet, open_lots, post, require_active
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.lots import plan_in_turn
from farthing.storage.queries.rows import find


async def void_credit(
    session: AsyncSession, transaction_id: str, description: str, now: datetime, *, force: bool
) -> tuple[Wallet, WalletTransaction]:
    """Take the credits of a lot, and of its bonus, out of their wallet again; the wallet and the debit of the lot.

    What was consumed of it is taken from the other lots; without `force` the balance stays at 0 or above. A lot is
    voided once: asked for again, the answer is the same. Raises NotFound, InvalidOperation.
    Rule: docs/rules/credits.md#voiding-a-lot
    """
    credit = await find(session, WalletTransaction, transaction_id)
    if credit.type is not TransactionType.CREDIT:
        raise InvalidOperation("Only credits can be voided", {"transaction_id": credit.id, "type": credit.type.value})
    wallet = await lock_wallet(session, credit.wallet_id)
    await session.refresh(credit)
    if credit.transaction_status is not TransactionStatus.COMPLETED:
        raise InvalidOperation(
            "Only credits that were added can be voided; void the invoice of a purchase that waits",
            {"transaction_id": credit.id, "transaction_status": credit.transaction_status.value},
        )
    before = await _voided(session, credit)
    if before is not None:
        return wallet, before
    require_active(wallet, "debited")
    debit = await _void(session, wallet, credit, description, now, force=force)
    bonuses = await session.scalars(
        select(WalletTransaction)
        .where(
            WalletTransaction.wallet_id == wallet.id,
            WalletTransaction.parent_transaction_id == credit.id,
            WalletTransaction.transaction_reason == TransactionReason.PURCHASED_CREDIT_BONUS,
        )
        .order_by(WalletTransaction.seq)
    )
    for bonus in bonuses.all():
        if await _voided(session, bonus) is None:
            await _void(session, wallet, bonus, description, now, force=force)
    return wallet, debit


async def _voided(session: AsyncSession, credit: WalletTransaction) -> WalletTransaction | None:
    """The debit that voided a lot, if there is one."""
    query = select(WalletTransaction).where(WalletTransaction.system_key == _key(credit))
    debit: WalletTransaction | None = await session.scalar(query)
    return debit


def _key(credit: WalletTransaction) -> str:
    return f"{credit.id}_void"


async def _void(
    session: AsyncSession, wallet: Wallet, credit: WalletTransaction, description: str, now: datetime, *, force: bool
) -> WalletTransaction:
    lots = await open_lots(session, wallet.id)
    plan = plan_in_turn([lot for lot in lots if lot.id == credit.id], lots, credit.credit_amount)
    if plan.uncovered and not force:
        raise InvalidOperation(
            "The credits have been used, and the others do not cover them; force lets the balance become negative",
            {"transaction_id": credit.id, "missing": str(plan.uncovered), "field": "force"},
        )
    origin = MovementOrigin(
        description=description or "Credits voided",
        metadata={"voided_transaction_id": credit.id},
        parent_transaction_id=credit.id,
        system_key=_key(credit),
    )
    return await post(session, wallet, DebitMovement(plan, TransactionReason.MANUAL_BALANCE_DEBIT, origin), now)
