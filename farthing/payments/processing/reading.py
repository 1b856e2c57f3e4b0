"""Payments as they are shown: with their attempts and the number of the invoice they pay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import Response
from farthing.invoices.tables import Invoice
from farthing.payments.schemas import PaymentAttemptResponse, PaymentQuery, PaymentResponse
from farthing.payments.tables import DestinationType, Payment, PaymentAttempt
from farthing.storage.queries.listing import one_of, page_statements
from farthing.storage.queries.pages import Belonging, PageShape, Read, read_page
from farthing.storage.queries.shapes import RowShape
from farthing.storage.queries.writing import write_pending

SEARCHABLE = (
    "id",
    "destination_type",
    "destination_id",
    "payment_method_type",
    "payment_status",
    "payment_gateway",
    "currency",
    "amount",
    "gateway_payment_id",
    "gateway_tracking_id",
    "created_at",
    "updated_at",
    "succeeded_at",
    "failed_at",
)

_EXACT = (
    "destination_type",
    "destination_id",
    "payment_method_type",
    "payment_status",
    "payment_gateway",
    "currency",
    "gateway_payment_id",
    "gateway_tracking_id",
)


class InvoiceNumber(Response):
    """The number of an invoice that is paid; None for a draft."""

    id: str
    invoice_number: str | None


_PAYMENTS = PageShape(
    RowShape(
        PaymentResponse,
        Payment,
        expressions={"gateway_metadata": "nullif(r.gateway_metadata, '{}')"},
        left_out=frozenset({"attempts", "invoice_number"}),
    ),
    (
        Belonging(
            RowShape(PaymentAttemptResponse, PaymentAttempt),
            "payment_id",
            only="page.track_attempts",
            order="r.attempt_number",
        ),
        Belonging(
            RowShape(InvoiceNumber, Invoice), "id", key="destination_id", only="page.destination_type = 'INVOICE'"
        ),
    ),
)


async def payments_page(read: Read, query: PaymentQuery) -> tuple[list[PaymentResponse], int]:
    """One page of payments and the count of all that match."""
    statement = select(Payment)
    if query.payment_ids is not None:
        statement = statement.where(one_of(Payment.id, query.payment_ids))
    for name in _EXACT:
        wanted = getattr(query, name)
        if wanted is not None:
            statement = statement.where(getattr(Payment, name) == wanted)
    found = await read_page(read, _PAYMENTS, page_statements(Payment, query, SEARCHABLE, statement))
    attempts, invoices = found.parts
    for payment in found.rows:
        payment.attempts = attempts.get(payment.id)
        for invoice in invoices.get(payment.destination_id, ()):
            payment.invoice_number = invoice.invoice_number
    return found.rows, found.total


async def answers_of(session: AsyncSession, payments: Sequence[Payment]) -> list[PaymentResponse]:
    """Payments with what belongs to them, in two further queries however many there are."""
    await session.flush()
    attempts: dict[str, list[PaymentAttemptResponse]] = defaultdict(list)
    tracked = [payment.id for payment in payments if payment.track_attempts]
    if tracked:
        for attempt in await session.scalars(
            select(PaymentAttempt)
            .where(PaymentAttempt.payment_id.in_(tracked))
            .order_by(PaymentAttempt.payment_id, PaymentAttempt.attempt_number)
        ):
            attempts[attempt.payment_id].append(PaymentAttemptResponse.of(attempt))
    paid = {p.destination_id for p in payments if p.destination_type is DestinationType.INVOICE}
    numbers = dict(
        (await session.execute(select(Invoice.id, Invoice.invoice_number).where(Invoice.id.in_(paid)))).all()
    )
    return [_answer(payment, attempts.get(payment.id), numbers.get(payment.destination_id)) for payment in payments]


async def answer_of(session: AsyncSession, payment: Payment, invoice: Invoice | None = None) -> PaymentResponse:
    """One payment with what belongs to it; of the invoice that it pays and no attempts, if given, nothing is read."""
    if invoice is not None and not payment.track_attempts:
        await write_pending(session)
        return _answer(payment, None, invoice.invoice_number)
    return (await answers_of(session, [payment]))[0]


def _answer(
    payment: Payment, attempts: list[PaymentAttemptResponse] | None, invoice_number: str | None
) -> PaymentResponse:
    return PaymentResponse.of(
        payment,
        attempts=attempts,
        invoice_number=invoice_number,
        gateway_metadata=payment.gateway_metadata or None,
    )
