"""What an invoice was issued as, read from its rows: figures, days, and what its parties said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.errors import InvalidOperation
from farthing.core.money import exact_sum
from farthing.identity.parties.versions import SELLER, PartyTerms, terms_since
from farthing.invoices.einvoice.accounting import accounting_rate
from farthing.invoices.einvoice.assembly import IssuedDocument
from farthing.invoices.einvoice.descriptions import line_description
from farthing.invoices.einvoice.mapping import (
    DOCUMENT_DISCOUNT,
    LINE_DISCOUNT,
    SINGLE_UNIT,
    CarriedRate,
    IssuedFigures,
    IssuedLine,
)
from farthing.invoices.einvoice.model import TypeCode
from farthing.invoices.figures.computation import calculate, charged_taxes, published_lines
from farthing.invoices.figures.tax_points import rates_carried, terms_by_rate
from farthing.invoices.figures.terms import TaxTerm
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem
from farthing.invoices.pdf.document import Days
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.rating.totals.taxes import TaxRateType
from farthing.subscriptions.tables import Subscription

UTC_NAME = "UTC"
MARK, MARK_URL = "mydata_mark", "mydata_url"
"""What a document's metadata says of its registration in Greece; it is known only after the issue."""


@dataclass(frozen=True, slots=True)
class IssuedParties:
    """What the parties to an invoice say, oldest first, and the zones of the document: of the day of issue, and of the
    periods."""

    seller: Sequence[PartyTerms]
    buyer: Sequence[PartyTerms]
    issue_zone: ZoneInfo
    reading_zone: ZoneInfo


async def issued_invoice(session: AsyncSession, invoice: Invoice) -> IssuedDocument:
    """The invoice as it was issued. Raises InvalidOperation unless it is finalized."""
    require_issued(invoice)
    parties = await parties_of(session, invoice)
    lines = await published_lines(session, invoice.id)
    reasons = await _discount_reasons(session, invoice)
    figures = IssuedFigures(
        type=TypeCode.INVOICE,
        number=invoice.invoice_number or "",
        issued=issue_day(invoice, parties),
        currency=invoice.currency,
        lines=tuple(_lines(invoice, lines, reasons, parties.reading_zone)),
        total=invoice.total,
        prepaid=invoice.total_prepaid_credits_applied,
        due_on=_due_day(invoice, parties.reading_zone),
        note=invoice.description,
        document_discount_reason=reasons.get("", DOCUMENT_DISCOUNT),
        days=header_days(invoice, parties.reading_zone),
        mark=invoice.meta.get(MARK, "").strip(),
        mark_url=invoice.meta.get(MARK_URL, "").strip(),
        accounting_rate=await accounting_rate(session, invoice, parties.seller, issue_day(invoice, parties)),
    )
    return IssuedDocument(figures, parties.seller, parties.buyer)


def require_issued(invoice: Invoice) -> None:
    """Raises InvalidOperation for an invoice that has no e-invoice."""
    if invoice.invoice_status is not InvoiceStatus.FINALIZED:
        raise InvalidOperation(
            f"a {invoice.invoice_status.value} invoice has no e-invoice: only a FINALIZED one has",
            {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value},
        )


async def parties_of(session: AsyncSession, invoice: Invoice) -> IssuedParties:
    """The parties to a finalized invoice; periods are read in the zone of its subscription, else of its payer."""
    seller = await terms_since(session, SELLER, invoice.seller_version_id)
    buyer = await terms_since(session, invoice.customer_id, invoice.buyer_version_id)
    zone = await session.scalar(select(Subscription.timezone).where(Subscription.id == (invoice.subscription_id or "")))
    return IssuedParties(
        seller,
        buyer,
        issue_zone=zone_or_abbreviation(_first_zone(seller)),
        reading_zone=zone_or_abbreviation(zone or _first_zone(buyer)),
    )


def _first_zone(versions: Sequence[PartyTerms]) -> str:
    return versions[0].get("timezone", UTC_NAME) if versions else UTC_NAME


def issue_day(invoice: Invoice, parties: IssuedParties) -> date:
    """The day of issue in the seller's zone."""
    issued = invoice.issue_date or invoice.finalized_at
    assert issued is not None, "a finalized invoice has its time"
    return to_local(issued, parties.issue_zone).date()


def _due_day(invoice: Invoice, zone: ZoneInfo) -> date | None:
    due = invoice.due_date_at_issue if invoice.due_date_moved else invoice.due_date
    return to_local(due, zone).date() if due is not None else None


def _days(start: datetime | None, end: datetime | None, zone: ZoneInfo) -> Days | None:
    return Days.of(start, end, zone) if start and end else None


def header_days(invoice: Invoice, zone: ZoneInfo) -> Days | None:
    """The days of the period that the invoice names, for lines that name none."""
    return _days(invoice.period_start, invoice.period_end, zone)


async def _discount_reasons(session: AsyncSession, invoice: Invoice) -> dict[str, str]:
    """The names of the coupons that were taken off, by line; under "" those of the whole invoice."""
    rows = await session.scalars(
        select(CouponApplicationRow)
        .where(CouponApplicationRow.invoice_id == invoice.id)
        .order_by(CouponApplicationRow.position)
    )
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        name = str(row.coupon_snapshot.get("name") or row.coupon_id)
        names.setdefault(row.invoice_line_item_id or "", {})[name] = None
    return {line_id: ", ".join(taken) for line_id, taken in names.items()}


def _lines(
    invoice: Invoice, lines: Sequence[InvoiceLineItem], reasons: dict[str, str], zone: ZoneInfo
) -> Iterable[IssuedLine]:
    worked = calculate(invoice, lines, invoice.total_prepaid_credits_applied).lines
    rates = carried_by_line(invoice, lines)
    for number, (line, figures) in enumerate(zip(lines, worked, strict=True)):
        yield IssuedLine(
            id=line.id,
            field=f"line_items[{number}]",
            name=line_name(line),
            description=line_description(
                line.meta.get("description", ""), line.rating, line.adjusted_entitlement_quantity, line.commitment_info
            ),
            quantity=line.quantity,
            unit=line.unit_code or SINGLE_UNIT,
            amount=line.amount,
            discount=line.line_item_discount,
            discount_reason=reasons.get(line.id, LINE_DISCOUNT),
            document_discount=line.invoice_level_discount,
            tax=exact_sum([share for _, share in figures.taxes]),
            rates=rates[line.id],
            days=line_days(line, zone),
        )


def line_name(line: InvoiceLineItem) -> str:
    """What a line charges for."""
    return line.display_name or line.meter_display_name or line.plan_display_name or "Charge"


def carried_by_line(invoice: Invoice, lines: Sequence[InvoiceLineItem]) -> dict[str, tuple[CarriedRate, ...]]:
    """The tax rates that each line carries, as the invoice took them."""
    terms = charged_taxes(invoice)
    rates = {rate_id: _carried(term) for rate_id, term in terms_by_rate(terms).items()}
    return {
        line.id: tuple(rates[rate_id] for rate_id in sorted(rates_carried(line, invoice.reference_date, terms)))
        for line in lines
    }


def line_days(line: InvoiceLineItem, zone: ZoneInfo) -> Days | None:
    """The days of the service that a line charges for."""
    return _days(line.period_start, line.period_end, zone)


def _carried(term: TaxTerm) -> CarriedRate:
    return CarriedRate(
        id=term.tax_rate_id,
        percentage=Decimal(term.value) if term.type is TaxRateType.PERCENTAGE else None,
        category=term.vat_category,
        reason=term.vat_exemption_reason,
        reason_code=term.vat_exemption_code,
    )
