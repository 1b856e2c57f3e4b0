"""Which tax rates each line of an invoice carries. Pure.

Rule: docs/rules/discounts-and-taxes.md#tax-points
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from farthing.core.clock import shifted
from farthing.invoices.figures.terms import TaxTerm
from farthing.invoices.line_tables import InvoiceLineItem

_INSTANT = timedelta(microseconds=1)


def tax_point(line: InvoiceLineItem, reference_date: datetime) -> datetime:
    """The earlier of the invoice's reference date and the last instant of the line's service period.

    A line without a period has the reference date; one whose period is an instant has that instant.
    """
    if line.period_end is None:
        return min(reference_date, line.period_start) if line.period_start is not None else reference_date
    last = shifted(line.period_end, -_INSTANT)
    return min(reference_date, last if line.period_start is None else max(last, line.period_start))


def rates_carried(line: InvoiceLineItem, reference_date: datetime, terms: Sequence[TaxTerm]) -> frozenset[str]:
    """The ids of the rates whose windows contain the tax point of the line."""
    point = tax_point(line, reference_date)
    return frozenset(term.tax_rate_id for term in terms if term.applies_at(point))


def terms_by_rate(terms: Sequence[TaxTerm]) -> dict[str, TaxTerm]:
    """The first term of each rate, in the order of the terms: a rate is charged once, however many ask for it."""
    first: dict[str, TaxTerm] = {}
    for term in terms:
        first.setdefault(term.tax_rate_id, term)
    return first
