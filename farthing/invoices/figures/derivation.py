"""Proof of the books: every money figure of an invoice worked out again from its sources, beside what is stored.

Rule: docs/rules/invoices-and-payments.md#invariants
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.money import EXACT, ZERO, decimals, exact_sum
from farthing.invoices.figures.computation import calculate, charge_totals, net_sums
from farthing.invoices.figures.settlement import lost_amounts, payment_status, settled_amounts
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem, TaxAppliedRow
from farthing.invoices.parts import lines_of
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.rating.totals.balance import balance, usage_share


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that is not what its sources say; `where` is the id of an invoice, a line or a customer."""

    where: str
    figure: str
    stored: str
    derived: str


@dataclass(frozen=True, slots=True)
class _FigureCheck:
    where: str
    figure: str
    stored: object
    derived: object

    @property
    def differs(self) -> bool:
        return bool(self.stored != self.derived)


async def differences(session: AsyncSession, invoice: Invoice) -> list[Difference]:
    """Where an invoice's figures differ from its lines, terms, applications, taxes and settlements; empty if nowhere.

    Read-only. Adjustments, refunds and prepaid credits have their sources in layers above; here they are taken as
    stored and held to the identities.
    """
    return await all_differences(session, [invoice])


async def all_differences(session: AsyncSession, invoices: Sequence[Invoice]) -> list[Difference]:
    """The same for many invoices, in as many queries as for one."""
    ids = [invoice.id for invoice in invoices]
    await session.flush()
    lines = await lines_of(session, ids)
    applied: defaultdict[str, list[CouponApplicationRow]] = defaultdict(list)
    for application in await session.scalars(
        select(CouponApplicationRow)
        .where(CouponApplicationRow.invoice_id.in_(ids))
        .order_by(CouponApplicationRow.position)
    ):
        applied[application.invoice_id].append(application)
    taxes: defaultdict[str, list[TaxAppliedRow]] = defaultdict(list)
    for tax in await session.scalars(
        select(TaxAppliedRow).where(TaxAppliedRow.entity_id.in_(ids)).order_by(TaxAppliedRow.position)
    ):
        taxes[tax.entity_id].append(tax)
    paid = await settled_amounts(session, ids)
    lost = await lost_amounts(session, ids)
    found = []
    for invoice in invoices:
        its = (lines[invoice.id], applied[invoice.id], taxes[invoice.id])
        checks = (
            *_computed(invoice, *its),
            *_identities(invoice, *its, paid.get(invoice.id, ZERO)),
            *_precision(invoice, lines[invoice.id]),
            *_sources(invoice, lines[invoice.id], applied[invoice.id]),
            *_loss(invoice, lost.get(invoice.id, ZERO)),
        )
        found += [
            Difference(check.where, check.figure, str(check.stored), str(check.derived))
            for check in checks
            if check.differs
        ]
    return found


def _computed(
    invoice: Invoice, lines: list[InvoiceLineItem], applied: list[CouponApplicationRow], taxes: list[TaxAppliedRow]
) -> Iterator[_FigureCheck]:
    """What the calculation makes of the lines and terms, with the credits that were taken."""
    if invoice.last_computed_at is None:
        return
    totals = calculate(invoice, lines, invoice.total_prepaid_credits_applied)
    for figure in ("subtotal", "total_discount", "total_prepaid_credits_applied", "total_tax", "total"):
        yield _FigureCheck(invoice.id, figure, getattr(invoice, figure), getattr(totals, figure))
    nets = net_sums(totals)
    yield _FigureCheck(invoice.id, "net_total", invoice.net_total, nets.total)
    yield _FigureCheck(invoice.id, "net_usage", invoice.net_usage, nets.usage)
    for line, worked in zip(lines, totals.lines, strict=True):
        for figure in ("amount", "line_item_discount", "invoice_level_discount", "prepaid_credits_applied"):
            yield _FigureCheck(line.id, figure, getattr(line, figure), getattr(worked, figure))
    yield _FigureCheck(
        invoice.id,
        "coupon_applications",
        [
            (row.coupon_id, row.invoice_line_item_id, row.period_start, row.original_price, row.discounted_amount)
            for row in applied
        ],
        [
            (taken.coupon.id, taken.line_id, taken.period_start, taken.original_price, taken.discounted_amount)
            for taken in totals.coupon_applications
        ],
    )
    yield _FigureCheck(
        invoice.id,
        "taxes",
        [(row.tax_rate_id, row.taxable_amount, row.tax_amount) for row in taxes],
        [(tax.rate.id, tax.taxable_amount, tax.tax_amount) for tax in totals.taxes],
    )


def _identities(
    invoice: Invoice,
    lines: list[InvoiceLineItem],
    applied: list[CouponApplicationRow],
    taxes: list[TaxAppliedRow],
    paid: Decimal,
) -> Iterator[_FigureCheck]:
    """The sums and differences that hold between stored figures, whatever calculated them."""
    yield _FigureCheck(invoice.id, "sum of lines", invoice.subtotal, exact_sum([line.amount for line in lines]))
    discounts = exact_sum([EXACT.add(line.line_item_discount, line.invoice_level_discount) for line in lines])
    yield _FigureCheck(invoice.id, "sum of line discounts", invoice.total_discount, discounts)
    taken = exact_sum([row.discounted_amount for row in applied])
    yield _FigureCheck(invoice.id, "sum of coupon applications", invoice.total_discount, taken)
    credits_taken = exact_sum([line.prepaid_credits_applied for line in lines])
    yield _FigureCheck(invoice.id, "sum of line credits", invoice.total_prepaid_credits_applied, credits_taken)
    yield _FigureCheck(invoice.id, "sum of taxes", invoice.total_tax, exact_sum([tax.tax_amount for tax in taxes]))
    before_tax = EXACT.subtract(invoice.subtotal, EXACT.add(invoice.total_discount, credits_taken))
    yield _FigureCheck(invoice.id, "total", invoice.total, max(EXACT.add(before_tax, invoice.total_tax), ZERO))
    left = balance(invoice.total, invoice.adjustment_amount, paid)
    yield _FigureCheck(invoice.id, "amount_paid", invoice.amount_paid, paid)
    yield _FigureCheck(invoice.id, "amount_due", invoice.amount_due, left.amount_due)
    yield _FigureCheck(invoice.id, "amount_remaining", invoice.amount_remaining, left.amount_remaining)
    usage = usage_share(left.amount_remaining, invoice.net_usage, invoice.net_total, currency.digits(invoice.currency))
    yield _FigureCheck(invoice.id, "usage_remaining", invoice.usage_remaining, usage)
    yield _FigureCheck(invoice.id, "payment_status", invoice.payment_status, payment_status(invoice))
    voided = invoice.invoice_status is InvoiceStatus.VOIDED
    returnable = EXACT.add(paid, invoice.total_prepaid_credits_applied) if voided else paid
    yield _FigureCheck(invoice.id, "refunded within paid", invoice.refunded_amount <= returnable, True)
    yield _FigureCheck(invoice.id, "adjusted within total", invoice.adjustment_amount <= invoice.total, True)
    issued = invoice.finalized_at is not None
    yield _FigureCheck(invoice.id, "numbered if finalized", invoice.invoice_number is not None, issued)
    yield _FigureCheck(invoice.id, "credits only when finalized", credits_taken == 0 or issued, True)


def _sources(
    invoice: Invoice, lines: list[InvoiceLineItem], applied: list[CouponApplicationRow]
) -> Iterator[_FigureCheck]:
    """What a converted invoice was before, from its charges and terms; that it was converted wholly or not at all.

    What became of that at the frozen rate is among what the calculation makes of it.
    """
    for line in lines:
        yield _FigureCheck(line.id, "converted", line.source_amount is not None, invoice.fx_rate is not None)
        yield _FigureCheck(line.id, "currency", line.currency, invoice.currency)
    if invoice.fx_rate is None:
        return
    source = charge_totals(invoice, lines)
    yield _FigureCheck(invoice.id, "source subtotal", invoice.source_subtotal, source.subtotal)
    yield _FigureCheck(invoice.id, "source discount", invoice.source_total_discount, source.total_discount)
    credits_taken = invoice.source_total_prepaid_credits_applied
    yield _FigureCheck(invoice.id, "source credits", credits_taken, source.total_prepaid_credits_applied)
    for line, worked in zip(lines, source.lines, strict=True):
        yield _FigureCheck(line.id, "source discount", line.charge_discount, worked.discount)
        credits_taken = line.source_prepaid_credits_applied
        yield _FigureCheck(line.id, "source credits", credits_taken, worked.prepaid_credits_applied)
    stored = [row.source_discounted_amount for row in applied]
    derived = [taken.discounted_amount for taken in source.coupon_applications]
    yield _FigureCheck(invoice.id, "source of coupon applications", stored, derived)


def _loss(invoice: Invoice, lost: Decimal) -> Iterator[_FigureCheck]:
    """What is written off is what remains, and what the entries add up to."""
    yield _FigureCheck(invoice.id, "written_off_amount", invoice.written_off_amount or ZERO, lost)
    if invoice.written_off_at is not None:
        yield _FigureCheck(invoice.id, "lost of what remains", invoice.written_off_amount, invoice.amount_remaining)


_MONEY = (
    "subtotal",
    "total_discount",
    "total_prepaid_credits_applied",
    "total_tax",
    "total",
    "adjustment_amount",
    "amount_due",
    "amount_paid",
    "amount_remaining",
    "refunded_amount",
)


def _precision(invoice: Invoice, lines: list[InvoiceLineItem]) -> Iterator[_FigureCheck]:
    """No amount has more decimals than the currency."""
    digits = currency.digits(invoice.currency)
    for figure in _MONEY:
        yield _FigureCheck(
            invoice.id, f"{figure} in whole minor units", decimals(getattr(invoice, figure)) <= digits, True
        )
    for line in lines:
        yield _FigureCheck(line.id, "amount in whole minor units", decimals(line.amount) <= digits, True)


_TOTALS = """
    WITH derived AS (
        SELECT customer, currency, relation, count(*) AS n,
               sum(greatest(amount_due - greatest(refunded_amount - greatest(amount_paid - amount_due, 0), 0), 0)) AS r
        FROM invoices, LATERAL (
            SELECT 'self' AS relation, customer_id AS customer WHERE owner_id = customer_id
            UNION ALL SELECT 'payer', customer_id WHERE owner_id <> customer_id
            UNION ALL SELECT 'owner', owner_id WHERE owner_id <> customer_id
        ) AS sides
        WHERE status = 'published' AND invoice_status = 'FINALIZED' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
        GROUP BY customer, currency, relation
    )
    SELECT coalesce(kept.customer_id, customer), coalesce(kept.currency, derived.currency),
           coalesce(kept.relation, derived.relation),
           coalesce(kept.invoice_count, 0), coalesce(kept.revenue, 0), coalesce(n, 0), coalesce(r, 0)
    FROM invoice_totals AS kept
    FULL JOIN derived ON customer = customer_id AND derived.currency = kept.currency
         AND derived.relation = kept.relation
    WHERE coalesce(kept.invoice_count, 0) <> coalesce(n, 0) OR coalesce(kept.revenue, 0) <> coalesce(r, 0)
    LIMIT 1000
"""


async def total_differences(session: AsyncSession) -> list[Difference]:
    """Where the totals the database keeps per customer differ from a plain sum over invoices; at most 1,000."""
    rows = await session.execute(text(_TOTALS))
    return [
        Difference(customer, f"invoice_totals {code} {relation}", f"{count} / {revenue}", f"{n} / {r}")
        for customer, code, relation, count, revenue, n, r in rows
    ]
