"""The schedules of lines as the books say them, and the credits that customers have bought and not used.

Rule: docs/rules/reporting.md#recognition
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.event_loop.slices import collect
from farthing.core.money import EXACT, ZERO, round_to, share
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.revenue.by_day.allocation import Recognized, UsageThrough
from farthing.reporting.revenue.by_day.spreading import amounts_of
from farthing.reporting.revenue.by_day.usage import WantedDays, usage_by_day
from farthing.reporting.revenue.lines import (
    REPLACEMENTS,
    LineCondition,
    LineSelection,
    RevenueLine,
    few_at_once,
    prices_of,
    read_lines,
    reverts_of,
)
from farthing.reporting.revenue.open_periods import provisional_lines
from farthing.reporting.revenue.schedule import LineSchedule, RevertOfLine, UndoneRevert, with_reverts
from farthing.reporting.turns import owner_of_reports
from farthing.storage.postgres import scope_of

# lines of which something is recognized, billed or taken back between two instants, or waits for it all the while
LIVE = """
    least(l.period_start, i.finalized_at, i.reference_date) < :until
    AND (greatest(l.period_start, l.period_end, i.finalized_at, i.reference_date) >= :since OR i.voided_at >= :since
        OR EXISTS (
            SELECT FROM credit_notes AS n WHERE n.environment_id = :environment AND n.invoice_id = i.id
                AND greatest(n.finalized_at, n.voided_at) >= :since AND n.finalized_at IS NOT NULL
        ))
"""


@dataclass(frozen=True, slots=True)
class RecognizedLine:
    """A line with its schedule."""

    line: RevenueLine
    schedule: LineSchedule


@dataclass(frozen=True, slots=True)
class CreditsHeld:
    """Credits that were paid for: from `at` on a customer holds `held` more of them, at their price, and `lapsed` of
    them is earned because they expired."""

    at: datetime
    customer_id: str
    currency: str
    held: Decimal
    lapsed: Decimal


async def schedules(
    session: AsyncSession,
    since: datetime,
    until: datetime,
    zone: ZoneInfo,
    now: datetime,
    among: LineCondition,
    edges: frozenset[date],
) -> list[RecognizedLine]:
    """Every line with something left to recognize, bill or take back in `[since, until)`; open periods among them.

    `edges` are the days before which it will be asked what was recognized; in between, what is recognized may lie on a
    later day.
    """
    values = {**among.values, "since": since, "until": until}
    lines = await read_lines(session, LineSelection(), now, f"({LIVE}) AND ({among.text})", values)
    lines += await provisional_lines(session, LineSelection(), until, now)
    lines = await _less_given_credits(session, lines)
    prices = await prices_of(session, {line.price_id for line in lines})
    reverts: defaultdict[str, list[RevertOfLine]] = defaultdict(list)
    for revert in await reverts_of(session, lines):
        day = to_local(revert.at, zone).date()
        undone_at = revert.undone_at
        undone = None if undone_at is None else UndoneRevert(to_local(undone_at, zone).date(), undone_at)
        reverts[revert.line_id].append(RevertOfLine(day, revert.at, revert.net, undone))
    lines = [line for line in lines if line.net or line.id in reverts]
    metered = [line for line in lines if line.is_metered]
    wanted = WantedDays(edges, frozenset(reverts))
    used = await usage_by_day(session, metered, prices, zone, wanted)
    catch_up = await _days_of_catching_up(session, lines, zone)
    owner = owner_of_reports(session)
    amounts: defaultdict[str, list[Recognized]] = defaultdict(list)

    def by_line() -> Iterator[None]:
        for line_id, amount in few_at_once(_amounts(lines, prices, used, zone, wanted, catch_up)):
            amounts[line_id].append(amount)
            yield

    await collect(by_line(), owner)
    return await collect((_recognized(line, amounts[line.id], reverts[line.id]) for line in lines), owner)


def _amounts(
    lines: Sequence[RevenueLine],
    prices: Mapping[str, RatedPrice],
    used: Mapping[str, Sequence[UsageThrough]],
    zone: ZoneInfo,
    wanted: WantedDays,
    catch_up: Mapping[str, date],
) -> Iterator[tuple[str, Recognized]]:
    """What is recognized of each line on each day, by the line's id; of invoices with a day of catching up, nothing
    before it."""
    for line in lines:
        edges = None if line.id in wanted.in_full else wanted.in_order
        first = catch_up.get(line.invoice_id, date.min)
        for amount in amounts_of(line, prices.get(line.price_id), used.get(line.id), zone, edges):
            yield line.id, amount if amount.day >= first else replace(amount, day=first)


async def _days_of_catching_up(session: AsyncSession, lines: Sequence[RevenueLine], zone: ZoneInfo) -> dict[str, date]:
    """The day on which each invoice that bills anew what was billed before became final. The void invoice stands on the
    days before, so that the new one earns there nothing, and makes up for them on this day."""
    parameters = {"environment": scope_of(session).environment_id}
    replacements = set(await session.scalars(text(REPLACEMENTS), parameters))
    return {
        line.invoice_id: to_local(line.finalized_at, zone).date()
        for line in lines
        if line.invoice_id in replacements and line.finalized_at is not None
    }


def _recognized(line: RevenueLine, amounts: Sequence[Recognized], reverts: Sequence[RevertOfLine]) -> RecognizedLine:
    back = tuple(reverts)
    schedule = LineSchedule(with_reverts(amounts, back, line.digits), line.finalized_at, line.net, back)
    return RecognizedLine(line, schedule)


# what credits were worth on an invoice beyond what was paid for them; nothing was paid for credits that were given
_GIVEN = """
    SELECT coalesce(payment.destination_id, debit.reference_id) AS invoice_id, debit.transaction_reason,
        sum(used.credits * debit.conversion_rate - CASE lot.credit_class
            WHEN 'purchased' THEN used.credits * lot.amount / lot.credit_amount ELSE 0 END)
    FROM wallet_transactions AS debit
    JOIN wallet_consumptions AS used ON used.environment_id = :environment AND used.debit_id = debit.id
    JOIN wallet_transactions AS lot ON lot.environment_id = :environment AND lot.id = used.credit_id
    LEFT JOIN payments AS payment ON payment.environment_id = :environment AND payment.id = debit.reference_id
    WHERE debit.environment_id = :environment AND debit.type = 'debit'
        AND debit.transaction_reason IN ('CREDIT_ADJUSTMENT', 'INVOICE_PAYMENT')
        AND coalesce(payment.destination_id, debit.reference_id) = ANY(:invoices)
    GROUP BY 1, 2
"""


async def _less_given_credits(session: AsyncSession, lines: Sequence[RevenueLine]) -> list[RevenueLine]:
    """Lines with what free credits pay of them taken off as a discount."""
    invoices = sorted({line.invoice_id for line in lines if line.invoice_id})
    parameters = {"environment": scope_of(session).environment_id, "invoices": invoices}
    rows = (await session.execute(text(_GIVEN), parameters)).all() if invoices else []
    if not rows:
        return list(lines)
    given = {(invoice_id, reason): Decimal(amount) for invoice_id, reason, amount in rows}
    prepaid: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    with_credits = {invoice_id for invoice_id, _ in given}
    for line in lines:
        prepaid[line.invoice_id] = EXACT.add(prepaid[line.invoice_id], line.prepaid)
    lowered = []
    for line in lines:
        if line.invoice_id not in with_credits:
            lowered.append(line)
            continue
        adjusted = given.get((line.invoice_id, "CREDIT_ADJUSTMENT"), ZERO)
        paid = given.get((line.invoice_id, "INVOICE_PAYMENT"), ZERO)
        off = EXACT.add(
            share(round_to(adjusted, line.digits), line.prepaid, prepaid[line.invoice_id], line.digits),
            share(round_to(paid, line.digits), line.net, line.invoice_total, line.digits),
        )
        off = min(off, line.net)
        lowered.append(replace(line, invoice_discount=EXACT.add(line.invoice_discount, off)) if off else line)
    return lowered


_HELD = """
    SELECT lot.updated_at, lot.customer_id, lot.currency, lot.amount, 0
    FROM wallet_transactions AS lot
    WHERE lot.environment_id = :environment AND lot.transaction_status = 'completed' AND lot.type = 'credit'
        AND lot.credit_class = 'purchased' AND lot.updated_at < :until
    UNION ALL
    SELECT debit.updated_at, debit.customer_id, debit.currency,
        -used.credits * lot.amount / lot.credit_amount,
        CASE WHEN debit.transaction_reason IN ('CREDIT_EXPIRED', 'WALLET_TERMINATION')
                AND right(coalesce(debit.system_key, ''), 17) <> '_conversion_debit'
            THEN used.credits * lot.amount / lot.credit_amount ELSE 0 END
    FROM wallet_transactions AS debit
    JOIN wallet_consumptions AS used ON used.environment_id = :environment AND used.debit_id = debit.id
    JOIN wallet_transactions AS lot ON lot.environment_id = :environment AND lot.id = used.credit_id
        AND lot.credit_class = 'purchased'
    WHERE debit.environment_id = :environment AND debit.updated_at < :until
    ORDER BY 1
"""


async def credits_held(session: AsyncSession, until: datetime) -> list[CreditsHeld]:
    """Every change of the credits that customers have paid for and not used, in the order of time."""
    parameters: dict[str, Any] = {"environment": scope_of(session).environment_id, "until": until}
    rows = await session.execute(text(_HELD), parameters)
    return [CreditsHeld(at, customer_id, code, held, Decimal(lapsed)) for at, customer_id, code, held, lapsed in rows]
