"""A prepaid wallet becomes a postpaid one, which keeps every lot as it was."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.credits.enums import (
    WALLET,
    TransactionReason,
    TransactionStatus,
    WalletStatus,
    WalletType,
)
from farthing.credits.ledger.events import record_wallet_event
from farthing.credits.ledger.opening import WalletKey, new_wallet
from farthing.credits.ledger.posting import (
    CreditMovement,
    DebitMovement,
    MovementOrigin,
    lock_wallet,
    open_lots,
    post,
    post_all,
    require_active,
)
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.ports import CreditPorts
from farthing.credits.rules.lots import Lot, consumption_key, plan_everything
from farthing.credits.wallets import automation
from farthing.credits.wallets.lifecycle import second_wallet
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import unique

_KEPT = (
    "description",
    "topup_conversion_rate",
    "auto_topup_enabled",
    "auto_topup_invoicing",
    "auto_topup_threshold",
    "auto_topup_amount",
    "auto_topup_monthly_limit",
    "auto_topup_cooldown_value",
    "auto_topup_cooldown_unit",
    "alert_settings",
)


async def convert_to_postpaid(session: AsyncSession, wallet_id: str, now: datetime) -> tuple[Wallet, Wallet]:
    """Close a prepaid wallet and open a postpaid one with its lots; both, the old one first.

    Raises NotFound, InvalidOperation, and AlreadyExists if the customer has a postpaid wallet of that currency.
    Rule: docs/rules/credits.md#conversion-to-postpaid
    """
    old = await lock_wallet(session, wallet_id)
    require_active(old, "converted")
    if old.wallet_type is not WalletType.PRE_PAID:
        raise InvalidOperation("The wallet is postpaid already", {"wallet_id": old.id})
    if old.credit_balance < 0:
        raise InvalidOperation("A wallet with a negative balance cannot be converted", {"wallet_id": old.id})
    lots = await open_lots(session, old.id)
    await _refuse_taxed_credits(session, old, lots)
    new = new_wallet(
        WalletKey(old.customer_id, old.currency, WalletType.POST_PAID),
        old.conversion_rate,
        **{name: getattr(old, name) for name in _KEPT},
        meta={**old.meta, "converted_from": old.id},
        converted_from=old.id,
    )
    if lots:
        origin = MovementOrigin(description="Converted to postpaid", system_key=f"{old.id}_conversion_debit")
        await post(
            session, old, DebitMovement(plan_everything(lots), TransactionReason.WALLET_TERMINATION, origin), now
        )
    old.wallet_status = WALLET.check(old.wallet_status, WalletStatus.CLOSED, wallet_id=old.id)
    await ports_of(session, CreditPorts).balance_alerts.end(session, old, now)
    automation.set_auto_topup(old, None)
    automation.schedule(old, now)
    automation.schedule(new, now)
    await session.flush()
    async with unique(session, uq_wallets_open=second_wallet(new)):
        session.add(new)
    await record_wallet_event(session, "wallet.terminated", old)
    await record_wallet_event(session, "wallet.created", new)
    await _open_again(session, new, lots, now)
    return old, new


async def _refuse_taxed_credits(session: AsyncSession, wallet: Wallet, lots: list[Lot]) -> None:
    """What a postpaid wallet pays is taxed in full, so credits that were taxed when they were bought stay prepaid."""
    row = WalletTransaction
    waits = select(row.id).where(
        row.wallet_id == wallet.id, row.transaction_status == TransactionStatus.PENDING, row.taxed_at_purchase
    )
    if any(lot.taxed for lot in lots) or await session.scalar(waits.limit(1)) is not None:
        raise InvalidOperation(
            "A wallet with credits that were taxed when they were bought cannot be converted", {"wallet_id": wallet.id}
        )


async def _open_again(session: AsyncSession, wallet: Wallet, lots: list[Lot], now: datetime) -> None:
    """A lot of the new wallet for each that was left of the old one, in the order of consumption."""
    rows = await session.scalars(select(WalletTransaction).where(WalletTransaction.id.in_([lot.id for lot in lots])))
    by_id = {row.id: row for row in rows}
    movements: list[tuple[Wallet, CreditMovement | DebitMovement]] = []
    for lot in sorted(lots, key=consumption_key):
        before = by_id[lot.id]
        assert before.credit_class is not None, "a lot has a class"
        credit = CreditMovement(
            lot.available,
            before.transaction_reason,
            MovementOrigin(
                description=before.description,
                metadata=dict(before.meta),
                parent_transaction_id=before.id,
                system_key=f"{before.id}_conversion",
            ),
            before.credit_class,
            expiry=before.expiry_date,
            priority=before.priority,
            valid_from=before.valid_from,
        )
        movements.append((wallet, credit))
    # together, so that the balance on the way to what it was alarms nobody
    await post_all(session, movements, now)
