"""The document of an invoice: its rows as the values a page is set from, and links that open it for a while.

The PDF is a pure function of those values, so nothing is stored: whoever asks gets the invoice as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.errors import PermissionDenied
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.customers.tables import Customer
from farthing.identity.credentials.links import ENDED, LinkPurpose, OpenedLink, link_token
from farthing.identity.settings.catalogue import InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.logo import Logo
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem, TaxAppliedRow
from farthing.invoices.pdf.document import (
    Days,
    Discount,
    DocumentConversion,
    DocumentPayment,
    InvoiceDocument,
    Line,
    LineGroup,
    Tax,
    Totals,
)
from farthing.invoices.pdf.render import render
from farthing.invoices.pdf.turns import typeset
from farthing.invoices.ports import InvoicePorts, PaymentDescription
from farthing.invoices.reads.letterhead import buyer_of, language_of, seller_of, seller_zone, statements_of
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.reads.unit_prices import UnitPrice, unit_prices
from farthing.invoices.settlement_tables import PaymentSettlement
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find
from farthing.storage.scope import Scope

INVOICE_DOCUMENT = LinkPurpose("invoice-documents", timedelta(minutes=15))


async def pdf(session: AsyncSession, invoice: Invoice) -> bytes:
    """The invoice as a PDF, as it stands now."""
    return await typeset(invoice.tenant_id, render, await document(session, invoice))


async def document(session: AsyncSession, invoice: Invoice) -> InvoiceDocument:
    """Everything that stands on the invoice's pages.

    Periods and the due date are days of the zone in which they were cut, the issue and payments days of the seller's.
    Rule: docs/rules/invoices-and-payments.md#dates-that-people-read
    """
    zone = await seller_zone(session)
    cut_in = zone_or_abbreviation(await reading_zone(session, invoice))
    logo = (await read(session, InvoicePdfConfig)).logo
    customer = await session.get_one(Customer, invoice.customer_id)
    lines = await published_lines(session, invoice.id)
    names = {line.id: _name(line) for line in lines}
    coupons = await session.scalars(
        select(CouponApplicationRow)
        .where(CouponApplicationRow.invoice_id == invoice.id)
        .order_by(CouponApplicationRow.position)
    )
    taxes = await session.scalars(
        select(TaxAppliedRow).where(TaxAppliedRow.entity_id == invoice.id).order_by(TaxAppliedRow.position)
    )
    settlements = await session.scalars(
        select(PaymentSettlement)
        .where(PaymentSettlement.invoice_id == invoice.id, PaymentSettlement.amount > 0)
        .order_by(PaymentSettlement.created_at, PaymentSettlement.id)
    )
    described = await ports_of(session, InvoicePorts).describe_settlements(session, invoice.id)
    issued = invoice.issue_date or invoice.finalized_at
    return InvoiceDocument(
        seller=await seller_of(session, invoice.tenant_id),
        customer=await buyer_of(session, customer, invoice),
        currency=invoice.currency,
        status=invoice.invoice_status.value,
        payment_status=invoice.payment_status.value,
        number=invoice.invoice_number or "",
        issued=to_local(issued, zone).date() if issued else None,
        due_on=to_local(invoice.due_date, cut_in).date() if invoice.due_date else None,
        days=_days(invoice.period_start, invoice.period_end, cut_in),
        billing_period=invoice.billing_period or "",
        description=invoice.description,
        groups=tuple(_groups(lines, cut_in, await unit_prices(session, lines))),
        discounts=tuple(_discount(row, names) for row in coupons),
        taxes=tuple(_tax(row) for row in taxes),
        payments=tuple(_payment(row, described.get(row.id, _UNDESCRIBED), zone) for row in settlements),
        totals=_totals(invoice),
        statements=await statements_of(session, invoice),
        notes=invoice.meta.get("notes", ""),
        conversion=_conversion(invoice, zone),
        vat=invoice.meta.get("vat", ""),
        language=await language_of(session, customer),
        collector=await ports_of(session, InvoicePorts).collector_of(session, invoice.subscription_id),
        logo=Logo.of_base64(logo) if logo else None,
    )


def _conversion(invoice: Invoice, zone: ZoneInfo) -> DocumentConversion | None:
    if invoice.fx_rate is None or invoice.converted_at is None:
        return None
    subtotal = invoice.source_subtotal or ZERO
    taken = (invoice.source_total_discount or ZERO, invoice.source_total_prepaid_credits_applied or ZERO)
    return DocumentConversion(
        currency=invoice.charge_currency,
        subtotal=subtotal,
        net=exact_sum([subtotal, *(amount.copy_negate() for amount in taken)]),
        rate=invoice.fx_rate,
        day=to_local(invoice.converted_at, zone).date(),
    )


def _totals(invoice: Invoice) -> Totals:
    return Totals(
        subtotal=invoice.subtotal,
        discount=invoice.total_discount,
        prepaid_credits=invoice.total_prepaid_credits_applied,
        tax=invoice.total_tax,
        total=invoice.total,
        adjustment=invoice.adjustment_amount,
        paid=invoice.amount_paid,
        due=invoice.amount_remaining,
        overpaid=max(EXACT.subtract(invoice.amount_paid, invoice.amount_due), ZERO),
        refunded=invoice.refunded_amount,
    )


def _days(start: datetime | None, end: datetime | None, zone: ZoneInfo) -> Days | None:
    return Days.of(start, end, zone) if start and end else None


def _groups(lines: Sequence[InvoiceLineItem], zone: ZoneInfo, prices: Mapping[str, UnitPrice]) -> Iterable[LineGroup]:
    """Neighbouring lines of one plan under its name; lines of no plan without a head."""
    for plan, members in groupby(lines, key=lambda line: line.plan_display_name or ""):
        yield LineGroup(title=plan, lines=tuple(_line(line, zone, prices.get(line.id)) for line in members))


def _line(line: InvoiceLineItem, zone: ZoneInfo, price: UnitPrice | None) -> Line:
    return Line(
        name=_name(line),
        description=line.meta.get("description", ""),
        amount=line.amount,
        quantity=line.quantity,
        unit_price=None if price is None else price.amount,
        priced_units=Decimal(1) if price is None else price.units,
        days=_days(line.period_start, line.period_end, zone),
    )


_UNDESCRIBED = PaymentDescription("", "")


def _payment(settlement: PaymentSettlement, described: PaymentDescription, zone: ZoneInfo) -> DocumentPayment:
    return DocumentPayment(
        day=to_local(settlement.created_at, zone).date(),
        amount=settlement.amount,
        method=described.method,
        reference=described.reference,
    )


def _name(line: InvoiceLineItem) -> str:
    return line.display_name or line.meter_display_name or line.plan_display_name or "Charge"


def _discount(row: CouponApplicationRow, names: Mapping[str, str]) -> Discount:
    snapshot = row.coupon_snapshot
    if row.discount_percentage is not None:
        value = f"{plain(row.discount_percentage)}%"
    else:
        value = f"{row.currency.upper()} {plain(Decimal(snapshot.get('amount_off', '0')))} off"
    return Discount(
        name=snapshot.get("name") or row.coupon_id,
        amount=row.discounted_amount,
        kind=row.discount_type,
        value=value,
        line=names.get(row.invoice_line_item_id or "", ""),
    )


def _tax(row: TaxAppliedRow) -> Tax:
    snapshot = row.rate_snapshot
    percentage = snapshot.get("type") == "percentage"
    value = snapshot.get("value", "")
    return Tax(
        name=snapshot.get("name") or row.tax_rate_id,
        code=snapshot.get("code", ""),
        kind=snapshot.get("type", ""),
        rate=f"{value}%" if percentage else f"{row.currency.upper()} {value}",
        taxable=row.taxable_amount,
        amount=row.tax_amount,
    )


def link(invoice: Invoice, base_url: str, master_key: str, now: datetime) -> str:
    """An address under which the document opens without credentials for 15 minutes. `now` is real time."""
    scope = Scope(invoice.tenant_id, invoice.environment_id)
    return f"{base_url}/v1/invoices/documents/{link_token(INVOICE_DOCUMENT, scope, invoice.id, master_key, now)}"


async def linked_invoice(session: AsyncSession, link: OpenedLink) -> Invoice:
    """The invoice that a link opens, whatever has become of it since: the document says so.

    A link that was made before its customer was erased opens nothing, though the document may be kept; erasing takes
    effect at once. Raises NotFound, PermissionDenied.
    """
    invoice = await find(session, Invoice, link.subject_id)
    erased_at = (await session.get_one(Customer, invoice.customer_id)).erased_at
    if erased_at is not None and link.made_at <= erased_at:
        raise PermissionDenied(ENDED)
    return invoice
