"""Which lines of an invoice a coupon discounts, and which of them together. Pure.

Rule: docs/rules/discounts-and-taxes.md#which-lines-a-coupon-discounts
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from farthing.invoices.figures.terms import CouponTerm
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.rating.totals.discounts import Coupon, DiscountedTogether


def coupons_reaching(
    terms: Sequence[CouponTerm], lines: Sequence[InvoiceLineItem], reference_date: datetime
) -> list[Coupon]:
    """The terms as the calculation takes them, in their order, each with the lines that it reaches."""
    return [
        Coupon(
            term.coupon_id,
            term.type,
            Decimal(term.off),
            term.target,
            term.also,
            None if term.start is None else _groups(term, lines, reference_date),
        )
        for term in terms
    ]


def reaches(term: CouponTerm, line: InvoiceLineItem, reference_date: datetime) -> bool:
    """Whether a coupon of a subscription discounts the line, by the line's own service period.

    A line without a period is the instant of the reference date, and an instant lies in a window that contains it.
    """
    if term.subscription_id is not None and line.subscription_id != term.subscription_id:
        return False
    start = service_start(line, reference_date)
    if term.service_from is not None and start < term.service_from:
        return False
    if term.service_until is not None and start >= term.service_until:
        return False
    if term.end is not None and start >= term.end:
        return False
    if term.start is None:
        return True
    if line.period_end is None or line.period_end <= start:
        return term.start <= start
    return term.start < line.period_end


def service_start(line: InvoiceLineItem, reference_date: datetime) -> datetime:
    """When the service of a line begins."""
    return reference_date if line.period_start is None else line.period_start


def _groups(
    term: CouponTerm, lines: Sequence[InvoiceLineItem], reference_date: datetime
) -> tuple[DiscountedTogether, ...]:
    reached = {line.id: service_start(line, reference_date) for line in lines if reaches(term, line, reference_date)}
    if term.budgets is None:
        return (DiscountedTogether(frozenset(reached)),) if reached else ()
    groups = []
    for budget in term.budgets:
        within = frozenset(line_id for line_id, start in reached.items() if budget.contains(start))
        if within:
            groups.append(DiscountedTogether(within, Decimal(budget.left), budget.start))
    return tuple(groups)
