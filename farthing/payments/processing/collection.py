"""Attempting to collect an invoice with what its payer has on file.

Rule: docs/rules/invoices-and-payments.md#automatic-collection
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.money import EXACT, ZERO
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integrations import saved_methods
from farthing.payments.integrations.gateways import COLLECTORS, Gateways
from farthing.payments.integrations.marketplaces import is_collected_by_marketplace
from farthing.payments.ports import PaymentPorts
from farthing.payments.processing.creation import create
from farthing.payments.processing.execution import NotStartable, PaymentPoint, carry_on, pay_by_wallet
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.tables import Connection, DestinationType, Gateway, Payment
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find
from farthing.subscriptions.enums import CollectionMethod
from farthing.subscriptions.tables import Subscription

_PAID = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.REFUNDED})


async def attempt(session: AsyncSession, gateways: Gateways, invoice_id: str, clock: Clock) -> None:
    """Try to collect what remains on an invoice. A try that fails is no error: the invoice shows it.

    Raises InvalidOperation unless the invoice is finalized, or when a one-off owes nothing. A subscription's invoice is
    tried where its subscription is charged automatically.
    """
    interrupted = resume_point(session, PaymentPoint)
    if interrupted is not None:
        payment = await find(session, Payment, interrupted.payment_id)
        await charge(session, gateways, payment, clock)
        await pay_by_wallet(session, gateways, payment.destination_id, clock)
        return
    invoice = await find(session, Invoice, invoice_id)
    if invoice.invoice_status is InvoiceStatus.SKIPPED:
        return
    if invoice.invoice_status is not InvoiceStatus.FINALIZED:
        raise InvalidOperation(
            f"invoice is {invoice.invoice_status}; only a finalized one can be collected", {"invoice_id": invoice_id}
        )
    if invoice.invoice_type is InvoiceType.SUBSCRIPTION:
        subscription = await find(session, Subscription, invoice.subscription_id or "")
        owes = invoice.payment_status not in _PAID and invoice.amount_remaining > ZERO
        if not owes or subscription.collection_method is not CollectionMethod.CHARGE_AUTOMATICALLY:
            return
    elif invoice.payment_status in _PAID or invoice.amount_remaining <= ZERO:
        raise InvalidOperation(
            "nothing remains to be paid on the invoice",
            {"invoice_id": invoice_id, "payment_status": invoice.payment_status.value},
        )
    if await is_collected_elsewhere(session, invoice.subscription_id):
        return

    async def commit(payment: Payment) -> None:
        await commit_midway(session, PaymentPoint(payment.id))  # the provider is asked next

    await collect_remaining(session, gateways, invoice, clock, commit, wallet_stands_in=True)


async def collect_remaining(
    session: AsyncSession,
    gateways: Gateways,
    invoice: Invoice,
    clock: Clock,
    commit: Callable[[Payment], Awaitable[None]],
    *,
    wallet_stands_in: bool,
) -> None:
    """Charge the payer's saved method with what its wallet does not pay, then let the wallet pay its share.

    If that charge fails, the wallet pays only if `wallet_stands_in`. `commit` commits the payment before its provider
    is asked, with what a repeat of the request needs.
    Rule: docs/rules/credits.md#payments-by-wallet
    """
    share = await ports_of(session, PaymentPorts).find_share(session, invoice, clock.now())
    rest = invoice.amount_remaining if share is None else EXACT.subtract(invoice.amount_remaining, share.amount)
    charged = rest <= 0
    if not charged:
        payment = await payment_by_saved_method(session, gateways, invoice, rest, clock)
        if payment is not None:
            await commit(payment)
            await charge(session, gateways, payment, clock)
            charged = payment.payment_status is not PaymentStatus.FAILED
    if share is not None and (charged or wallet_stands_in):
        await pay_by_wallet(session, gateways, invoice.id, clock)


async def payment_by_saved_method(
    session: AsyncSession, gateways: Gateways, invoice: Invoice, amount: Decimal, clock: Clock
) -> Payment | None:
    """A payment of `amount` by the payer's saved method, default first, not committed; None without a method.

    The same attempt made twice at once, or again after an interruption, is one payment.
    """
    for gateway in await saved_methods.connected_gateways(session):
        saved = await saved_methods.saved_at(session, gateways, invoice.customer_id, gateway)
        usable = [method for method in saved.items if method.can_auto_charge]
        if not usable:
            continue
        asked = CreatePaymentRequest(
            destination_type=DestinationType.INVOICE,
            destination_id=invoice.id,
            payment_method_type=usable[0].type,
            payment_method_id=usable[0].id,
            payment_gateway=Gateway(gateway),
            amount=amount,
            currency=invoice.currency,
            process_payment=True,
            metadata={"payment_source": "saved_method"},
        )
        return (await create(session, asked, clock.now())).payment
    return None


async def charge(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> None:
    """Carry an automatic payment out, or on. A refusal is stored as a failed payment, and no error."""
    try:
        await carry_on(session, gateways, payment, clock)
    except NotStartable:
        pass  # whoever made the same attempt at the same time has it in hand
    except InvalidOperation as refusal:
        if "payment_id" not in refusal.details:
            raise


async def is_collected_elsewhere(session: AsyncSession, subscription_id: str | None) -> bool:
    """Whether somebody else collects the invoices of a subscription: a connected provider, or a marketplace."""
    return await collected_elsewhere(session) or await is_collected_by_marketplace(session, subscription_id)


async def collected_elsewhere(session: AsyncSession) -> bool:
    """Whether a connected provider gets every invoice and collects it by itself."""
    connections = await session.scalars(
        select(Connection).where(Connection.status == Status.PUBLISHED, Connection.provider_type.in_(COLLECTORS))
    )
    return any(((found.sync_config or {}).get("invoice") or {}).get("outbound", False) for found in connections)
