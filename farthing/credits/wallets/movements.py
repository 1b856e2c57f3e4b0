"""What callers put into a wallet and take out of it by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import NotImplementedHere, ValidationFailed
from farthing.core.money import LARGEST_AMOUNT, plain
from farthing.credits.enums import PURCHASES, CreditClass, ReferenceType, TransactionReason
from farthing.credits.invoicing.purchases import (
    add_waiting,
    draft_purchase_invoice,
    is_taxed_at_purchase,
    lock_coupons,
)
from farthing.credits.ledger.posting import (
    CreditMovement,
    DebitMovement,
    MovementOrigin,
    find_repeated,
    hash_of_request,
    lock_wallet,
    open_lots,
    post,
    require_active,
)
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.bonus import BonusCredits, BonusDurationUnit, BonusKind, Slab, bonus_for
from farthing.credits.rules.conversion import credits_for
from farthing.credits.rules.lots import ConsumptionPlan, plan_manual_debit
from farthing.credits.schemas import DebitWalletRequest, TopUpWalletRequest
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import BonusCreditsTopupConfig
from farthing.invoices.lifecycle import transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import BillingReason
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find

_CLASSES = {
    TransactionReason.FREE_CREDIT_GRANT: CreditClass.FREE,
    TransactionReason.SUBSCRIPTION_CREDIT_GRANT: CreditClass.FREE,
    TransactionReason.PURCHASED_CREDIT_INVOICED: CreditClass.PURCHASED,
    TransactionReason.PURCHASED_CREDIT_DIRECT: CreditClass.PURCHASED,
    TransactionReason.CREDIT_NOTE: CreditClass.PURCHASED,
    TransactionReason.INVOICE_VOID_REFUND: CreditClass.PURCHASED,
}
"""The reasons a caller may add credits for, and whether somebody paid for them."""


async def top_up(
    session: AsyncSession, wallet_id: str, request: TopUpWalletRequest, now: datetime
) -> tuple[Wallet, WalletTransaction]:
    """Add credits, and the bonus that a purchase brings; a repeated key answers with the first transaction.

    Credits that are bought by invoice wait until it is paid. The invoice stays a draft where a checkout is to be paid.

    Raises NotFound, ValidationFailed, InvalidOperation, AlreadyExists, NotImplementedHere.
    Rule: docs/rules/credits.md#top-ups
    """
    invoiced = request.transaction_reason is TransactionReason.PURCHASED_CREDIT_INVOICED
    _refuse_unavailable(request)
    if request.checkout is not None and not invoiced:
        raise ValidationFailed.of("checkout", "goes with credits that are bought by invoice")
    if request.coupons and not invoiced:
        raise ValidationFailed.of("coupons", "go with credits that are bought by invoice")
    if request.transaction_reason not in _CLASSES:
        raise ValidationFailed.of("transaction_reason", f"must be one of {', '.join(_CLASSES)}")
    coupon_ids = await lock_coupons(session, [coupon.coupon_code for coupon in request.coupons or ()])
    wallet = await lock_wallet(session, wallet_id)
    key = request.idempotency_key or None
    fingerprint = hash_of_request(wallet.id, "top-up", request)
    repeated = await find_repeated(session, key, fingerprint)
    if repeated is not None:
        return wallet, repeated
    require_active(wallet, "topped up")
    for field in ("expiry_date_utc", "bonus_credits_expiry_date_utc"):
        given = getattr(request, field)
        if given is not None and given < now:
            raise ValidationFailed.of(field, "must not be in the past")
    if request.effective_date is not None and request.effective_date > now:
        raise ValidationFailed.of("effective_date", "must not be in the future")
    credit = _credit(wallet, request, _origin(key, fingerprint, request))
    return wallet, await _add(session, wallet, request, credit, coupon_ids, now)


async def top_up_automatically(
    session: AsyncSession, wallet: Wallet, evaluation_id: str, now: datetime
) -> WalletTransaction:
    """Add what a locked wallet adds by itself, bought as it says, with the bonus that a purchase brings.

    Raises ValidationFailed for a balance beyond what can be stored.
    Rule: docs/rules/credits.md#automatic-top-ups
    """
    reasons = TransactionReason
    reason = reasons.PURCHASED_CREDIT_INVOICED if wallet.auto_topup_invoicing else reasons.PURCHASED_CREDIT_DIRECT
    request = TopUpWalletRequest(transaction_reason=reason, credits_to_add=wallet.auto_topup_amount)
    origin = MovementOrigin(
        description="Auto top-up triggered for low ongoing balance",
        metadata={"auto_topup": "true"},
        system_key=f"{evaluation_id}-topup-{wallet.id}",
    )
    credit = replace(_credit(wallet, request, origin), automatic=True)
    return await _add(session, wallet, request, credit, (), now, BillingReason.WALLET_AUTO_TOPUP)


async def _add(
    session: AsyncSession,
    wallet: Wallet,
    request: TopUpWalletRequest,
    credit: CreditMovement,
    coupon_ids: Sequence[str],
    now: datetime,
    billing_reason: BillingReason = BillingReason.MANUAL,
) -> WalletTransaction:
    """Add credits to a locked wallet, with their bonus and the invoice that asks for their price."""
    invoiced = request.transaction_reason is TransactionReason.PURCHASED_CREDIT_INVOICED
    bonus = await _bonus(session, wallet, request, now)
    if invoiced:
        credit = replace(credit, taxed=await is_taxed_at_purchase(session, wallet))
    add = add_waiting if invoiced else post
    row = await add(session, wallet, credit, now)
    if bonus is not None:
        await add(session, wallet, _bonus_credit(bonus, row, request), now)
    if invoiced:
        invoice = await draft_purchase_invoice(session, wallet, row, coupon_ids, now, billing_reason)
        if request.checkout is None or invoice.total == 0:
            await transitions.finalize(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)
        else:
            invoice.auto_completed = False  # the checkout is paid first
    return row


def _refuse_unavailable(request: TopUpWalletRequest) -> None:
    """To ignore these would leave a caller waiting for what never comes."""
    if request.force_sync_invoice:
        raise NotImplementedHere(
            "Copying the invoice to providers at once is not available in this deployment",
            {"field": "force_sync_invoice"},
        )


def _credits_of(wallet: Wallet, request: TopUpWalletRequest) -> Decimal:
    if request.credits_to_add is not None:
        return request.credits_to_add
    assert request.amount is not None, "the request was checked"
    bought = request.transaction_reason in PURCHASES
    converted = credits_for(request.amount, wallet.topup_conversion_rate if bought else wallet.conversion_rate)
    if not 0 < converted <= LARGEST_AMOUNT:
        raise ValidationFailed.of("amount", f"must come to more than 0 and at most {plain(LARGEST_AMOUNT)} credits")
    return converted


def _credit(wallet: Wallet, request: TopUpWalletRequest, origin: MovementOrigin) -> CreditMovement:
    return CreditMovement(
        _credits_of(wallet, request),
        request.transaction_reason,
        origin,
        _CLASSES[request.transaction_reason],
        expiry=request.expiry_date_utc,
        priority=request.priority,
        amount=request.amount if request.credits_to_add is None else None,
        effective_date=request.effective_date,
    )


async def _bonus(
    session: AsyncSession, wallet: Wallet, request: TopUpWalletRequest, now: datetime
) -> BonusCredits | None:
    if request.transaction_reason not in PURCHASES:
        if request.bonus_credits_to_add is not None:
            raise ValidationFailed.of("bonus_credits_to_add", "goes with credits that are bought")
        return None
    pinned = request.bonus_credits_expiry_date_utc
    if request.bonus_credits_to_add is not None:
        return BonusCredits(request.bonus_credits_to_add, pinned)
    config = await current.read(session, BonusCreditsTopupConfig)
    slabs = [
        Slab(
            slab.threshold,
            BonusKind(slab.bonus.type),
            slab.bonus.value,
            slab.expiration_duration,
            BonusDurationUnit(slab.expiration_duration_unit) if slab.expiration_duration_unit else None,
        )
        for slab in (config.slabs if config.enabled else ())
    ]
    return bonus_for(_credits_of(wallet, request), slabs, now, pinned)


def _bonus_credit(bonus: BonusCredits, purchase: WalletTransaction, request: TopUpWalletRequest) -> CreditMovement:
    origin = MovementOrigin(
        description="Bonus credits",
        parent_transaction_id=purchase.id,
        system_key=f"{purchase.id}_bonus",
    )
    return CreditMovement(
        bonus.credits,
        TransactionReason.PURCHASED_CREDIT_BONUS,
        origin,
        CreditClass.FREE,
        expiry=bonus.expiry,
        priority=request.priority,
        effective_date=request.effective_date,
    )


def _origin(key: str | None, fingerprint: str, request: TopUpWalletRequest | DebitWalletRequest) -> MovementOrigin:
    return MovementOrigin(
        reference_type=ReferenceType.EXTERNAL if key else ReferenceType.REQUEST,
        reference_id=key or "",
        description=request.description or "",
        metadata=request.metadata or {},
        caller_key=key,
        request_hash=fingerprint if key else None,
    )


async def debit(session: AsyncSession, wallet_id: str, request: DebitWalletRequest, now: datetime) -> Wallet:
    """Take credits by hand; what no lot covers makes the balance negative. A repeated key takes nothing again.

    Raises NotFound, InvalidOperation, AlreadyExists.
    Rule: docs/rules/credits.md#manual-debits
    """
    wallet = await lock_wallet(session, wallet_id)
    fingerprint = hash_of_request(wallet.id, "debit", request)
    if await find_repeated(session, request.idempotency_key, fingerprint) is not None:
        return wallet
    require_active(wallet, "debited")
    plan = plan_manual_debit(await open_lots(session, wallet.id), request.credits, now)
    origin = _origin(request.idempotency_key, fingerprint, request)
    await post(session, wallet, DebitMovement(plan, TransactionReason.MANUAL_BALANCE_DEBIT, origin), now)
    return wallet


async def preview_debit(
    session: AsyncSession, wallet_id: str, credits: Decimal, now: datetime
) -> tuple[Wallet, ConsumptionPlan]:
    """What a manual debit would consume now. Raises NotFound, and InvalidOperation unless the wallet is active."""
    wallet = await find(session, Wallet, wallet_id)
    require_active(wallet, "debited")
    return wallet, plan_manual_debit(await open_lots(session, wallet.id), credits, now)
