"""The statement of a customer's account over a period.

Rule: docs/rules/statement-of-account.md#what-the-balance-is
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text, union
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.customers.tables import Customer
from farthing.invoices.tables import Invoice
from farthing.payments.unapplied.tables import UnappliedMoney
from farthing.reporting.statement.entries import ENTRIES, EntryKind
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find

MOST_ENTRIES = 10_000
_RANK = {kind.value: rank for rank, kind in enumerate(EntryKind)}


@dataclass(frozen=True, slots=True)
class StatementEntry:
    """What moved the account: a positive `amount` is asked for, a negative one was paid or taken back.

    `document` is a number that people know, `document_id` what leads to its page, `detail` what distinguishes entries
    of one kind: the reference of a payment, or where a refund went.
    """

    at: datetime
    kind: EntryKind
    amount: Decimal
    balance: Decimal
    document: str
    document_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """`closing` = `opening` + all amounts = `unpaid` - `in_credit`, as of the end of the period."""

    customer: Customer
    currency: str
    period: Period
    opening: Decimal
    closing: Decimal
    unpaid: Decimal
    """What invoices asked for."""
    in_credit: Decimal
    """What was paid beyond invoices, or stood on none."""
    entries: list[StatementEntry]

    @property
    def charged(self) -> Decimal:
        return exact_sum([entry.amount for entry in self.entries if entry.amount > 0])

    @property
    def credited(self) -> Decimal:
        return exact_sum([entry.amount for entry in self.entries if entry.amount < 0]).copy_negate()


async def account_statement(session: AsyncSession, customer_id: str, code: str, period: Period) -> AccountStatement:
    """The statement of a period. Raises NotFound, and ValidationFailed for more entries than one can list."""
    customer = await find(session, Customer, customer_id)
    given = {
        "environment": scope_of(session).environment_id,
        "customer": customer.id,
        "currency": code,
        "start": period.start,
        "end": period.end,
    }
    opening, unpaid, in_credit = await _balances(session, given)
    rows = await _rows(session, given)
    entries, balance = [], opening
    for at, kind, amount, document, document_id, detail in rows:
        balance = EXACT.add(balance, amount)
        entries.append(StatementEntry(at, EntryKind(kind), amount, balance, document or "", document_id or "", detail))
    return AccountStatement(customer, code, period, opening, balance, unpaid, in_credit, entries)


async def account_balances(session: AsyncSession, customer_id: str, code: str, at: datetime) -> tuple[Decimal, Decimal]:
    """What was unpaid, and what in credit, right before `at`: the closing balance is their difference."""
    environment = scope_of(session).environment_id
    given = {"environment": environment, "customer": customer_id, "currency": code, "start": at, "end": at}
    _, unpaid, in_credit = await _balances(session, given)
    return unpaid, in_credit


async def account_currencies(session: AsyncSession, customer_id: str) -> list[str]:
    """The currencies in which a customer has an account, in alphabetical order."""
    billed = select(Invoice.currency).where(Invoice.customer_id == customer_id, Invoice.finalized_at.is_not(None))
    received = select(UnappliedMoney.currency).where(UnappliedMoney.customer_id == customer_id)
    return sorted(await session.scalars(union(billed, received)))


async def _balances(session: AsyncSession, given: dict[str, Any]) -> tuple[Decimal, Decimal, Decimal]:
    """What was open before the period, and what is unpaid and in credit at its end."""
    statement = f"""
        {ENTRIES}
        SELECT coalesce(sum(before), 0), coalesce(sum(greatest(until, 0)), 0), coalesce(sum(greatest(-until, 0)), 0)
        FROM (
            SELECT sum(amount) FILTER (WHERE at < :start) AS before, sum(amount) FILTER (WHERE at < :end) AS until
            FROM entry GROUP BY account
        ) AS account
    """
    opening, unpaid, in_credit = (await session.execute(text(statement), given)).one()
    return opening + ZERO, unpaid + ZERO, in_credit + ZERO


async def _rows(session: AsyncSession, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    statement = f"""
        {ENTRIES}
        SELECT at, kind, amount, document, document_id, detail FROM entry
        WHERE at >= :start AND at < :end AND kind <> 'hidden'
        ORDER BY at LIMIT {MOST_ENTRIES + 1}
    """
    rows = [tuple(row) for row in await session.execute(text(statement), given)]
    if len(rows) > MOST_ENTRIES:
        raise ValidationFailed.of("until", f"must leave at most {MOST_ENTRIES:,} entries in the period")
    return sorted(rows, key=lambda row: (row[0], _RANK[row[1]], row[3] or "", row[4] or ""))
