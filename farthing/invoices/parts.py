"""What stands on an invoice besides its own row: read once, and carried from one step of a change to the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import String, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem, TaxAppliedRow
from farthing.invoices.settlement_tables import PaymentSettlement
from farthing.invoices.tables import Invoice
from farthing.storage.queries.kept import (
    KeptQuestion,
    KeptRows,
    KeptStatement,
    answer_to,
    answers_to,
    kept,
    kept_rows,
)
from farthing.storage.queries.rows import in_given_array, row_by_id


@dataclass(slots=True)
class InvoiceParts:
    """The published lines in their order, the discounts and taxes in theirs, and the payer.

    True for as long as the invoice's row is locked, or new; whoever changes one of them changes it here too.
    """

    payer: Customer | None
    lines: list[InvoiceLineItem] = field(default_factory=list)
    coupon_applications: list[CouponApplicationRow] = field(default_factory=list)
    taxes: list[TaxAppliedRow] = field(default_factory=list)
    paid: Decimal | None = None
    """The sum of the invoice's settlements; None as long as nobody needed it."""
    computed: bool = False
    """Whether the figures were worked out from these very parts in this transaction, without prepaid credits."""

    def put_reductions(self, rows: Sequence[CouponApplicationRow | TaxAppliedRow]) -> None:
        """Take what a computation made of the terms for the discounts and taxes."""
        self.coupon_applications = [row for row in rows if isinstance(row, CouponApplicationRow)]
        self.taxes = [row for row in rows if isinstance(row, TaxAppliedRow)]


async def parts_of(session: AsyncSession, invoice: Invoice) -> InvoiceParts:
    """Read the parts of one invoice."""
    return (await parts_of_all(session, [invoice]))[0]


async def parts_of_all(session: AsyncSession, invoices: Sequence[Invoice]) -> list[InvoiceParts]:
    """Read the parts of invoices, in their order; as many queries for a page as for one.

    An invoice without terms has no discounts and no taxes: they come from terms alone.
    """
    await session.flush()
    lines = await lines_of(session, [row.id for row in invoices])
    payers = await payers_of(session, invoices)
    parts = {row.id: InvoiceParts(payers.get(row.customer_id), lines[row.id]) for row in invoices}
    await read_reductions(session, invoices, parts)
    return [parts[row.id] for row in invoices]


async def read_reductions(
    session: AsyncSession, invoices: Sequence[Invoice], parts: Mapping[str, InvoiceParts]
) -> None:
    """Read the discounts and taxes of invoices into their parts, by invoice."""
    coupons = await _coupons_of(session, [row.id for row in invoices if row.coupon_terms])
    taxes = await _taxes_of(session, [row.id for row in invoices if row.tax_terms])
    for row in invoices:
        parts[row.id].coupon_applications, parts[row.id].taxes = coupons[row.id], taxes[row.id]


async def lock_with_parts(
    session: AsyncSession, invoice_id: str, *others: KeptQuestion[Any]
) -> tuple[Invoice | None, InvoiceParts | None, list[list[Any]]]:
    """Lock an invoice, and read its parts and what else it is asked for, all by one message; None for no invoice."""
    lines, payer, settled = _kept_parts()
    (found, *answers) = await answers_to(
        session,
        row_by_id(Invoice, invoice_id, lock=True),
        lines.asked(ids=[invoice_id]),
        payer.asked(invoice_id=invoice_id),
        settled.asked(invoice_id=invoice_id),
        *others,
    )
    if not found:
        return None, None, answers[3:]
    (invoice,), (lines_found, payers, ((paid,),)) = found, answers[:3]
    parts = InvoiceParts(payers[0] if payers else None, lines_found, paid=paid)
    await read_reductions(session, [invoice], {invoice.id: parts})
    return invoice, parts, answers[3:]


@cache
def _kept_parts() -> tuple[KeptRows[InvoiceLineItem], KeptRows[Customer], KeptStatement]:
    """The lines of an invoice, its payer, and the sum of its settlements."""
    invoice_id = bindparam("invoice_id", type_=String)
    line = InvoiceLineItem
    payer_id = select(Invoice.customer_id).where(Invoice.id == invoice_id).scalar_subquery()
    settled = select(func.coalesce(func.sum(PaymentSettlement.amount), 0))
    return (
        _kept_published(line, line.invoice_id, line.position, line.id),
        kept_rows(Customer, Customer.id == payer_id),
        kept(settled.where(PaymentSettlement.invoice_id == invoice_id)),
    )


async def payers_of(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, Customer]:
    """Who pays invoices, by id."""
    if not invoices:
        return {}
    found = await answer_to(session, _kept_payers().asked(ids=list({row.customer_id for row in invoices})))
    return {payer.id: payer for payer in found}


@cache
def _kept_payers() -> KeptRows[Customer]:
    return kept_rows(Customer, in_given_array(Customer.id, "ids"))


async def lines_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[InvoiceLineItem]]:
    """The published lines of invoices, by invoice, in the order they stand on it."""
    line = InvoiceLineItem
    return await _published(session, line, line.invoice_id, ids, line.position, line.id)


async def _coupons_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[CouponApplicationRow]]:
    applied = CouponApplicationRow
    return await _published(session, applied, applied.invoice_id, ids, applied.position)


async def _taxes_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[TaxAppliedRow]]:
    return await _published(session, TaxAppliedRow, TaxAppliedRow.entity_id, ids, TaxAppliedRow.position)


Part = TypeVar("Part", InvoiceLineItem, CouponApplicationRow, TaxAppliedRow)


async def _published(
    session: AsyncSession,
    table: type[Part],
    of: InstrumentedAttribute[str],
    ids: Sequence[str],
    *order: InstrumentedAttribute[Any],
) -> dict[str, list[Part]]:
    """The published rows `of` these invoices, by invoice, in their order; one that has none has an empty list."""
    grouped: defaultdict[str, list[Part]] = defaultdict(list)
    if ids:
        for row in await answer_to(session, _kept_published(table, of, *order).asked(ids=list(ids))):
            grouped[getattr(row, of.key)].append(row)
    return grouped


@cache
def _kept_published(
    table: type[Part], of: InstrumentedAttribute[str], *order: InstrumentedAttribute[Any]
) -> KeptRows[Part]:
    return kept_rows(table, in_given_array(of, "ids"), table.status == Status.PUBLISHED, order=order)
