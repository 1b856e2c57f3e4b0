"""A tenant pays its host: a payment link for the oldest invoice that is unpaid.

Rule: docs/rules/own-billing.md#checkout
"""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.errors import InvalidOperation, NotFound
from farthing.customers.lifecycle import update as update_customer
from farthing.customers.schemas import UpdateCustomerRequest
from farthing.customers.tables import Customer
from farthing.identity.tables import InternalStatus
from farthing.invoices.receivable import UNPAID, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.own_billing.host import BillingHost, require_customer
from farthing.own_billing.schemas import (
    SelfBillingCheckoutRequest,
    SelfBillingCheckoutResponse,
    SelfBillingCheckoutStatus,
)
from farthing.own_billing.tenants import set_active
from farthing.payments.events import record_payment_event
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.locks import lock_payment
from farthing.payments.processing import execution
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.states import OPEN
from farthing.payments.tables import DestinationType, Gateway, Payment, PaymentMethodType

_STATUSES = {
    PaymentStatus.INITIATED: SelfBillingCheckoutStatus.INITIATED,
    PaymentStatus.PENDING: SelfBillingCheckoutStatus.PENDING,
    PaymentStatus.PROCESSING: SelfBillingCheckoutStatus.PENDING,
    PaymentStatus.FAILED: SelfBillingCheckoutStatus.FAILED,
    PaymentStatus.VOIDED: SelfBillingCheckoutStatus.EXPIRED,
}
"""What the states of a link are called here; every other one is a success."""


async def begin_checkout(
    host: BillingHost, gateways: Gateways, tenant_id: str, given: SelfBillingCheckoutRequest, status: InternalStatus
) -> SelfBillingCheckoutResponse:
    """Keep who is billed, and open a link for the oldest unpaid invoice; one that is open is answered again.

    Where nothing is unpaid the tenant is active at once. Raises InvalidOperation for a tenant that is not billed, and
    where the host can take no money.
    """
    async with host.session() as session:
        customer = await require_customer(session, tenant_id)
        await update_customer(session, _details(given), customer_id=customer.id, strict_ids=False)
        await session.flush()
        invoice = await _oldest_unpaid(session, customer)
        if invoice is not None:
            payment = await _open_link(session, invoice)
            if payment is None:
                payment = await _new_link(session, gateways, invoice, host.clock)
            return _answer(payment, status)
    became = await set_active(host, tenant_id)
    return SelfBillingCheckoutResponse(status=SelfBillingCheckoutStatus.COMPLETED, tenant_status=became, terminal=True)


async def read_checkout(
    host: BillingHost, tenant_id: str, checkout_id: str, status: InternalStatus
) -> SelfBillingCheckoutResponse:
    """Where a checkout of the tenant stands. Raises NotFound, for another tenant's alike."""
    async with host.session(read_only=True) as session:
        return _answer(await _own(session, tenant_id, checkout_id), status)


async def cancel_checkout(host: BillingHost, tenant_id: str, checkout_id: str) -> None:
    """Close the link of a checkout. Raises NotFound, and InvalidOperation for one that is over."""
    async with host.session() as session:
        found = await _own(session, tenant_id, checkout_id)
        invoice, payment = await lock_payment(session, found.id)
        if payment.payment_status not in OPEN:
            details = {"checkout_id": checkout_id, "status": _status(payment).value}
            raise InvalidOperation("the checkout is over", details)
        payment.payment_status = PaymentStatus.VOIDED
        payment.voided_at = host.clock.now()
        payment.withdrawal_due = payment.payment_url is not None
        await record_payment_event(session, "payment.updated", payment, invoice)


def _details(given: SelfBillingCheckoutRequest) -> UpdateCustomerRequest:
    return UpdateCustomerRequest(
        name=given.name,
        email=given.email,
        address_line1=given.address_line1,
        address_line2=given.address_line2,
        address_city=given.address_city,
        address_state=given.address_state,
        address_postal_code=given.address_postal_code,
        address_country=given.address_country,
        tax_id=given.tax_id,
    )


async def _oldest_unpaid(session: AsyncSession, customer: Customer) -> Invoice | None:
    query = select(Invoice).where(Invoice.customer_id == customer.id, text(UNPAID))
    found: Invoice | None = await session.scalar(query.order_by(Invoice.finalized_at, Invoice.id).limit(1))
    return found


async def _open_link(session: AsyncSession, invoice: Invoice) -> Payment | None:
    query = select(Payment).where(
        Payment.destination_id == invoice.id,
        Payment.payment_method_type == PaymentMethodType.PAYMENT_LINK,
        Payment.payment_status == PaymentStatus.PENDING,
        Payment.amount == invoice.amount_remaining,
    )
    found: Payment | None = await session.scalar(query.order_by(Payment.id.desc()).limit(1))
    return found


async def _new_link(session: AsyncSession, gateways: Gateways, invoice: Invoice, clock: Clock) -> Payment:
    connection = await connection_to(session, None)
    if connection is None:
        raise InvalidOperation("the host is connected to no payment provider")
    asked = CreatePaymentRequest(
        destination_type=DestinationType.INVOICE,
        destination_id=invoice.id,
        payment_method_type=PaymentMethodType.PAYMENT_LINK,
        payment_gateway=Gateway(connection.provider_type.value),
        amount=invoice.amount_remaining,
        currency=invoice.currency,
        process_payment=True,
    )
    return (await execution.record_payment(session, gateways, asked, clock)).payment


async def _own(session: AsyncSession, tenant_id: str, checkout_id: str) -> Payment:
    customer = await require_customer(session, tenant_id)
    payment = await session.scalar(
        select(Payment)
        .join(Invoice, Invoice.id == Payment.destination_id)
        .where(
            Payment.id == checkout_id,
            Payment.payment_method_type == PaymentMethodType.PAYMENT_LINK,
            Invoice.customer_id == customer.id,
        )
    )
    if payment is None:
        raise NotFound("No such checkout", {"checkout_id": checkout_id})
    return payment


def _status(payment: Payment) -> SelfBillingCheckoutStatus:
    return _STATUSES.get(payment.payment_status, SelfBillingCheckoutStatus.COMPLETED)


def _answer(payment: Payment, status: InternalStatus) -> SelfBillingCheckoutResponse:
    is_over = payment.payment_status not in {*OPEN, PaymentStatus.PROCESSING}
    return SelfBillingCheckoutResponse(
        checkout_id=payment.id,
        status=_status(payment),
        tenant_status=status,
        terminal=is_over,
        url=None if is_over else payment.payment_url,
    )
