"""Proof of reports: their figures over all time, held against plain sums of what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import UTC
from farthing.core.money import ZERO, exact_sum, plain
from farthing.credits.notes.overpayments import RETURNED_OVERPAYMENT
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.receivable import COUNTED, UNPAID
from farthing.reporting.analytics.catalogue import CURRENCY, METRICS
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.engine import answer_question
from farthing.reporting.analytics.periods import DayRange
from farthing.reporting.analytics.schemas import ReportShape
from farthing.storage.postgres import scope_of

_MOST = 1_000_000


def _less_notes(of_invoices: str, of_notes: str) -> str:
    """A sum over invoices less that over their notes; a note on a voided invoice takes nothing back any more."""
    return f"""
        SELECT i.currency, sum(i.{of_invoices} - coalesce(taken.amount, 0))
        FROM (SELECT * FROM invoices WHERE {COUNTED}) AS i
        LEFT JOIN (
            SELECT n.invoice_id, sum({of_notes}) AS amount
            FROM credit_notes AS n JOIN invoices AS i ON i.environment_id = n.environment_id AND i.id = n.invoice_id
            WHERE n.credit_note_status = 'FINALIZED' AND n.status = 'published' GROUP BY n.invoice_id
        ) AS taken ON taken.invoice_id = i.id
        GROUP BY i.currency
    """


_SUMS = {
    "written_off": (
        "SELECT currency, sum(written_off_amount) FROM invoices WHERE written_off_at IS NOT NULL GROUP BY currency"
    ),
    "total_receivables": f"SELECT currency, sum(amount_remaining) FROM invoices WHERE {UNPAID} GROUP BY currency",
    "invoice_total": f"SELECT currency, sum(total) FROM invoices WHERE {COUNTED} GROUP BY currency",
    "invoice_total_issued": f"SELECT currency, sum(total) FROM invoices WHERE {COUNTED} GROUP BY currency",
    "net_billing_issued": _less_notes("total", f"n.total_amount - {RETURNED_OVERPAYMENT}"),
    "tax_charged": _less_notes("total_tax", "n.tax_amount"),
}
_BY_PARTS = "price_id"
"""A dimension of lines: the parts of all invoices add up to the invoices."""


async def report_differences(session: AsyncSession, now: datetime) -> list[Difference]:
    """Where a report over all time is not the plain sum, in any currency of an environment."""
    span = await _all_time(session, now)
    if span is None:
        return []
    differences = []
    parameters = {"environment": scope_of(session).environment_id}
    for key, statement in _SUMS.items():
        rows = await session.execute(text(statement), parameters if ":environment" in statement else {})
        sums = {code: Decimal(amount) for code, amount in rows if amount}
        differences += _compared(key, await _report(session, key, span, now), sums)
        if key == "invoice_total":
            differences += _compared(f"{key} by {_BY_PARTS}", await _report(session, key, span, now, _BY_PARTS), sums)
    environment = scope_of(session).environment_id or ""
    return [Difference(environment, f"report {name}", stored, derived) for name, stored, derived in differences]


def _compared(name: str, figures: Mapping[str, Decimal], sums: Mapping[str, Decimal]) -> list[tuple[str, str, str]]:
    return [
        (f"{name} in {code}", plain(figures.get(code, ZERO)), plain(sums.get(code, ZERO)))
        for code in sorted({*figures, *sums})
        if figures.get(code, ZERO) != sums.get(code, ZERO)
    ]


async def _all_time(session: AsyncSession, now: datetime) -> DayRange | None:
    """Every day of which an invoice speaks, and today."""
    (row,) = await session.execute(
        text(
            """
            SELECT min(least(finalized_at, period_end)), max(greatest(finalized_at, period_end, voided_at))
            FROM invoices WHERE finalized_at IS NOT NULL
            """
        )
    )
    first, last = row
    if first is None:
        return None
    return DayRange(min(first, now).date(), max(last, now).date() + timedelta(days=2), UTC)


async def _report(
    session: AsyncSession, key: str, span: DayRange, now: datetime, dimension: str | None = None
) -> dict[str, Decimal]:
    """A report over all time, by currency."""
    question = Question(
        metrics=(METRICS[key],),
        shape=ReportShape.BREAKDOWN,
        dimensions=(CURRENCY,) if dimension is None else (CURRENCY, dimension),
        range=span,
        grain=None,
        conditions=(),
        currency=None,
        comparison=None,
        order=(),
        limit=_MOST,
    )
    table = await answer_question(session, question, now)
    by_currency: dict[str, list[Decimal]] = {}
    for row in table.rows:
        by_currency.setdefault(row.group[0], []).append(row.values[key] or ZERO)
    return {code: exact_sum(amounts) for code, amounts in by_currency.items()}
