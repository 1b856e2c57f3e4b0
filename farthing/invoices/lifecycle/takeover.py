"""Invoices that another system has issued: stored as they were issued, with the number they have.

Nothing follows from them: they take no credits, open no subscription, are not collected and not announced as issued.
Rule: docs/rules/invoices-and-payments.md#taken-over
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.fx.enums import FxScope
from farthing.core.encoding.wire import BadField, Moment, Request, checked_metadata, currency_code, stored_amount
from farthing.core.enums import PriceType
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.customers.lookup import lock_for_use
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.figures.computation import calculate, reductions, write_figures
from farthing.invoices.figures.settlement import settle
from farthing.invoices.figures.terms import Budget, CouponTerm, TaxTerm, stored
from farthing.invoices.lifecycle import drafts
from farthing.invoices.lifecycle.as_issued import keep_as_issued
from farthing.invoices.lifecycle.numbering import continue_after, number_as_given
from farthing.invoices.lifecycle.transitions import move
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import InvoiceParts
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.requests import Id, Name, Word
from farthing.invoices.tables import CONVERSION, Invoice
from farthing.rating.totals.calculation import InvoiceTotals
from farthing.rating.totals.discounts import CouponType
from farthing.rating.totals.taxes import TaxRateType
from farthing.storage.postgres import add_new

TAKEN_OVER = "taken_over"
"""What `source_type` says of an invoice that another system has issued."""


class TakenOverLine(Request, kw_only=True):
    """One charge as the other system shows it; `source_id` is what discounts name it by."""

    source_id: str
    amount: Decimal
    quantity: Decimal = ZERO
    display_name: Name | None = None
    price_type: PriceType | None = None
    price_id: Id | None = None
    meter_id: Id | None = None
    meter_display_name: Name | None = None
    entity_id: Id | None = None
    entity_type: Word | None = None
    plan_display_name: Name | None = None
    subscription_id: Id | None = None
    subscription_line_item_id: Id | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None
    line_item_discount: Decimal = ZERO
    invoice_level_discount: Decimal = ZERO
    prepaid_credits_applied: Decimal = ZERO
    source_amount: Decimal | None = None
    """What it was before its invoice was converted."""
    metadata: dict[str, str] | None = None

    @property
    def net(self) -> Decimal:
        """What discounts and credits left of it."""
        taken = exact_sum([self.line_item_discount, self.invoice_level_discount, self.prepaid_credits_applied])
        return EXACT.subtract(self.amount, taken)


class TakenOverDiscount(Request, kw_only=True):
    """What a coupon took off the whole invoice, or off the line with this `source_id`; of lines whose service begins in
    `[period_start, period_end)`, where those are said."""

    coupon_id: Id
    discounted_amount: Decimal
    name: str = ""
    coupon_association_id: Id | None = None
    line: str | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None
    source_amount: Decimal | None = None
    """What it was in the currency of the charges, of an invoice that was converted: its budget is in that."""


class TakenOverTax(Request, kw_only=True):
    """What a rate added."""

    tax_rate_id: Id
    tax_amount: Decimal
    name: str = ""
    code: str = ""


class TakenOverConversion(Request, kw_only=True):
    """How an invoice was converted from the currency of its charges, in which it came to `subtotal`."""

    charge_currency: str
    rate: Decimal
    rate_id: Id
    scope: FxScope
    converted_at: Moment
    subtotal: Decimal

    def __post_init__(self) -> None:
        super().__post_init__()
        self.charge_currency = currency_code("charge_currency", self.charge_currency)
        if self.rate <= 0:
            raise BadField("rate", "must be above 0")


class TakenOverInvoice(Request, kw_only=True):
    """An issued invoice. Its figures are those that it was issued with.

    A `conversion` is kept where the lines, converted again, come to these figures, and nothing was taken off them.
    """

    customer_id: Id
    currency: str
    invoice_type: InvoiceType = InvoiceType.ONE_OFF
    billing_reason: BillingReason | None = None
    invoice_number: str
    finalized_at: Moment
    issue_date: Moment | None = None
    due_date: Moment | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None
    billing_period: Word | None = None
    subscription_id: Id | None = None
    subscription_customer_id: Id | None = None
    description: str | None = None
    subtotal: Decimal
    total_discount: Decimal = ZERO
    total_prepaid_credits_applied: Decimal = ZERO
    total_tax: Decimal = ZERO
    total: Decimal
    line_items: list[TakenOverLine] = []
    discounts: list[TakenOverDiscount] = []
    taxes: list[TakenOverTax] = []
    conversion: TakenOverConversion | None = None
    created_at: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        self.metadata = checked_metadata(self.metadata)
        for field in ("subtotal", "total_discount", "total_prepaid_credits_applied", "total_tax", "total"):
            if stored_amount(field, getattr(self, field)) < 0:
                raise BadField(field, "must not be negative")
        if not 1 <= len(self.invoice_number) <= 100:
            raise BadField("invoice_number", "must have 1 to 100 characters")


class Fidelity(Enum):
    """How much of the lines could be kept, so that they come to the total."""

    WHOLE = "lines, discounts and taxes"
    NET_LINES = "lines net of discounts and credits"
    ONE_LINE = "one line of the total"


@dataclass(frozen=True, slots=True)
class TakenInvoice:
    """An invoice that was taken over; `lines` by what the other system calls them, where they were kept."""

    invoice: Invoice
    fidelity: Fidelity
    lines: dict[str, str]


_Windows = Mapping[str, datetime]
"""Since when each of some associations discounts, by id."""


@dataclass(frozen=True, slots=True)
class _Shape:
    fidelity: Fidelity
    lines: list[InvoiceLineItem]
    coupons: list[CouponTerm]
    taxes: list[TaxTerm]
    prepaid: Decimal


async def take_over_invoice(session: AsyncSession, terms: TakenOverInvoice, now: datetime) -> TakenInvoice:
    """Store an invoice as it was issued, with nothing paid yet.

    Lines that do not come to the total by the rules of this system are kept net, or as one line of the total. Raises
    NotFound, AlreadyExists for a number in use, ValidationFailed for a total that no lines come to.
    """
    payer = await lock_for_use(session, terms.customer_id)
    invoice = _row(terms, now)
    shape, totals = _fitting(invoice, terms, await _budgeted(session, terms))
    if await drafts.begin(session, invoice) is not invoice:
        raise AlreadyExists("The invoice exists already", {"invoice_number": terms.invoice_number})
    parts = InvoiceParts(payer, shape.lines, paid=ZERO)
    drafts.add_lines(session, invoice, shape.lines)
    write_figures(invoice, shape.lines, totals, terms.finalized_at)
    taken = reductions(invoice, totals, terms.finalized_at)
    add_new(session, taken)
    parts.put_reductions(taken)
    _say_what_budgets_gave(parts, terms)
    await _issue(session, invoice, parts, terms, now)
    kept = zip(terms.line_items, shape.lines, strict=False) if shape.fidelity is not Fidelity.ONE_LINE else ()
    return TakenInvoice(invoice, shape.fidelity, {given.source_id: line.id for given, line in kept})


def _say_what_budgets_gave(parts: InvoiceParts, terms: TakenOverInvoice) -> None:
    """Coupons have budgets in the currency of the charges, also where nothing else of a conversion is kept."""
    left = [discount for discount in terms.discounts if discount.source_amount is not None]
    for row in parts.coupon_applications:
        taken = row.coupon_association_id, row.discounted_amount
        for discount in left:
            if (discount.coupon_association_id, discount.discounted_amount) == taken:
                row.source_discounted_amount = discount.source_amount
                left.remove(discount)
                break


async def _issue(
    session: AsyncSession, invoice: Invoice, parts: InvoiceParts, terms: TakenOverInvoice, now: datetime
) -> None:
    """Make the draft what it is: issued then, with its number, and recorded as a change."""
    move(invoice, InvoiceStatus.FINALIZED)
    invoice.finalized_at = terms.finalized_at
    invoice.invoice_number = invoice.id  # nobody sees the id that stands in for the number
    await settle(session, invoice, terms.finalized_at, paid=ZERO)
    await keep_as_issued(session, [invoice], {invoice.id: parts})
    await session.flush()
    await number_as_given(session, invoice, terms.invoice_number)
    await continue_after(session, terms.invoice_number, now)
    await events.record_invoice_event(session, InvoiceEvent.UPDATED, invoice, parts)


def _row(terms: TakenOverInvoice, now: datetime) -> Invoice:
    # the rest of a period that a threshold invoice has cut is billed here as a period of its own
    cut = terms.billing_reason is BillingReason.AUTO_INVOICE_THRESHOLD
    overdue = terms.due_date is not None and terms.due_date <= now
    return Invoice(
        id=new_id(Kind.INVOICE),
        customer_id=terms.customer_id,
        subscription_id=terms.subscription_id,
        subscription_customer_id=terms.subscription_customer_id,
        currency=terms.currency,
        invoice_type=terms.invoice_type,
        invoice_status=InvoiceStatus.DRAFT,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE if cut else terms.billing_reason,
        description=terms.description or "",
        reference_date=terms.finalized_at,
        due_date=terms.due_date,
        issue_date=terms.issue_date,
        period_start=terms.period_start,
        period_end=terms.period_end,
        billing_period=terms.billing_period,
        source_type=TAKEN_OVER,
        tax_exempt=False,
        # the other system has announced it
        overdue_notified_at=now if overdue else None,
        meta=dict(terms.metadata or {}),
        created_at=terms.created_at,
    )


async def _budgeted(session: AsyncSession, terms: TakenOverInvoice) -> _Windows:
    """Of the associations that discounted it, since when those discount whose coupons have a budget for each period."""
    ids = {discount.coupon_association_id for discount in terms.discounts} - {None}
    if not ids:
        return {}
    query = (
        select(CouponAssociation.id, CouponAssociation.start_date)
        .join(CouponRow, CouponRow.id == CouponAssociation.coupon_id)
        .where(
            CouponAssociation.id.in_(ids),
            CouponRow.type == CouponType.FIXED,
            CouponRow.cadence != CouponCadence.ONCE,
        )
    )
    return dict((await session.execute(query)).all())


def _fitting(invoice: Invoice, terms: TakenOverInvoice, budgeted: _Windows) -> tuple[_Shape, InvoiceTotals]:
    """The shape that keeps most and comes to the total. Raises ValidationFailed if none does."""
    converted = _converted(invoice, terms)
    if converted is not None:
        return converted
    for shape in _shapes(terms, budgeted):
        if any(line.amount < 0 or line.quantity < 0 for line in shape.lines):
            continue
        invoice.coupon_terms, invoice.tax_terms = stored(shape.coupons), stored(shape.taxes)
        totals = calculate(invoice, shape.lines, shape.prepaid)
        if totals.total == terms.total and (shape.fidelity is not Fidelity.WHOLE or _agrees(totals, terms)):
            return shape, totals
    raise ValidationFailed.of("total", f"{plain(terms.total)} is no amount of {terms.currency}")


def _converted(invoice: Invoice, terms: TakenOverInvoice) -> tuple[_Shape, InvoiceTotals] | None:
    """An invoice that was converted, if it comes to its figures when it is converted again; else nothing is changed."""
    conversion, taken_off = terms.conversion, EXACT.add(terms.total_discount, terms.total_prepaid_credits_applied)
    amounts = [line.source_amount for line in terms.line_items]
    if conversion is None or taken_off or not amounts or any(amount is None or amount < 0 for amount in amounts):
        return None
    lines = [_line(line, line.amount) for line in terms.line_items]
    for line, amount in zip(lines, amounts, strict=True):
        line.source_amount = amount
        line.source_line_item_discount = line.source_invoice_level_discount = ZERO
        line.source_prepaid_credits_applied = line.source_taxed_credits_applied = ZERO
    invoice.charged_in, invoice.fx_rate = conversion.charge_currency, conversion.rate
    invoice.fx_rate_id, invoice.fx_scope = conversion.rate_id, conversion.scope
    invoice.converted_at, invoice.source_subtotal = conversion.converted_at, conversion.subtotal
    invoice.source_total_discount = invoice.source_total_prepaid_credits_applied = ZERO
    invoice.finalized_at = terms.finalized_at  # the database refuses a draft that is converted already
    shape = _Shape(Fidelity.WHOLE, lines, [], _tax_terms(terms), ZERO)
    invoice.coupon_terms, invoice.tax_terms = [], stored(shape.taxes)
    totals = calculate(invoice, lines)
    if totals.total == terms.total and _agrees(totals, terms):
        return shape, totals
    for name in CONVERSION.split(", "):
        setattr(invoice, name, None)
    invoice.finalized_at = None
    return None


def _agrees(totals: InvoiceTotals, terms: TakenOverInvoice) -> bool:
    return (totals.subtotal, totals.total_discount, totals.total_prepaid_credits_applied, totals.total_tax) == (
        terms.subtotal,
        terms.total_discount,
        terms.total_prepaid_credits_applied,
        terms.total_tax,
    )


def _shapes(terms: TakenOverInvoice, budgeted: _Windows) -> Iterator[_Shape]:
    given, taxes = terms.line_items, _tax_terms(terms)
    if given:
        whole = [_line(line, line.amount) for line in given]
        for windows in (budgeted, {}) if budgeted else ({},):
            coupons = list(_coupon_terms(terms.discounts, given, windows))
            yield _Shape(Fidelity.WHOLE, whole, coupons, taxes, terms.total_prepaid_credits_applied)
        yield _Shape(Fidelity.NET_LINES, [_line(line, line.net) for line in given], [], taxes, ZERO)
    summed_up = InvoiceLineItem(
        id=new_id(Kind.INVOICE_LINE_ITEM),
        amount=terms.total,
        quantity=Decimal(1),
        display_name=terms.description or terms.invoice_number,
        price_type=_common_type(given),
        meta={},
    )
    yield _Shape(Fidelity.ONE_LINE, [summed_up], [], [], ZERO)


def _line(given: TakenOverLine, amount: Decimal) -> InvoiceLineItem:
    names = set(given.__struct_fields__) & set(InvoiceLineItem.__mapper__.column_attrs.keys())
    worked_out = {"amount", "line_item_discount", "invoice_level_discount", "prepaid_credits_applied", "source_amount"}
    columns = {name: getattr(given, name) for name in names - worked_out}
    line = InvoiceLineItem(id=new_id(Kind.INVOICE_LINE_ITEM), amount=amount, meta=dict(given.metadata or {}), **columns)
    if line.price_type is PriceType.FIXED and line.subscription_line_item_id is not None:
        line.whole_seconds = _service_seconds(given)
    return line


def _service_seconds(given: TakenOverLine) -> Decimal | None:
    """The service time that a fee of the other system paid for: all of its period, as far as anybody says here.

    Without it the rest of a period that a pause makes longer would be charged as if nothing had been.
    """
    if given.period_start is None or given.period_end is None or given.period_end <= given.period_start:
        return None
    return Decimal((given.period_end - given.period_start) // timedelta(microseconds=1)).scaleb(-6)


def _coupon_terms(
    discounts: Sequence[TakenOverDiscount], lines: Sequence[TakenOverLine], budgeted: _Windows
) -> Iterator[CouponTerm]:
    by_id = {line.source_id: line for line in lines}
    for discount in discounts:
        if discount.discounted_amount <= 0:
            continue
        line = by_id.get(discount.line or "")
        off, since = plain(discount.discounted_amount), budgeted.get(discount.coupon_association_id or "")
        budgets = None
        if since is not None and discount.period_start is not None and discount.period_end is not None:
            budgets = (Budget(start=discount.period_start, end=discount.period_end, left=off),)
        yield CouponTerm(
            coupon_id=discount.coupon_id,
            type=CouponType.FIXED,
            off=off,
            start=since if budgets else None,
            budgets=budgets,
            target=None if line is None else line.subscription_line_item_id or line.price_id,
            coupon_association_id=discount.coupon_association_id,
            name=discount.name,
        )


def _tax_terms(terms: TakenOverInvoice) -> list[TaxTerm]:
    """The taxes by their rates; one of the sum, where the rates do not come to it."""
    charged = [tax for tax in terms.taxes if tax.tax_amount > 0]
    rates = {tax.tax_rate_id for tax in charged}
    if len(rates) < len(charged) or exact_sum([tax.tax_amount for tax in charged]) != terms.total_tax:
        charged = [TakenOverTax(tax_rate_id=TAKEN_OVER, tax_amount=terms.total_tax, name="Tax")]
    return [
        TaxTerm(
            tax_rate_id=tax.tax_rate_id,
            type=TaxRateType.FIXED,
            value=plain(tax.tax_amount),
            name=tax.name,
            code=tax.code,
        )
        for tax in charged
        if tax.tax_amount > 0
    ]


def _common_type(lines: Sequence[TakenOverLine]) -> PriceType | None:
    types = {line.price_type for line in lines}
    return types.pop() if len(types) == 1 else None
