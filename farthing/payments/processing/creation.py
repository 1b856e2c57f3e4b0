"""Making a payment: what it may pay, and which key makes a repeated request the same one.

Rule: docs/rules/invoices-and-payments.md#automatic-key
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, DateTime, String, bindparam, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, ValidationFailed, VersionConflict
from farthing.core.ids import Kind, new_id
from farthing.core.money import decimals, plain
from farthing.customers.tables import Customer
from farthing.invoices.parts import InvoiceParts, lock_with_parts
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.ports import PaymentPorts
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.states import SETTLING
from farthing.payments.tables import DestinationType, Gateway, Payment, PaymentMethodType
from farthing.storage.postgres import ports_of, real_clock_of
from farthing.storage.queries.kept import KeptQuestion, KeptRows, KeptStatement, answer_to, answers_to, kept, kept_rows
from farthing.storage.queries.rows import find, insert_if_new, row_by_id

REPEAT_WINDOW = timedelta(seconds=60)
"""How long after its success, in real time, an equal request is taken for a repeat and not a second instalment."""

UNCAPPED = frozenset({PaymentMethodType.OFFLINE})
"""Methods that record money that has moved already, and so may exceed what is owed."""

AT_ONCE = frozenset({PaymentMethodType.OFFLINE, PaymentMethodType.CREDITS})
"""Methods that ask no provider: a payment is made and counted in one transaction."""

_UNPAYABLE = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.REFUNDED})


@dataclass(frozen=True, slots=True)
class CreatedPayment:
    """A payment that a request made, or that an equal request made before. `invoice` is locked until the commit."""

    payment: Payment
    invoice: Invoice | None
    is_new: bool
    parts: InvoiceParts | None = None
    """Of the invoice, where they were read with it."""

    @property
    def is_counted_by_itself(self) -> bool:
        """Whether it is of money that has moved, on a final invoice that leads to no credits when it is paid: those
        lock wallets, which comes after the payment is written."""
        invoice = self.invoice
        if self.parts is None or invoice is None or invoice.invoice_status is not InvoiceStatus.FINALIZED:
            return False
        grants = invoice.subscription_id is not None and invoice.billing_reason is not BillingReason.SUBSCRIPTION_CYCLE
        return invoice.wallet_transaction_id is None and not grants


async def create(session: AsyncSession, given: CreatePaymentRequest, now: datetime) -> CreatedPayment:
    """Store a payment, or find the one that the same request made before. Raises what `prepare` does."""
    return await store(session, given, await prepare(session, given, now))


async def store(session: AsyncSession, given: CreatePaymentRequest, prepared: CreatedPayment) -> CreatedPayment:
    """Write a payment that was prepared, unless it was made before, or an equal one has been made meanwhile."""
    payment, invoice = prepared.payment, prepared.invoice
    if not prepared.is_new:
        return prepared
    if not await insert_if_new(session, payment):
        known = await _by_key(session, payment.idempotency_key)
        if known is None:
            raise VersionConflict(
                "The same payment was changed at the same time; please try again", {"key": payment.idempotency_key}
            )
        return CreatedPayment(_same(known, given, payment.idempotency_key), invoice, is_new=False)
    await record_payment_event(session, "payment.created", payment, invoice)
    return prepared


async def prepare(session: AsyncSession, given: CreatePaymentRequest, now: datetime) -> CreatedPayment:
    """Make a payment, which is not written yet, or find the one that the same request made before.

    Everything is looked up and checked with the invoice locked, so that of many requests at once each sees what those
    before it have done. Raises ValidationFailed for what cannot be paid so, NotFound for a customer or a wallet that is
    not there, InvalidOperation for a wallet that cannot pay as much, and AlreadyExists when the key given was used for
    another amount or destination.
    Rule: docs/rules/invoices-and-payments.md#making-a-payment
    """
    _check_method(given)
    fingerprint = _fingerprint(given)
    identifying = (
        _kept_by_key().asked(key=given.idempotency_key)
        if given.idempotency_key
        else _earlier(session, given, fingerprint)
    )
    invoice, parts = None, None
    if given.destination_type is not DestinationType.INVOICE:
        found = await answer_to(session, identifying)
    elif given.payment_method_type is PaymentMethodType.OFFLINE and given.process_payment:
        invoice, parts, (found,) = await lock_with_parts(session, given.destination_id, identifying)
    else:
        locked, found = await answers_to(session, row_by_id(Invoice, given.destination_id, lock=True), identifying)
        invoice = locked[0] if locked else None
    if given.idempotency_key:
        key, known = given.idempotency_key, found[0] if found else None
    else:
        ordinal, keys = found[0]
        key = _derived_key(fingerprint, ordinal)
        known = await _by_key(session, key) if key in (keys or ()) else None
    if known is not None:
        return CreatedPayment(_same(known, given, key), invoice, is_new=False)
    await _check_destination(session, given, invoice, now)
    payment = _payment(given, key, fingerprint)
    if payment.payment_method_type is PaymentMethodType.CREDITS and invoice is not None:
        choose_wallet = ports_of(session, PaymentPorts).choose_wallet
        payment.payment_method_id = await choose_wallet(session, invoice, given.payment_method_id, given.amount, now)
    return CreatedPayment(payment, invoice, is_new=True, parts=parts)


async def create_for_checkout(
    session: AsyncSession, given: CreatePaymentRequest, invoice: Invoice, checkout_session_id: str
) -> Payment:
    """Store the link payment of a new checkout, for a locked invoice that it holds, or one that asks for money."""
    payment = _payment(given, checkout_session_id, _fingerprint(given))
    payment.checkout_session_id = checkout_session_id
    payment.derived_key = False
    session.add(payment)
    await session.flush()
    await record_payment_event(session, "payment.created", payment, invoice)
    return payment


def _check_method(given: CreatePaymentRequest) -> None:
    method, method_id = given.payment_method_type, given.payment_method_id or ""
    if method is PaymentMethodType.OFFLINE and method_id:
        raise ValidationFailed.of("payment_method_id", "must be empty for OFFLINE payments")
    if method in {PaymentMethodType.ACH, PaymentMethodType.UPI} and not method_id:
        raise ValidationFailed.of("payment_method_id", f"is required for {method} payments")
    if method is PaymentMethodType.PAYMENT_LINK and given.payment_gateway is None:
        raise ValidationFailed.of("payment_gateway", "is required for PAYMENT_LINK payments")
    if method is PaymentMethodType.CREDITS and given.destination_type is not DestinationType.INVOICE:
        raise ValidationFailed.of("destination_type", "must be INVOICE for CREDITS payments")
    asks_tax_id = (
        given.gateway_options is not None
        and given.gateway_options.stripe is not None
        and given.gateway_options.stripe.tax_id_collection_enabled is not None
    )
    if asks_tax_id and not (method is PaymentMethodType.PAYMENT_LINK and given.payment_gateway is Gateway.STRIPE):
        raise ValidationFailed.of("gateway_options.stripe", "applies to payment links of stripe only")
    places = currency.digits(given.currency)
    if decimals(given.amount) > places:
        raise ValidationFailed.of("amount", f"must have at most {places} decimals in {given.currency}")


async def _check_destination(
    session: AsyncSession, given: CreatePaymentRequest, invoice: Invoice | None, now: datetime
) -> None:
    if given.destination_type is DestinationType.CUSTOMER:
        await find(session, Customer, given.destination_id)
        return
    if invoice is None:
        raise ValidationFailed.of("destination_id", "no such invoice")
    refusal = why_not_payable(invoice)
    if refusal is not None:
        raise ValidationFailed.of("destination_id", refusal)
    if invoice.invoice_status is InvoiceStatus.DRAFT and invoice.invoice_type is InvoiceType.SUBSCRIPTION:
        still_running = invoice.period_end is not None and invoice.period_end > now
        if invoice.last_computed_at is None or still_running:
            raise ValidationFailed.of("destination_id", "the invoice's period has not been billed yet")
    if invoice.currency != given.currency:
        raise ValidationFailed.of("currency", f"must be the invoice's, {invoice.currency}")
    if given.payment_method_type not in UNCAPPED:
        check_cap(given.amount, invoice.amount_remaining)


def why_not_payable(invoice: Invoice) -> str | None:
    """Why a locked invoice takes no payment; None when it takes one.

    Rule: docs/rules/invoices-and-payments.md#making-a-payment
    """
    if invoice.invoice_status in {InvoiceStatus.VOIDED, InvoiceStatus.SKIPPED}:
        return f"the invoice is {invoice.invoice_status} and takes no payment"
    if invoice.awaits_checkout:
        return "the invoice waits for its checkout and takes no other payment"
    if invoice.payment_status in _UNPAYABLE:
        return f"the invoice is {invoice.payment_status} and takes no payment"
    return None


def check_cap(amount: Decimal, available: Decimal) -> None:
    """Refuse to charge more than an invoice still asks for. Raises ValidationFailed."""
    if amount > available:
        raise ValidationFailed.of("amount", f"must be at most what remains on the invoice, {plain(available)}")


def _payment(given: CreatePaymentRequest, key: str, fingerprint: str) -> Payment:
    method = given.payment_method_type
    waits = method is PaymentMethodType.PAYMENT_LINK or (method not in AT_ONCE and not given.process_payment)
    stripe = given.gateway_options.stripe if given.gateway_options else None
    options = {"tax_id_collection_enabled": "true"} if stripe and stripe.tax_id_collection_enabled else {}
    return Payment(
        id=new_id(Kind.PAYMENT),
        idempotency_key=key,
        fingerprint=fingerprint,
        derived_key=given.idempotency_key is None or given.idempotency_key == "",
        destination_type=given.destination_type,
        destination_id=given.destination_id,
        payment_method_type=method,
        payment_method_id="" if method is PaymentMethodType.PAYMENT_LINK else given.payment_method_id or "",
        amount=given.amount,
        asked_amount=given.amount,
        currency=given.currency,
        payment_status=PaymentStatus.INITIATED if waits else PaymentStatus.PENDING,
        track_attempts=method is not PaymentMethodType.OFFLINE,
        payment_gateway=None if method is PaymentMethodType.OFFLINE else given.payment_gateway,
        gateway_metadata=options,
        success_url=given.success_url,
        cancel_url=given.cancel_url,
        save_card_and_make_default=bool(given.save_card_and_make_default),
        meta=dict(given.metadata or {}),
    )


def _fingerprint(given: CreatePaymentRequest) -> str:
    parts = (
        given.destination_type.value,
        given.destination_id,
        plain(given.amount),
        given.currency,
        given.payment_method_type.value,
        given.payment_method_id or "",
        given.payment_gateway.value if given.payment_gateway else "",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _derived_key(fingerprint: str, ordinal: int) -> str:
    """The key of a request that brings none: the same until the payment it made is over.

    The ordinal counts earlier payments of the same fingerprint that are over, so that a network's retry finds the first
    payment and a real second instalment does not.
    """
    digest = hashlib.sha256(f"payment:fingerprint={fingerprint}:ordinal={ordinal}".encode()).hexdigest()
    return f"payment-{digest[:16]}"


def _earlier(session: AsyncSession, given: CreatePaymentRequest, fingerprint: str) -> KeptQuestion[Any]:
    """How many earlier payments of the same fingerprint are over, and the keys of those that are not deleted.

    A payment is over once it failed or was voided, a minute of real time after its success, and as soon as its invoice
    was changed by anything else.
    """
    long_ago = real_clock_of(session).now() - REPEAT_WINDOW
    if given.destination_type is DestinationType.INVOICE:
        return _kept_earlier(True).asked(fingerprint=fingerprint, long_ago=long_ago, invoice_id=given.destination_id)
    return _kept_earlier(False).asked(fingerprint=fingerprint, long_ago=long_ago)


@cache
def _kept_earlier(of_invoice: bool) -> KeptStatement:
    recorded = Payment.success_recorded_at
    changed: ColumnElement[bool] = false()
    if of_invoice:
        version = select(Invoice.version).where(Invoice.id == bindparam("invoice_id", type_=String)).scalar_subquery()
        changed = Payment.invoice_version.is_(None) | (Payment.invoice_version != version)
    over = or_(
        *(Payment.payment_status == status for status in (PaymentStatus.FAILED, PaymentStatus.VOIDED)),
        or_(*(Payment.payment_status == status for status in sorted(SETTLING)))
        & (recorded.is_(None) | (recorded < bindparam("long_ago", type_=DateTime(timezone=True))) | changed),
    )
    keys = func.array_agg(Payment.idempotency_key).filter(Payment.status == Status.PUBLISHED)
    return kept(
        select(func.count().filter(over), keys).where(
            Payment.fingerprint == bindparam("fingerprint", type_=String), Payment.derived_key
        )
    )


async def _by_key(session: AsyncSession, key: str) -> Payment | None:
    found = await answer_to(session, _kept_by_key().asked(key=key))
    return found[0] if found else None


@cache
def _kept_by_key() -> KeptRows[Payment]:
    return kept_rows(
        Payment,
        Payment.idempotency_key == bindparam("key", type_=String),
        Payment.status == Status.PUBLISHED,
        renews=True,
    )


def _same(known: Payment, given: CreatePaymentRequest, key: str) -> Payment:
    asked = (given.destination_type, given.destination_id, given.amount, given.currency)
    if (known.destination_type, known.destination_id, known.asked_amount, known.currency) != asked:
        raise AlreadyExists(
            "This idempotency key was used for a payment of another amount or destination",
            {"idempotency_key": key, "payment_id": known.id},
        )
    return known
