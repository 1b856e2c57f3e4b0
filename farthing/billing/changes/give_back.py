"""Giving the payer back what credits for unused time have no charge to lower: by credit notes, and into the wallet.

Rule: docs/rules/proration.md#tax-on-what-is-given-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import CreditPart
from farthing.billing.changes.fee_sources import FeeSources
from farthing.billing.tables import ProrationSettlement
from farthing.core import currency
from farthing.core.errors import AlreadyExists
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.credits.enums import ReferenceType
from farthing.credits.invoicing.prepaid_money import credit_unused_time
from farthing.credits.ledger.opening import WalletKey
from farthing.credits.ledger.posting import MovementOrigin
from farthing.credits.notes.lifecycle.lines import TakenBack
from farthing.credits.notes.lifecycle.settlements import SettlementCause, announce_notes, take_back
from farthing.credits.notes.tables import CreditNote, CreditNoteReason
from farthing.credits.rules.notes import share_of_taxes
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class ReturnedCredit:
    """What a settlement gives back to the payer, by change, in their order: `parts` before tax, in the currency of the
    charges, and the `taxes`; the notes that say so, and the credit of what no note does.

    `paid_out` is what a part is in the currency that its invoices were converted into, None where none was.
    """

    parts: tuple[Decimal, ...] = ()
    taxes: tuple[Decimal, ...] = ()
    paid_out: tuple[Decimal | None, ...] = ()
    notes: tuple[CreditNote, ...] = ()
    wallet_transaction_id: str | None = None

    @property
    def amount(self) -> Decimal:
        return exact_sum(self.parts)

    @property
    def tax(self) -> Decimal:
        return exact_sum(self.taxes)


def settled_before(key: str) -> AlreadyExists:
    """Refuses a settlement whose key was used."""
    return AlreadyExists("This change was settled before", {"settlement_key": key})


async def give_back(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    owed: Sequence[Sequence[CreditPart]],
    sources: FeeSources,
    cause: SettlementCause,
    now: datetime,
) -> ReturnedCredit:
    """Give the payer the parts of credits that are `owed`, by change, with the tax on them; `sources` are locked.

    Raises AlreadyExists for a key that was settled.
    """
    if not any(owed):
        return ReturnedCredit()
    if await session.scalar(select(exists().where(ProrationSettlement.settlement_key == cause.key))):
        raise settled_before(cause.key)
    given = [_given(parts, sources) for parts in owed]
    by_invoice: dict[str, list[TakenBack]] = defaultdict(list)
    for change in given:
        for invoice_id, taken in change.taken:
            by_invoice[invoice_id].append(taken)
    notes: list[CreditNote] = []
    left = {snapshot.currency: exact_sum([change.without_line for change in given])}
    for invoice_id in sorted(by_invoice):
        invoice = sources.invoices[invoice_id]
        from_invoice = await take_back(session, invoice, by_invoice[invoice_id], cause, now)
        notes += from_invoice.notes
        left[invoice.currency] = EXACT.add(left.get(invoice.currency, ZERO), from_invoice.left)
    credits_given = [await _into_wallet(session, snapshot, code, amount, cause, now) for code, amount in left.items()]
    await announce_notes(session, notes, now)
    return ReturnedCredit(
        parts=tuple(exact_sum([part.amount for part in parts]) for parts in owed),
        taxes=tuple(exact_sum([taken.tax for _, taken in change.taken]) for change in given),
        paid_out=tuple(change.paid_out for change in given),
        notes=tuple(notes),
        wallet_transaction_id=next((credit_id for credit_id in credits_given if credit_id is not None), None),
    )


@dataclass(frozen=True, slots=True)
class _GivenBack:
    """What is given back for one change: what is taken back of which invoice, and what no line was found for."""

    taken: tuple[tuple[str, TakenBack], ...]
    without_line: Decimal

    @property
    def paid_out(self) -> Decimal | None:
        """What it is in the currencies that it is paid in; None where nothing was converted."""
        if all(taken.source_net is None for _, taken in self.taken):
            return None
        return EXACT.add(exact_sum([taken.net for _, taken in self.taken]), self.without_line)


def _given(parts: Sequence[CreditPart], sources: FeeSources) -> _GivenBack:
    """Take the parts of a credit off the lines that they stand on, with their share of the tax."""
    taken: list[tuple[str, TakenBack]] = []
    for part in parts:
        if part.line_id is None:
            continue
        line = sources.lines[part.line_id]
        digits = currency.digits(line.row.currency)
        net = line.paid_share(part, digits)
        if net <= 0:
            continue
        taxes = share_of_taxes(net, line.paid_net, line.taxes, line.left_taxes, digits)
        for rate, amount in taxes:
            line.left_taxes[rate] = EXACT.subtract(line.left_taxes[rate], amount)
        line.left, line.paid_left = EXACT.subtract(line.left, part.amount), EXACT.subtract(line.paid_left, net)
        source = None if line.row.source_amount is None else part.amount
        taken.append((line.row.invoice_id, TakenBack(part.line_id, net, taxes, source)))
    return _GivenBack(tuple(taken), exact_sum([part.amount for part in parts if part.line_id is None]))


async def _into_wallet(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    code: str,
    amount: Decimal,
    cause: SettlementCause,
    now: datetime,
) -> str | None:
    if amount <= 0:
        return None
    ended = cause.reason is CreditNoteReason.SUBSCRIPTION_CANCELLATION
    origin = MovementOrigin(
        ReferenceType.REQUEST,
        cause.key,
        description=f"Unused time ({'cancellation' if ended else 'change'})",
        metadata={"subscription_id": snapshot.id},
        system_key=cause.key if code == snapshot.currency else f"{cause.key}_{code}",
    )
    payer = WalletKey(snapshot.payer_id, code)
    return (await credit_unused_time(session, payer, amount, origin, now)).id
