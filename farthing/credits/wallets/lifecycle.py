"""How a wallet comes to be, changes, is frozen and is closed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from msgspec import UNSET
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices import units
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.credits.enums import WALLET, CreditClass, TransactionReason, WalletStatus, WalletType
from farthing.credits.ledger.events import record_wallet_event
from farthing.credits.ledger.opening import WalletKey, default_name, default_price_types, new_wallet
from farthing.credits.ledger.posting import (
    CreditMovement,
    DebitMovement,
    MovementOrigin,
    lock_wallet,
    open_lots,
    post,
    require_active,
)
from farthing.credits.ledger.tables import Wallet
from farthing.credits.ports import CreditPorts
from farthing.credits.rules.lots import plan_everything
from farthing.credits.schemas import CreateWalletRequest, UpdateWalletRequest, WalletConfig, checked_rate
from farthing.credits.wallets import automation
from farthing.credits.wallets.thresholds import effective_settings
from farthing.customers.lookup import by_external_id, lock_for_use
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import unique


async def create(session: AsyncSession, request: CreateWalletRequest, now: datetime) -> Wallet:
    """Insert a wallet with its initial credits. Raises NotFound, ValidationFailed, AlreadyExists, InvalidOperation."""
    expiry = request.initial_expiry()
    if expiry is not None and expiry < now:
        raise ValidationFailed.of("initial_credits_expiry_date_utc", "must not be in the past")
    customer_id = request.customer_id or (await by_external_id(session, request.external_customer_id or "")).id
    customer = await lock_for_use(session, customer_id)
    currency, rate = await _terms(session, request)
    wallet = new_wallet(
        WalletKey(customer.id, currency, request.wallet_type),
        rate,
        name=request.name or default_name(request.wallet_type, currency),
        description=request.description or "",
        meta=request.metadata or {},
        allowed_price_types=_price_types(request.config, request.wallet_type),
        topup_conversion_rate=request.topup_conversion_rate or rate,
    )
    if request.auto_topup is not None:
        automation.require_all_given(request.auto_topup)
        automation.set_auto_topup(wallet, request.auto_topup)
    automation.set_alerts(wallet, request.alert_settings)
    automation.schedule(wallet, now)
    async with unique(session, uq_wallets_open=second_wallet(wallet)):
        session.add(wallet)
    if request.initial_credits_to_load:
        credit = CreditMovement(
            request.initial_credits_to_load,
            TransactionReason.FREE_CREDIT_GRANT,
            MovementOrigin(description="Initial credits"),
            CreditClass.FREE,
            expiry=expiry,
        )
        await post(session, wallet, credit, now)
    await record_wallet_event(session, "wallet.created", wallet)
    return wallet


def _price_types(config: WalletConfig | None, kind: WalletType) -> list[str]:
    given = config.allowed_price_types if config else None
    return [price_type.value for price_type in given] if given else default_price_types(kind)


async def _terms(session: AsyncSession, request: CreateWalletRequest) -> tuple[str, Decimal]:
    """Currency and rate of consumption: those of the price unit, where one is named."""
    if request.price_unit is None:
        return request.currency or "", request.conversion_rate or Decimal(1)
    unit = await units.by_code(session, request.price_unit)
    if unit.status is not Status.PUBLISHED:
        raise ValidationFailed.of("price_unit", "must name a published price unit")
    return unit.base_currency, checked_rate("price_unit", unit.conversion_rate)


def second_wallet(wallet: Wallet) -> AlreadyExists:
    """Refuses a wallet beside another open one of its customer, currency and type."""
    details = {"customer_id": wallet.customer_id, "currency": wallet.currency, "wallet_type": wallet.wallet_type.value}
    return AlreadyExists("The customer already has an open wallet of this currency and type", details)


async def update(session: AsyncSession, wallet_id: str, request: UpdateWalletRequest, now: datetime) -> Wallet:
    """Change what `request` names. Raises NotFound, ValidationFailed, InvalidOperation."""
    wallet = await lock_wallet(session, wallet_id)
    if request.auto_topup is not UNSET:
        if request.auto_topup is not None:
            require_active(wallet, "set to top itself up")
        automation.set_auto_topup(wallet, request.auto_topup)
    if request.alert_settings is not UNSET:
        automation.set_alerts(wallet, request.alert_settings)
        if not (await effective_settings(session, wallet))["alert_enabled"]:
            await ports_of(session, CreditPorts).balance_alerts.end(session, wallet, now)
    automation.schedule(wallet, now)
    if request.name is not UNSET:
        wallet.name = request.name or default_name(wallet.wallet_type, wallet.currency)
    if request.description is not UNSET:
        wallet.description = request.description or ""
    if request.metadata is not UNSET:
        wallet.meta = request.metadata or {}
    if request.config is not UNSET:
        wallet.allowed_price_types = _price_types(request.config, wallet.wallet_type)
    await session.flush()
    await record_wallet_event(session, "wallet.updated", wallet)
    return wallet


async def freeze(session: AsyncSession, wallet_id: str, now: datetime) -> Wallet:
    """Let nobody add or take credits until the wallet is unfrozen. Raises NotFound, InvalidOperation."""
    return await _switch(session, wallet_id, WalletStatus.FROZEN, now)


async def unfreeze(session: AsyncSession, wallet_id: str, now: datetime) -> Wallet:
    """Make a frozen wallet active. Raises NotFound, InvalidOperation."""
    return await _switch(session, wallet_id, WalletStatus.ACTIVE, now)


async def _switch(session: AsyncSession, wallet_id: str, to: WalletStatus, now: datetime) -> Wallet:
    wallet = await lock_wallet(session, wallet_id)
    wallet.wallet_status = _following(wallet, to)
    automation.schedule(wallet, now)
    await session.flush()
    await record_wallet_event(session, "wallet.updated", wallet)
    return wallet


def _following(wallet: Wallet, to: WalletStatus) -> WalletStatus:
    now = wallet.wallet_status
    return WALLET.check(now, to, wallet_id=wallet.id, wallet_status=now.value)


async def terminate(session: AsyncSession, wallet_id: str, now: datetime) -> Wallet:
    """Take all that is left, past its expiry or not, and close the wallet. Raises NotFound, InvalidOperation."""
    wallet = await lock_wallet(session, wallet_id)
    closed = _following(wallet, WalletStatus.CLOSED)
    plan = plan_everything(await open_lots(session, wallet.id))
    if plan.consumptions:
        origin = MovementOrigin(description="Wallet terminated", system_key=f"{wallet.id}_termination")
        await post(session, wallet, DebitMovement(plan, TransactionReason.WALLET_TERMINATION, origin), now)
    wallet.wallet_status = closed
    wallet.auto_topup_enabled, wallet.evaluate_at = False, None
    await ports_of(session, CreditPorts).balance_alerts.end(session, wallet, now)
    await session.flush()
    await record_wallet_event(session, "wallet.terminated", wallet)
    return wallet


async def require_no_open_wallet(session: AsyncSession, customer_id: str) -> None:
    """Raises InvalidOperation if the customer has a wallet that is not closed."""
    query = select(Wallet.id).where(Wallet.customer_id == customer_id, Wallet.wallet_status != WalletStatus.CLOSED)
    wallet_id = await session.scalar(query.limit(1))
    if wallet_id is not None:
        raise InvalidOperation("The customer has an open wallet", {"customer_id": customer_id, "wallet_id": wallet_id})
