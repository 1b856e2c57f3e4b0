"""All payments, narrowed and sorted, and one payment: what it paid, what went back of it, and its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.money import ZERO, exact_sum
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.settlement_tables import PaymentSettlement
from farthing.invoices.tables import Invoice
from farthing.payments.processing import changes as payment_changes
from farthing.payments.processing.descriptions import PROVIDER_METHODS, method_of, reference_of
from farthing.payments.refunds.tables import RefundReason, RefundRecord
from farthing.payments.schemas import UpdatePaymentRequest
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.states import SETTLING
from farthing.payments.tables import DestinationType, Payment, PaymentAttempt, PaymentMethodType
from farthing.payments.unapplied.tables import UnappliedMoney
from farthing.storage.queries.rows import find, in_array
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import Listing, listing
from farthing.web.rendering.typed_fields import start_of_day, start_of_next_day
from farthing.web.rendering.words import wording

_RECEIVED = func.coalesce(Payment.succeeded_at, Payment.created_at)
_ORDER: Mapping[str, Any] = {"received": _RECEIVED, "recorded": Payment.created_at, "amount": Payment.amount}
_FILTERS = ("state", "method", "customer", "from", "until", "currency")


@dataclass(frozen=True, slots=True)
class InvoiceShare:
    """What an invoice had of a payment, and whether it was allocated to it from the customer's balance."""

    invoice: Invoice
    amount: Decimal
    at: datetime


class PaymentPages(Controller):
    """Payments."""

    path = "/payments"
    include_in_schema = False

    @get("/", guards=[shows("payment")])
    async def browse(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """All payments, narrowed, sorted, in pages."""
        at = listing(request, tuple(_ORDER), "received")
        narrowed = {name: request.query_params.get(name, "").strip()[:100].replace("\x00", "") for name in _FILTERS}
        problem = ""
        statement = _payments()
        try:
            statement = await _narrow(session, statement, narrowed)
        except ValidationFailed as error:
            problem = wording.reason(error)
        if at.sort == "amount" and not narrowed["currency"]:
            at.sort = "received"  # amounts of several currencies have no order
        rows, sums = await _page(session, statement, at)
        payments = [payment for payment, _, _ in rows]
        return render(
            request,
            "payments/list.html",
            rows=rows,
            sums=sums,
            counts=await _allocated_counts(session, [payment.id for payment in payments]),
            names=await names_of(session, {customer_id for _, _, customer_id in rows}),
            listing=at,
            narrowed=narrowed,
            problem=problem,
            zone=await zone_of(session),
            currencies=list(await session.scalars(select(Payment.currency).distinct().order_by(Payment.currency))),
            states=[(status.value, wording.words(status)) for status in PaymentStatus],
            methods=[(kind.value, label) for kind, label in PROVIDER_METHODS.items()],
            method_of=method_of,
            reference_of=reference_of,
        )

    @get("/{payment_id:str}", guards=[shows("payment")])
    async def read(self, payment_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One payment: the invoices that it paid, what is left of it, its refunds and tries."""
        payment = await find(session, Payment, payment_id)
        customer_id = await customer_of(session, payment)
        money = await _money_of(session, payment.id)
        refunds = await session.scalars(
            select(RefundRecord).where(RefundRecord.payment_id == payment.id).order_by(RefundRecord.created_at)
        )
        attempts = await session.scalars(
            select(PaymentAttempt)
            .where(PaymentAttempt.payment_id == payment.id)
            .order_by(PaymentAttempt.attempt_number)
        )
        return render(
            request,
            "payments/one.html",
            payment=payment,
            customer_id=customer_id,
            names=await names_of(session, {customer_id}),
            paid=await paid_invoices(session, payment.id),
            money=money,
            left=exact_sum([row.left for row in money]),
            refunds=refunds.all(),
            attempts=attempts.all(),
            reasons=list(RefundReason),
            can_take_back=_can_take_back(payment, money),
            method=method_of(payment),
            reference=reference_of(payment),
            zone=await zone_of(session),
            now=clock.now(),
            once=new_ulid(),
            activities=await newest_activities(request, session, entity_id=payment.id),
            activity_query={"entity_id": payment.id},
        )

    @post("/{payment_id:str}/take-back", guards=[changes("payment")])
    async def take_back(
        self, payment_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Undo a payment that was recorded in error: its invoices owe the money again."""
        here = f"/payments/{payment_id}"
        try:
            reason = form_of(request).get("reason", "")[:500]
            asked = UpdatePaymentRequest(payment_status=PaymentStatus.VOIDED, error_message=reason or None)
            effects = provide_gateways(services).effects
            await payment_changes.update(session, effects, payment_id, asked, clock.now())
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, here, as_domain_error(error))
        return done(request, here, "Taken back: the payment counts nowhere any more.")


def _payments() -> Select[Payment, str | None, str]:
    customer_id = func.coalesce(Invoice.customer_id, Payment.destination_id)
    return (
        select(Payment, Invoice.invoice_number, customer_id)
        .outerjoin(Invoice, (Invoice.id == Payment.destination_id) & (Invoice.environment_id == Payment.environment_id))
        .where(Payment.status == Status.PUBLISHED)
    )


async def _narrow(session: AsyncSession, statement: Any, narrowed: Mapping[str, str]) -> Any:
    """Raises ValidationFailed for a customer that nobody is, and for what is no day."""
    if narrowed["state"] in set(PaymentStatus):
        statement = statement.where(Payment.payment_status == PaymentStatus(narrowed["state"]))
    if narrowed["method"] in set(PaymentMethodType):
        statement = statement.where(Payment.payment_method_type == PaymentMethodType(narrowed["method"]))
    if narrowed["currency"]:
        statement = statement.where(Payment.currency == narrowed["currency"].lower())
    customer_id = await customer_id_of(session, narrowed["customer"], "customer")
    if customer_id:
        statement = statement.where(or_(Invoice.customer_id == customer_id, Payment.destination_id == customer_id))
    zone = zone_or_abbreviation(await zone_of(session))
    if narrowed["from"]:
        statement = statement.where(start_of_day("from", narrowed["from"], zone) <= _RECEIVED)
    if narrowed["until"]:
        statement = statement.where(start_of_next_day("until", narrowed["until"], zone) > _RECEIVED)
    return statement


async def _page(session: AsyncSession, statement: Any, at: Listing) -> tuple[Sequence[Any], dict[str, Decimal]]:
    """One page, and what the whole selection brought per currency; fills `at.total`."""
    chosen = statement.subquery()
    brought = func.sum(chosen.c.amount).filter(chosen.c.payment_status.in_(SETTLING))
    rows = await session.execute(
        select(chosen.c.currency, func.count(), func.coalesce(brought, 0))
        .group_by(chosen.c.currency)
        .order_by(chosen.c.currency)
    )
    sums: dict[str, Decimal] = {}
    for code, count, amount in rows:
        at.total += count
        sums[code] = amount
    key = _ORDER[at.sort]
    order = [key.desc() if at.descending else key.asc(), Payment.id.desc()]
    found = await session.execute(statement.order_by(*order).limit(at.per_page).offset(at.offset))
    return found.all(), sums


async def _allocated_counts(session: AsyncSession, payment_ids: Sequence[str]) -> dict[str, tuple[int, Decimal]]:
    """Of payments that name no invoice: how many invoices they were allocated to, and what is left of them."""
    part = PaymentSettlement
    rows = await session.execute(
        select(UnappliedMoney, func.count(part.invoice_id.distinct()))
        .outerjoin(part, part.unapplied_money_id == UnappliedMoney.id)
        .where(in_array(UnappliedMoney.payment_id, payment_ids))
        .group_by(UnappliedMoney.id)
    )
    counts: dict[str, tuple[int, Decimal]] = {}
    for money, count in rows:
        before, left = counts.get(money.payment_id or "", (0, ZERO))
        counts[money.payment_id or ""] = (before + count, exact_sum([left, money.left]))
    return counts


async def customer_of(session: AsyncSession, payment: Payment) -> str:
    """The customer whose money a payment is."""
    if payment.destination_type is DestinationType.CUSTOMER:
        return payment.destination_id
    invoice = await session.get(Invoice, payment.destination_id)
    return invoice.customer_id if invoice is not None else ""


async def paid_invoices(session: AsyncSession, payment_id: str) -> list[InvoiceShare]:
    """The invoices that have money of a payment, directly or from the balance, in the order in which they had it."""
    part = PaymentSettlement
    rows = await session.execute(
        select(Invoice, part.amount, part.created_at)
        .join(part, part.invoice_id == Invoice.id)
        .outerjoin(UnappliedMoney, UnappliedMoney.id == part.unapplied_money_id)
        .where(or_(part.payment_id == payment_id, UnappliedMoney.payment_id == payment_id), part.amount > 0)
        .order_by(part.created_at, part.id)
    )
    return [InvoiceShare(*row) for row in rows]


async def _money_of(session: AsyncSession, payment_id: str) -> list[UnappliedMoney]:
    query = select(UnappliedMoney).where(UnappliedMoney.payment_id == payment_id)
    return list(await session.scalars(query.order_by(UnappliedMoney.created_at, UnappliedMoney.id)))


def _can_take_back(payment: Payment, money: Sequence[UnappliedMoney]) -> bool:
    """Whether a payment was recorded by hand and nothing came of it but what taking it back undoes."""
    is_recorded = payment.payment_method_type is PaymentMethodType.OFFLINE
    used = any(row.allocated or row.withdrawn for row in money)
    return is_recorded and payment.payment_status is PaymentStatus.SUCCEEDED and not used
