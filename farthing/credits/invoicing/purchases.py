"""Credits that are sold by invoice: they wait until it is paid, and never come if it is voided.

Rule: docs/rules/credits.md#purchases-by-invoice
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.coupons import by_code
from farthing.catalogue.discounts.redeeming import coupons_by_id
from farthing.catalogue.taxes.choosing import auto_apply_associations
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.core import currency
from farthing.core.enums import PriceType
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import plain, round_to
from farthing.credits.enums import TRANSACTION, TransactionStatus, WalletStatus, WalletType
from farthing.credits.invoicing.wallets import OpeningTerms, lock_or_open_wallet
from farthing.credits.ledger.events import record_transaction_event
from farthing.credits.ledger.opening import WalletKey
from farthing.credits.ledger.posting import CreditMovement, complete, insert_new, lock_wallet, waiting_credit
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.conversion import credits_for, value_of
from farthing.customers.lookup import lock_for_use
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.invoices.figures.computation import compute
from farthing.invoices.figures.settlement import settle
from farthing.invoices.figures.terms import TaxTerm, stored
from farthing.invoices.lifecycle import drafts
from farthing.invoices.lifecycle.one_off import redeemed_terms
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.requests import InvoiceCoupon
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import lock_row


async def lock_coupons(session: AsyncSession, codes: Sequence[str]) -> list[str]:
    """Lock the coupons with these codes, which is done before any wallet is locked; their ids. Raises NotFound."""
    coupon_ids = [(await by_code(session, code)).id for code in codes]
    if coupon_ids:
        await coupons_by_id(session, coupon_ids, lock=True)
    return coupon_ids


async def add_waiting(
    session: AsyncSession, wallet: Wallet, credit: CreditMovement, now: datetime
) -> WalletTransaction:
    """Write credits that wait to be paid for. Raises AlreadyExists for a caller's key in use."""
    row = waiting_credit(wallet, credit, now)
    await insert_new(session, row)
    return row


async def is_taxed_at_purchase(session: AsyncSession, wallet: Wallet) -> bool:
    """Whether credits that are bought now for a wallet are taxed with their purchase.

    Those of a wallet that pays invoices are not: what it pays was taxed by then.
    Rule: docs/rules/credits.md#tax-on-credits
    """
    config = await current.read(session, InvoiceConfig)
    return config.credit_purchase_tax == "purchase" and wallet.wallet_type is WalletType.PRE_PAID


async def draft_purchase_invoice(
    session: AsyncSession,
    wallet: Wallet,
    purchase: WalletTransaction,
    coupon_ids: Sequence[str],
    now: datetime,
    billing_reason: BillingReason = BillingReason.MANUAL,
) -> Invoice:
    """A computed draft that asks the customer for what credits of a locked wallet cost.

    Finalized, one that comes to nothing completes them at once. Raises ValidationFailed for a price below the smallest
    unit of the currency, InvalidOperation for a coupon.
    """
    price = round_to(purchase.amount, currency.digits(wallet.currency))
    if price <= 0:
        raise ValidationFailed.of("credits_to_add", "must cost at least the smallest unit of the wallet's currency")
    customer = await lock_for_use(session, wallet.customer_id)
    config = await current.read(session, InvoiceConfig)
    invoice = Invoice(
        id=new_id(Kind.INVOICE),
        customer_id=customer.id,
        currency=wallet.currency,
        invoice_type=InvoiceType.ONE_OFF,
        invoice_status=InvoiceStatus.DRAFT,
        billing_reason=billing_reason,
        description=purchase.description,
        reference_date=now,
        due_date=now,
        wallet_transaction_id=purchase.id,
        auto_completed=config.auto_complete_purchased_credit_transaction,
        meta={"wallet_id": wallet.id, "credits_amount": plain(purchase.credit_amount)},
    )
    invoice = await drafts.begin(session, invoice)
    drafts.add_lines(session, invoice, [_line(price, purchase)])
    coupons = [InvoiceCoupon(coupon_id=coupon_id) for coupon_id in coupon_ids]
    invoice.coupon_terms = stored(await redeemed_terms(session, wallet.currency, [], coupons, now))
    if purchase.taxed_at_purchase:
        taxes = await auto_apply_associations(session, TaxEntityType.CUSTOMER, customer.id, wallet.currency)
        invoice.tax_terms = stored([TaxTerm.of(tax.rate, tax.association) for tax in taxes])
    await compute(session, invoice, now)
    await settle(session, invoice, now)
    if invoice.total == 0:
        invoice.due_date = None
    return invoice


def _line(price: Decimal, purchase: WalletTransaction) -> InvoiceLineItem:
    return InvoiceLineItem(
        display_name=f"Purchase {plain(purchase.credit_amount)} Credits",
        price_type=PriceType.FIXED,
        amount=price,
        quantity=Decimal(1),
        meta={},
    )


async def complete_purchase(session: AsyncSession, purchase_id: str, now: datetime) -> None:
    """Give what a paid invoice sold, with its bonus, its place in the ledger; done before, it changes nothing.

    Where the wallet was closed meanwhile, its successor has them, worth as much.
    """
    asked_for = await _wallet_of(session, purchase_id)
    wallet = asked_for if asked_for.wallet_status is not WalletStatus.CLOSED else await _successor(session, asked_for)
    for row in await _lock_waiting(session, purchase_id):
        if wallet.conversion_rate != asked_for.conversion_rate:
            row.credit_amount = credits_for(
                value_of(row.credit_amount, asked_for.conversion_rate), wallet.conversion_rate
            )
        await complete(session, wallet, row, now)


async def fail_purchase(session: AsyncSession, purchase_id: str, now: datetime) -> None:
    """Note that what an invoice would have sold, and its bonus, will never come."""
    await _wallet_of(session, purchase_id)
    for row in await _lock_waiting(session, purchase_id):
        row.transaction_status = TRANSACTION.check(row.transaction_status, TransactionStatus.FAILED)
        row.updated_at = now
        await session.flush()
        await record_transaction_event(session, "wallet.transaction.updated", row)


async def _wallet_of(session: AsyncSession, purchase_id: str) -> Wallet:
    """The wallet that credits were asked for, locked."""
    purchase = await session.get_one(WalletTransaction, purchase_id)
    return await lock_wallet(session, purchase.wallet_id)


async def _lock_waiting(session: AsyncSession, purchase_id: str) -> Sequence[WalletTransaction]:
    """A purchase and its bonus, as far as they wait, in this order."""
    row = WalletTransaction
    waiting = await session.scalars(
        select(row)
        .where(
            or_(row.id == purchase_id, row.parent_transaction_id == purchase_id),
            row.transaction_status == TransactionStatus.PENDING,
        )
        .order_by(row.parent_transaction_id.is_not(None), row.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return waiting.all()


async def _successor(session: AsyncSession, closed: Wallet) -> Wallet:
    """The wallet that a closed one was converted to, else the customer's of its type, made where there is none."""
    converted = await session.scalar(select(Wallet.id).where(Wallet.converted_from == closed.id))
    if converted is not None:
        successor = await lock_row(session, Wallet, converted)
        return successor if successor.wallet_status is not WalletStatus.CLOSED else await _successor(session, successor)
    return await lock_or_open_wallet(
        session,
        WalletKey(closed.customer_id, closed.currency, closed.wallet_type),
        OpeningTerms(closed.conversion_rate, closed.topup_conversion_rate),
    )
