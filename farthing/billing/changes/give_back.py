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
from farthing.credits.ledger.posting import MovementOrigin
from farthing.credits.notes.lines import TakenBack
from farthing.credits.notes.settlements import SettlementCause, announce_notes, take_back
from farthing.credits.notes.tables import CreditNote, CreditNoteReason
from farthing.credits.rules.notes import share_of_taxes
from farthing.credits.wallets.opening import WalletKey
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class ReturnedCredit:
    """What a settlement gives back to the payer, by change, in their order: `parts` before tax, and the `taxes`; the
    notes that say so, and the credit of what no note does."""

    parts: tuple[Decimal, ...] = ()
    taxes: tuple[Decimal, ...] = ()
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
    digits = currency.digits(snapshot.currency)
    by_invoice: dict[str, list[TakenBack]] = defaultdict(list)
    taxes, without_line = [], ZERO
    for parts in owed:
        tax = ZERO
        for part in parts:
            if part.line_id is None:
                without_line = EXACT.add(without_line, part.amount)
                continue
            line = sources.lines[part.line_id]
            taken = TakenBack(
                part.line_id,
                part.amount,
                share_of_taxes(part.amount, line.net, line.taxes, line.left_taxes, digits),
            )
            for rate, amount in taken.taxes:
                line.left_taxes[rate] = EXACT.subtract(line.left_taxes[rate], amount)
            tax = EXACT.add(tax, taken.tax)
            by_invoice[line.row.invoice_id].append(taken)
        taxes.append(tax)
    notes: list[CreditNote] = []
    left = without_line
    for invoice_id in sorted(by_invoice):
        from_invoice = await take_back(session, sources.invoices[invoice_id], by_invoice[invoice_id], cause, now)
        notes += from_invoice.notes
        left = EXACT.add(left, from_invoice.left)
    transaction_id = await _into_wallet(session, snapshot, left, cause, now)
    await announce_notes(session, notes, now)
    amounts = tuple(exact_sum([part.amount for part in parts]) for parts in owed)
    return ReturnedCredit(amounts, tuple(taxes), tuple(notes), transaction_id)


async def _into_wallet(
    session: AsyncSession, snapshot: SubscriptionSnapshot, amount: Decimal, cause: SettlementCause, now: datetime
) -> str | None:
    if amount <= 0:
        return None
    ended = cause.reason is CreditNoteReason.SUBSCRIPTION_CANCELLATION
    origin = MovementOrigin(
        ReferenceType.REQUEST,
        cause.key,
        description=f"Unused time ({'cancellation' if ended else 'change'})",
        metadata={"subscription_id": snapshot.id},
        system_key=cause.key,
    )
    payer = WalletKey(snapshot.payer_id, snapshot.currency)
    return (await credit_unused_time(session, payer, amount, origin, now)).id
