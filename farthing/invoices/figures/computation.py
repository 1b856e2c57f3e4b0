"""From an invoice's lines and terms to its figures, on the rows.

The arithmetic is `rating.invoice_totals`; here its outcome is written to the lines, and coupon applications and taxes
are replaced by what it says, so that nothing of an earlier computation survives.
Rule: docs/rules/invoices-and-payments.md#the-largest-amount
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.enums import PriceType
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, LARGEST_AMOUNT, ZERO, exact_sum, plain
from farthing.customers.tables import Customer, TaxTreatment
from farthing.invoices.figures.coupon_reach import coupons_reaching
from farthing.invoices.figures.tax_points import rates_carried, terms_by_rate
from farthing.invoices.figures.terms import TaxTerm, coupons_on, taxes_on
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem, TaxAppliedRow
from farthing.invoices.parts import InvoiceParts, lines_of
from farthing.invoices.receivable import BillingReason
from farthing.invoices.tables import Invoice
from farthing.rating.totals.calculation import InvoiceTotals, invoice_totals
from farthing.rating.totals.conversion import CurrencyConversion, converted_totals
from farthing.rating.totals.lines import ChargeLine, LineTotals
from farthing.rating.totals.prepaid import CreditSlice, applied_credits, taxed_parts
from farthing.rating.totals.taxes import TaxRate
from farthing.storage.postgres import add_new
from farthing.storage.queries.rows import row_of, set_changed


async def published_lines(session: AsyncSession, invoice_id: str) -> list[InvoiceLineItem]:
    """The lines that count, in the order they stand on the invoice."""
    await session.flush()
    return (await lines_of(session, [invoice_id]))[invoice_id]


def calculate(invoice: Invoice, lines: Sequence[InvoiceLineItem], prepaid_value: Decimal = ZERO) -> InvoiceTotals:
    """The figures of an invoice with these lines; nothing is written.

    A trial's opening invoice carries no tax, nor does one whose payer is exempt.
    """
    tax_terms = charged_taxes(invoice)
    if not lines:
        tax_terms = [term for term in tax_terms if term.applies_at(invoice.reference_date)]
    charges = [charge_line(line, rates_carried(line, invoice.reference_date, tax_terms)) for line in lines]
    tax_rates = [term.rated for term in terms_by_rate(tax_terms).values()]
    if invoice.fx_rate is not None:
        return _calculate_converted(invoice, lines, charges, tax_rates, prepaid_value)
    return invoice_totals(
        charges,
        currency.digits(invoice.currency),
        coupons=coupons_reaching(coupons_on(invoice.coupon_terms), lines, invoice.reference_date),
        tax_rates=tax_rates,
        prepaid_value=prepaid_value,
    )


def _calculate_converted(
    invoice: Invoice,
    lines: Sequence[InvoiceLineItem],
    charges: Sequence[ChargeLine],
    tax_rates: Sequence[TaxRate],
    prepaid_value: Decimal,
) -> InvoiceTotals:
    """What the charges come to in their own currency, converted at the frozen rate, and taxed in the invoice's.

    Of `prepaid_value` a part was paid in the charges' currency and is converted with them; the rest was paid after.
    """
    source, conversion = charge_totals(invoice, lines), conversion_of(invoice)
    converted = exact_sum([conversion.converted(line.prepaid_credits_applied) for line in source.lines])
    paid_after = max(EXACT.subtract(prepaid_value, converted), ZERO)
    return converted_totals(source, charges, conversion, tax_rates=tax_rates, prepaid_value=paid_after)


def conversion_of(invoice: Invoice) -> CurrencyConversion:
    """How a converted invoice was converted."""
    assert invoice.fx_rate is not None, "the invoice was converted"
    return CurrencyConversion(invoice.fx_rate, currency.digits(invoice.currency))


def charge_totals(invoice: Invoice, lines: Sequence[InvoiceLineItem]) -> InvoiceTotals:
    """The figures of an invoice with these lines in the currency of its charges, before taxes where that was converted.

    What counts in that currency later (budgets of coupons, unused time) reads these.
    """
    if invoice.fx_rate is None:
        return calculate(invoice, lines, invoice.total_prepaid_credits_applied)
    return invoice_totals(
        [replace(charge_line(line), amount=line.charge_amount) for line in lines],
        currency.digits(invoice.charge_currency),
        coupons=coupons_reaching(coupons_on(invoice.coupon_terms), lines, invoice.reference_date),
        prepaid_value=invoice.source_total_prepaid_credits_applied or ZERO,
    )


def charged_taxes(invoice: Invoice) -> list[TaxTerm]:
    """The tax rates that the invoice charges where a line carries them."""
    taxed = invoice.billing_reason != BillingReason.SUBSCRIPTION_TRIAL_START and not invoice.tax_exempt
    return taxes_on(invoice.tax_terms) if taxed else []


def is_exempt(payer: Customer | None) -> bool:
    """Whether a payer is charged no tax at all.

    Rule: docs/rules/discounts-and-taxes.md#which-taxes-apply
    """
    return payer is not None and payer.tax_treatment is TaxTreatment.EXEMPT


def charge_line(line: InvoiceLineItem, tax_rate_ids: frozenset[str] | None = None) -> ChargeLine:
    """A line as the calculation takes it."""
    return ChargeLine(
        line.id,
        line.amount,
        line.price_type,
        line.subscription_line_item_id,
        line.price_id,
        tax_rate_ids,
        line.proration_credit or ZERO,
        line.taxed_credits_applied or ZERO,
    )


async def compute(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    parts: InvoiceParts | None = None,
) -> InvoiceTotals:
    """Write the figures of a locked draft to it, its lines, its coupon applications and its taxes.

    Known `parts` are not read again, and are brought up to date. Call `settle` afterwards: due and remaining follow
    from the total.
    """
    lines = await published_lines(session, invoice.id) if parts is None else parts.lines
    await clear_reductions(session, invoice, parts)
    payer = parts.payer if parts is not None else await session.get(Customer, invoice.customer_id)
    invoice.tax_exempt = is_exempt(payer)
    totals = calculate(invoice, lines)
    write_figures(invoice, lines, totals, now)
    taken = reductions(invoice, totals, now)
    add_new(session, taken)
    if parts is not None:
        parts.put_reductions(taken)
    return totals


def take_credits(invoice: Invoice, lines: Sequence[InvoiceLineItem], value: Decimal) -> list[Decimal]:
    """Let the lines of a computed draft take prepaid credits worth at most `value`, beyond those that they have taken;
    what each took now.

    Discounts and taxes stay as they were computed: credits lower neither.
    Rule: docs/rules/discounts-and-taxes.md#prepaid-credits
    """
    standing = [
        LineTotals(
            line.id,
            line.amount,
            line.price_type,
            line.line_item_discount,
            line.invoice_level_discount,
            line.prepaid_credits_applied,
        )
        for line in lines
    ]
    applied = applied_credits(standing, value, currency.digits(invoice.currency))
    taken = exact_sum(applied)
    if taken > 0:
        for line, credit in zip(lines, applied, strict=True):
            set_changed(line, prepaid_credits_applied=EXACT.add(line.prepaid_credits_applied, credit))
        invoice.total_prepaid_credits_applied = EXACT.add(invoice.total_prepaid_credits_applied, taken)
        invoice.total = max(EXACT.subtract(invoice.total, taken), ZERO)
        # only usage takes credits
        invoice.net_total = EXACT.subtract(invoice.net_total, taken)
        invoice.net_usage = EXACT.subtract(invoice.net_usage, taken)
    return applied


def take_tax_off(
    invoice: Invoice, parts: InvoiceParts, taken: Sequence[Decimal], slices: Sequence[CreditSlice]
) -> None:
    """Let what credits have paid that were taxed when they were bought carry no tax on a draft whose lines have `taken`
    them.

    Rule: docs/rules/credits.md#tax-on-credits
    """
    taxed = taxed_parts(taken, slices, currency.digits(invoice.currency))
    if not any(taxed):
        return
    for line, part in zip(parts.lines, taxed, strict=True):
        set_changed(line, taxed_credits_applied=EXACT.add(line.taxed_credits_applied or ZERO, part))
    totals = calculate(invoice, parts.lines, invoice.total_prepaid_credits_applied)
    for row, tax in zip(parts.taxes, totals.taxes, strict=True):
        set_changed(row, taxable_amount=tax.taxable_amount, tax_amount=tax.tax_amount)
    invoice.total_tax, invoice.total = totals.total_tax, totals.total


async def clear_reductions(session: AsyncSession, invoice: Invoice, parts: InvoiceParts | None) -> None:
    """Delete what an earlier computation took off and added, if there may be any."""
    coupons = parts is None or _stored(session, parts.coupon_applications)
    taxes = parts is None or _stored(session, parts.taxes)
    if coupons:
        await session.execute(delete(CouponApplicationRow).where(CouponApplicationRow.invoice_id == invoice.id))
    if taxes:
        await session.execute(delete(TaxAppliedRow).where(TaxAppliedRow.entity_id == invoice.id))


def _stored(session: AsyncSession, rows: Sequence[CouponApplicationRow | TaxAppliedRow]) -> bool:
    """Whether any of `rows` was written; those that were not are withdrawn."""
    waiting = [row for row in rows if row in session.new]
    for row in waiting:
        session.expunge(row)
    return len(waiting) < len(rows)


def write_figures(invoice: Invoice, lines: Sequence[InvoiceLineItem], totals: InvoiceTotals, now: datetime) -> None:
    """Put what `calculate` made of these lines on them and on their invoice. Raises ValidationFailed for an amount
    that is too large to be stored."""
    _refuse_too_large(lines, totals)
    for line, worked in zip(lines, totals.lines, strict=True):
        set_changed(
            line,
            amount=worked.amount,
            line_item_discount=worked.line_item_discount,
            invoice_level_discount=worked.invoice_level_discount,
            prepaid_credits_applied=worked.prepaid_credits_applied,
        )
    nets = net_sums(totals)
    set_changed(
        invoice,
        subtotal=totals.subtotal,
        total_discount=totals.total_discount,
        total_prepaid_credits_applied=totals.total_prepaid_credits_applied,
        total_tax=totals.total_tax,
        total=totals.total,
        net_total=nets.total,
        net_usage=nets.usage,
        last_computed_at=now,
    )


def _refuse_too_large(lines: Sequence[InvoiceLineItem], totals: InvoiceTotals) -> None:
    for position, (line, worked) in enumerate(zip(lines, totals.lines, strict=True)):
        if worked.amount > LARGEST_AMOUNT:
            name = line.display_name or line.plan_display_name or "a charge"
            raise _too_large(f"line_items[{position}].amount", f"the amount of '{name}'", worked.amount)
    for figure, amount in (("subtotal", totals.subtotal), ("total_tax", totals.total_tax), ("total", totals.total)):
        if amount > LARGEST_AMOUNT:
            raise _too_large(figure, f"the {figure.replace('_', ' ')} of the invoice", amount)


def _too_large(field: str, name: str, amount: Decimal) -> ValidationFailed:
    """The message names what is too large too: it is all that a run, a clock and many clients show."""
    reason = f"would be {plain(amount)}; it must be at most {plain(LARGEST_AMOUNT)}"
    return ValidationFailed(f"{name} {reason}", {field: reason})


@dataclass(frozen=True, slots=True)
class NetSums:
    """What the lines still stand for after discounts and credits: all of them, and the usage among them."""

    total: Decimal
    usage: Decimal


def net_sums(totals: InvoiceTotals) -> NetSums:
    """Sum the nets of a computation's lines."""
    return NetSums(
        total=exact_sum([line.net for line in totals.lines]),
        usage=exact_sum([line.net for line in totals.lines if line.price_type is PriceType.USAGE]),
    )


def reductions(invoice: Invoice, totals: InvoiceTotals, now: datetime) -> list[CouponApplicationRow | TaxAppliedRow]:
    """The rows that say which coupons and tax rates made the figures."""
    rows: list[CouponApplicationRow | TaxAppliedRow] = []
    coupon_terms = coupons_on(invoice.coupon_terms)
    for position, applied in enumerate(totals.coupon_applications):
        term = coupon_terms[applied.position]
        rows.append(
            row_of(
                CouponApplicationRow,
                id=new_id(Kind.COUPON_APPLICATION),
                invoice_id=invoice.id,
                invoice_line_item_id=applied.line_id,
                subscription_id=invoice.subscription_id,
                coupon_id=term.coupon_id,
                coupon_association_id=term.coupon_association_id,
                period_start=applied.period_start,
                applied_at=now,
                currency=invoice.currency,
                discount_type=term.type.value,
                discount_percentage=applied.coupon.off if term.type == "percentage" else None,
                original_price=applied.original_price,
                discounted_amount=applied.discounted_amount,
                final_price=applied.final_price,
                coupon_snapshot=term.snapshot(),
                position=position,
            )
        )
    tax_terms = terms_by_rate(taxes_on(invoice.tax_terms))
    for position, tax in enumerate(totals.taxes):
        rate = tax_terms[tax.rate.id]
        rows.append(
            row_of(
                TaxAppliedRow,
                id=new_id(Kind.TAX_APPLIED),
                entity_id=invoice.id,
                tax_rate_id=rate.tax_rate_id,
                tax_association_id=rate.tax_association_id,
                taxable_amount=tax.taxable_amount,
                tax_amount=tax.tax_amount,
                currency=invoice.currency,
                applied_at=now,
                rate_snapshot=rate.snapshot(),
                position=position,
            )
        )
    return rows
