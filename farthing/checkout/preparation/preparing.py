"""What each kind of checkout prepares before its payer is asked: the draft that it holds, and what waits with it.

Each function is given the id of the checkout, and answers None where nothing is charged: then nothing has been done.
Rule: docs/rules/checkout.md#what-can-be-paid-first
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import modifications, plan_change
from farthing.billing.changes.apply_outcome import Performed, perform
from farthing.billing.plan_change_schemas import SubscriptionChangeV2Request
from farthing.billing.schemas import AddAddonRequest, ExecuteSubscriptionModifyRequest, SubscriptionModifyType
from farthing.checkout.conclusion.completing import opening_invoices, opening_outcome
from farthing.checkout.preparation.held_drafts import foresee, hold_draft
from farthing.checkout.preparation.opening import PreparedCheckout
from farthing.checkout.purposes import (
    PaidAddon,
    PaidInvoice,
    PaidModification,
    PaidPlanChange,
    PaidSubscription,
    PaidTopUp,
)
from farthing.core.checkout import CheckoutAction, CheckoutParams
from farthing.core.clock import instant
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.credits.ledger.tables import WalletTransaction
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle.holding import hold
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.payments.processing.creation import why_not_payable
from farthing.payments.processing.execution import available
from farthing.storage.queries.rows import lock_row
from farthing.subscriptions.addons import lifecycle as addons
from farthing.subscriptions.enums import AddonStatus, ChangeAt, CollectionMethod, PaymentBehavior
from farthing.subscriptions.lifecycle import creation
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.tables import Subscription

_CHARGING = frozenset(
    {SubscriptionModifyType.QUANTITY_CHANGE, SubscriptionModifyType.LINE_ITEM_CHANGE, SubscriptionModifyType.ADDON}
)
"""Modifications whose charge is a settlement of the open period."""


def for_checkout(asked: CreateSubscriptionRequest, params: CheckoutParams) -> CreateSubscriptionRequest:
    """The request with the terms of a subscription that is paid for first.

    Raises ValidationFailed for what does not go with a checkout.
    Rule: docs/rules/checkout.md#subscriptions
    """
    if asked.subscription_status is not None:
        raise ValidationFailed.of("subscription_status", "does not go with checkout, which decides it")
    if asked.phases:
        raise ValidationFailed.of("phases", "do not go with checkout")
    family = asked.inheritance
    if family is not None:
        for name in family.__struct_fields__:
            if name != "grouped_invoicing_children_to_create" and getattr(family, name):
                raise ValidationFailed.of(f"inheritance.{name}", "does not go with checkout")
    config = params.payment_provider_config
    method = asked.collection_method or (config.collection_method if config is not None else None)
    collection = CollectionMethod(method or CollectionMethod.SEND_INVOICE)
    sent = collection is CollectionMethod.SEND_INVOICE
    behaviour = PaymentBehavior.DEFAULT_INCOMPLETE if sent else PaymentBehavior.ALLOW_INCOMPLETE
    return msgspec.structs.replace(
        asked, collection_method=collection.value, payment_behavior=asked.payment_behavior or behaviour, checkout=None
    )


async def prepare_subscription(
    session: AsyncSession, checkout_id: str, asked: CreateSubscriptionRequest, now: datetime
) -> tuple[Subscription, PreparedCheckout | None]:
    """Make the draft of a subscription and the draft of its opening invoice, each waiting for the other's checkout."""
    outcome = await creation.create(session, asked, now, as_draft=True)
    subscription_id = outcome.subscription.id

    async def begin() -> Invoice | None:
        began = await opening_outcome(session, subscription_id, now)
        invoices = await opening_invoices(session, began, now)
        return invoices[0] if invoices else None

    foreseen = await foresee(session, begin)
    subscription = await lock_row(session, Subscription, subscription_id)
    if foreseen is None:
        return subscription, None
    invoice = await hold_draft(session, foreseen, checkout_id, now, is_opening=True)
    subscription.invoices_begun = invoice.billing_sequence or subscription.invoices_begun
    subscription.checkout_session_id = checkout_id
    purpose = PaidSubscription(
        subscription_id=subscription.id,
        plan_id=subscription.plan_id,
        currency=subscription.currency,
        billing_period=subscription.billing_period.value,
        start_date=instant(subscription.start_date),
        end_date=None if subscription.end_date is None else instant(subscription.end_date),
        lookup_key=subscription.lookup_key or None,
        metadata={name: str(value) for name, value in subscription.meta.items()} or None,
    )
    prepared = PreparedCheckout(
        checkout_id,
        CheckoutAction.CREATE_SUBSCRIPTION,
        purpose,
        invoice,
        subject_id=subscription.id,
        entity_id=subscription.id,
        subscription_id=subscription.id,
    )
    return subscription, prepared


async def prepare_addon(
    session: AsyncSession, checkout_id: str, asked: AddAddonRequest, now: datetime, effects: InvoiceHooks
) -> PreparedCheckout | None:
    """Attach an addon that waits for its payment, with the draft of its charge."""

    async def attach() -> Invoice | None:
        _, outcome = await addons.add(session, asked.subscription_id, asked, now)
        return _settled(await perform(session, outcome, now, effects))

    foreseen = await foresee(session, attach)
    if foreseen is None:
        return None
    association, outcome = await addons.add(session, asked.subscription_id, asked, now, awaiting_payment=True)
    assert association.addon_status is AddonStatus.PENDING
    subscription_id = outcome.subscription.id
    invoice = await hold_draft(session, foreseen, checkout_id, now, is_opening=False)
    purpose = PaidAddon(
        subscription_id=subscription_id, addon_id=association.addon_id, addon_association_id=association.id
    )
    return PreparedCheckout(
        checkout_id,
        CheckoutAction.ADD_ADDON,
        purpose,
        invoice,
        subject_id=subscription_id,
        entity_id=association.id,
        subscription_id=subscription_id,
    )


async def prepare_modification(
    session: AsyncSession,
    checkout_id: str,
    subscription_id: str,
    asked: ExecuteSubscriptionModifyRequest,
    now: datetime,
    effects: InvoiceHooks,
) -> PreparedCheckout | None:
    """The draft of what a modification would charge. Raises ValidationFailed for one that cannot be paid first."""
    if asked.type not in _CHARGING:
        allowed = ", ".join(sorted(kind.value for kind in _CHARGING))
        raise ValidationFailed.of("checkout", f"goes with modifications of type {allowed}")
    request = msgspec.structs.replace(asked, checkout=None)

    async def modify() -> Invoice | None:
        outcome, _ = await modifications.make(session, subscription_id, request, now)
        return _settled(await perform(session, outcome, now, effects))

    foreseen = await foresee(session, modify)
    if foreseen is None:
        return None
    await lock_row(session, Subscription, subscription_id)
    purpose = PaidModification(subscription_id=subscription_id, request=msgspec.to_builtins(request))
    invoice = await hold_draft(session, foreseen, checkout_id, now, is_opening=False)
    return _of_change(checkout_id, purpose, invoice)


async def prepare_plan_change(
    session: AsyncSession,
    checkout_id: str,
    subscription_id: str,
    asked: SubscriptionChangeV2Request,
    now: datetime,
    effects: InvoiceHooks,
) -> PreparedCheckout | None:
    """The draft of what a plan change in place would charge. Raises ValidationFailed for one that is planned."""
    if asked.change_at is ChangeAt.END_OF_PERIOD:
        raise ValidationFailed.of("change_at", "must be immediate with checkout")
    request = msgspec.structs.replace(asked, checkout=None, proration_date=asked.proration_date or now)

    async def change() -> Invoice | None:
        await lock_row(session, Subscription, subscription_id)
        _, to_collect = await plan_change.change_now(session, subscription_id, request, now, effects)
        return await session.get_one(Invoice, to_collect[-1]) if to_collect else None

    foreseen = await foresee(session, change)
    if foreseen is None:
        return None
    await lock_row(session, Subscription, subscription_id)
    purpose = PaidPlanChange(subscription_id=subscription_id, request=msgspec.to_builtins(request))
    invoice = await hold_draft(session, foreseen, checkout_id, now, is_opening=False)
    return _of_change(checkout_id, purpose, invoice)


def _of_change(checkout_id: str, purpose: PaidModification | PaidPlanChange, invoice: Invoice) -> PreparedCheckout:
    return PreparedCheckout(
        checkout_id,
        CheckoutAction.MODIFY_SUBSCRIPTION,
        purpose,
        invoice,
        subject_id=purpose.subscription_id,
        entity_id=purpose.subscription_id,
        subscription_id=purpose.subscription_id,
    )


def _settled(performed: Performed) -> Invoice | None:
    return None if performed.settlement is None else performed.settlement.invoice


def prepare_top_up(checkout_id: str, purchase: WalletTransaction, invoice: Invoice) -> PreparedCheckout:
    """Let the draft that sells credits wait for its checkout."""
    hold(invoice, checkout_id)
    return PreparedCheckout(
        checkout_id,
        CheckoutAction.WALLET_TOPUP,
        PaidTopUp(wallet_id=purchase.wallet_id, wallet_transaction_id=purchase.id),
        invoice,
        subject_id=purchase.wallet_id,
        entity_id=purchase.id,
    )


def prepare_draft_invoice(checkout_id: str, invoice: Invoice) -> PreparedCheckout:
    """Let a new one-off wait for its checkout."""
    hold(invoice, checkout_id)
    return _of_invoice(checkout_id, invoice, holds_draft=True)


async def prepare_invoice(session: AsyncSession, checkout_id: str, invoice_id: str) -> PreparedCheckout:
    """Let an issued invoice be paid by a checkout. Raises NotFound, and InvalidOperation unless it asks for money."""
    invoice = await lock_row(session, Invoice, invoice_id)
    refusal = why_not_payable(invoice)
    if refusal is None and invoice.invoice_status is not InvoiceStatus.FINALIZED:
        refusal = f"the invoice is {invoice.invoice_status}; only a finalized one is paid by a checkout"
    if refusal is None and await available(session, invoice) < invoice.amount_remaining:
        refusal = "a payment of the invoice is being processed; wait for its outcome"
    if refusal is None and invoice.amount_remaining <= 0:
        refusal = "nothing remains to be paid on the invoice"
    if refusal is not None:
        raise InvalidOperation(refusal, {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value})
    return _of_invoice(checkout_id, invoice, holds_draft=False)


def _of_invoice(checkout_id: str, invoice: Invoice, *, holds_draft: bool) -> PreparedCheckout:
    return PreparedCheckout(
        checkout_id,
        CheckoutAction.PAY_INVOICE,
        PaidInvoice(invoice_id=invoice.id),
        invoice,
        subject_id=invoice.id,
        entity_id=invoice.id,
        holds_draft=holds_draft,
    )
