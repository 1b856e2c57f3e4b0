"""What an invoice's usage comes to today, line by line, and what the difference is net and with tax.

Rule: docs/rules/late-usage.md#corrections-of-invoices
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.corrections.tables import CorrectionDirection, InvoiceCorrectionLine
from farthing.billing.late_usage import detection
from farthing.billing.late_usage.charges import LateCharge, late_charges
from farthing.billing.late_usage.detection import REASONS, InvoicedUsage, NotCharged, RecheckableLine
from farthing.billing.late_usage.windows import with_windows, without_forgotten
from farthing.billing.measurement import measure_usage
from farthing.billing.sent_back import sent_back_by_line
from farthing.core import currency
from farthing.core.enums import LineKind, Status
from farthing.core.errors import InvalidOperation
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.credits.notes.lifecycle.limits import creditable_lines
from farthing.credits.notes.lifecycle.lines import TakenBack, source_net_of
from farthing.credits.rules.notes import CreditableLine, share_of_taxes
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array

CHARGING_KINDS = (LineKind.USAGE, LineKind.OVERAGE, LineKind.LATE_USAGE)
"""Lines that charge for the usage of an item and period."""


@dataclass(frozen=True, slots=True)
class CreditedPart:
    """What is taken back of one line of an invoice: `amount` before discounts, above 0, and what it is net and tax.

    `amount` is in the currency of the line's charges, net and tax in that of its invoice.
    """

    row: InvoiceLineItem
    amount: Decimal
    taken: TakenBack


@dataclass(frozen=True, slots=True)
class _Creditable:
    """What can be taken back of a line, and the invoice that it stands on."""

    invoice: Invoice
    line: CreditableLine


@dataclass(frozen=True, slots=True)
class LineDifference:
    """A usage line, what it comes to now, and what is taken back on its account if that is less: of it, of its late
    lines, and of overage that was charged for all lines together.

    `difference` is before discounts, in the currency of the charges; None where a commitment decides what usage costs.
    Of a line that shares a commitment it is its share of what all of them differ by.
    """

    recheckable: RecheckableLine
    late: LateCharge
    parts: Sequence[CreditedPart]

    @property
    def difference(self) -> Decimal | None:
        return self.late.difference

    @property
    def not_corrected(self) -> NotCharged | None:
        """Why the difference cannot be made good."""
        reason = self.late.not_charged
        return None if reason is NotCharged.NEGATIVE else reason

    @property
    def is_taken_back(self) -> bool:
        return self.not_corrected is None and bool(self.parts)

    @property
    def is_more(self) -> bool:
        return self.not_corrected is None and self.difference is not None and self.difference > 0

    @property
    def is_shown(self) -> bool:
        """Whether it stands on the invoice that was asked for, or differs on another of its commitment's window."""
        return not self.recheckable.is_elsewhere or bool(self.late.usage or self.difference)


def require_correctable(invoice: Invoice) -> None:
    """Raises InvalidOperation for an invoice that charges no period's usage, or is not final."""
    is_of_period = invoice.invoice_type is InvoiceType.SUBSCRIPTION and invoice.billing_reason in REASONS
    if invoice.invoice_status is not InvoiceStatus.FINALIZED or not is_of_period:
        raise InvalidOperation(
            "only finalized invoices of a subscription's period are corrected",
            {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value},
        )


async def differences_of(session: AsyncSession, invoice: Invoice, now: datetime) -> list[LineDifference]:
    """Measure and price the usage lines of an invoice again. Raises InvalidOperation for one that is not corrected."""
    require_correctable(invoice)
    await session.flush()
    lines = await with_windows(session, await detection.recheckable_lines(session, [invoice.id]))
    questions = dict.fromkeys(question for line in lines for question in line.ranges())
    answers = await measure_usage(session, list(questions), {line.plan.meter.id: line.plan.meter for line in lines})
    lines = await without_forgotten(session, lines, answers)
    charges = list(zip(lines, late_charges(lines, answers, now), strict=True))
    rows = await charged_rows(session, [line.line for line in lines])
    overages = await _overage_rows(session, [late for _, late in charges])
    every = [*overages.values(), *(row for of_line in rows.values() for row in of_line)]
    creditable = await _creditable(session, every)
    earlier = await _taken_before(session, [row.id for row in every])

    def parts(line: RecheckableLine, late: LateCharge) -> list[CreditedPart]:
        less = ZERO if late.amount is None else max(EXACT.minus(late.amount), ZERO)
        found = [
            part for line_id, left in late.overages for part in _parts([overages[line_id]], creditable, earlier, left)
        ]
        return [*found, *_parts(rows[line.line.id], creditable, earlier, less)]

    return [LineDifference(line, late, parts(line, late)) for line, late in charges]


def taken_in(parts: Sequence[CreditedPart], code: str) -> tuple[Decimal, Decimal]:
    """What parts come to in a currency, net and tax; late lines may stand on invoices in another."""
    taken = [part.taken for part in parts if part.row.currency == code]
    return exact_sum([part.net for part in taken]), exact_sum([part.tax for part in taken])


def state_of(differences: Sequence[LineDifference]) -> str:
    """A digest of what the usage of all lines is and costs."""
    texts = [
        f"{line.recheckable.line.id}:{plain(line.late.current)}:{plain(line.late.rated.amount)}" for line in differences
    ]
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


async def charged_rows(session: AsyncSession, lines: Sequence[InvoicedUsage]) -> Mapping[str, list[InvoiceLineItem]]:
    """By the id of each usage line, what finalized invoices charge for its item and window, in the order in which it is
    taken back: its own invoice's overage and itself, threshold invoices of the period, and late lines."""
    row = InvoiceLineItem
    by_account = {(line.item_id, line.window.start): line for line in lines}
    found = await session.scalars(
        select(row)
        .join(Invoice, Invoice.id == row.invoice_id)
        .where(
            in_array(row.subscription_line_item_id, {line.item_id for line in lines}),
            row.period_start.in_({line.window.start for line in lines}),
            row.kind.in_(CHARGING_KINDS),
            row.status == Status.PUBLISHED,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status == InvoiceStatus.FINALIZED,
            Invoice.invoice_type.in_((InvoiceType.SUBSCRIPTION, InvoiceType.ONE_OFF)),
        )
    )
    rows: dict[str, list[InvoiceLineItem]] = defaultdict(list)
    for charged in found:
        item_id, start = charged.subscription_line_item_id, charged.period_start
        line = None if item_id is None or start is None else by_account.get((item_id, start))
        if line is not None:
            rows[line.id].append(charged)
    return {line.id: sorted(rows[line.id], key=partial(_taken_back_after, line)) for line in lines}


def _taken_back_after(line: InvoicedUsage, row: InvoiceLineItem) -> tuple[bool, bool, bool, str]:
    is_late, is_elsewhere = row.late_for_line_id is not None, row.invoice_id != line.invoice_id
    return is_late, is_elsewhere, row.kind is not LineKind.OVERAGE, row.id


async def _overage_rows(session: AsyncSession, charges: Sequence[LateCharge]) -> dict[str, InvoiceLineItem]:
    """The lines that charge the overage of all lines together, as far as something is taken back of them, by id."""
    ids = [line_id for late in charges for line_id, _ in late.overages]
    if not ids:
        return {}
    found = await session.scalars(select(InvoiceLineItem).where(in_array(InvoiceLineItem.id, ids)))
    return {row.id: row for row in found}


async def _creditable(session: AsyncSession, rows: Sequence[InvoiceLineItem]) -> dict[str, _Creditable]:
    invoice_ids = {row.invoice_id for row in rows}
    creditable: dict[str, _Creditable] = {}
    invoices = (await session.scalars(select(Invoice).where(in_array(Invoice.id, invoice_ids)))).all()
    gone = await sent_back_by_line(session, invoice_ids)
    for invoice in invoices:
        lines = (await creditable_lines(session, invoice)).creditable
        for row_id, line in lines.items():
            left = _without(line, gone[row_id]) if row_id in gone else line
            creditable[row_id] = _Creditable(invoice, left)
    return creditable


def _without(line: CreditableLine, gone: TakenBack) -> CreditableLine:
    """What went back of a line unasked counts as if a note had taken it."""
    taxes = dict(line.credited_taxes)
    for rate, tax in gone.taxes:
        taxes[rate] = EXACT.add(taxes.get(rate, ZERO), tax)
    return replace(line, credited=EXACT.add(line.credited, gone.gross), credited_taxes=taxes)


async def _taken_before(session: AsyncSession, row_ids: Sequence[str]) -> dict[str, tuple[Decimal, Decimal]]:
    """What corrections took back of each line: the amount before discounts, and net."""
    line = InvoiceCorrectionLine
    found = await session.execute(
        select(line.invoice_line_item_id, -func.sum(line.amount), func.sum(line.net_amount))
        .where(in_array(line.invoice_line_item_id, row_ids), line.direction == CorrectionDirection.CREDIT)
        .group_by(line.invoice_line_item_id)
    )
    return {row_id: (amount, net) for row_id, amount, net in found}


def _parts(
    rows: Sequence[InvoiceLineItem],
    creditable: Mapping[str, _Creditable],
    earlier: Mapping[str, tuple[Decimal, Decimal]],
    left: Decimal,
) -> list[CreditedPart]:
    """How an amount is taken back of lines of invoices, in their order."""
    parts = []
    for row in rows:
        before, net_before = earlier.get(row.id, (ZERO, ZERO))
        amount = min(EXACT.subtract(row.charge_amount, before), left)
        if amount > ZERO:
            whole = EXACT.add(before, amount)
            parts.append(CreditedPart(row, amount, _taken(row, creditable[row.id], whole, net_before)))
            left = EXACT.subtract(left, amount)
    return parts


def _taken(row: InvoiceLineItem, creditable: _Creditable, whole: Decimal, net_before: Decimal) -> TakenBack:
    """Net and tax of what is taken back of a line of which corrections take back `whole` in all, before discounts.

    Percentages and taxes share in it as they share in the line; a fixed discount stays whole, as it would be taken of
    what is left. What notes by hand took back is not taken back again.
    """
    line, digits = creditable.line, currency.digits(creditable.invoice.currency)
    left_taxes = {rate: EXACT.subtract(tax, line.credited_taxes.get(rate, ZERO)) for rate, tax in line.taxes.items()}
    credited_net = EXACT.subtract(line.credited, exact_sum(list(line.credited_taxes.values())))
    left_net = max(EXACT.subtract(line.net, credited_net), ZERO)
    left = 1 - Fraction(whole) / Fraction(row.charge_amount)
    worth = max(
        left * (Fraction(line.net) + Fraction(line.fixed_discount)) - Fraction(line.fixed_discount), Fraction(0)
    )
    due = round_to(Fraction(line.net) - worth, digits)
    net = min(max(EXACT.subtract(due, net_before), ZERO), left_net)
    taxes: tuple[tuple[str, Decimal], ...] = ()
    if net == left_net > ZERO:
        taxes = tuple((rate, max(tax, ZERO)) for rate, tax in left_taxes.items())
    elif net > ZERO:
        taxes = share_of_taxes(net, line.net, line.taxes, left_taxes, digits)
    return TakenBack(row.id, net, taxes, source_net_of(creditable.invoice, row, net))
