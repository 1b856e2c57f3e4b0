"""One customer's money: what invoices take of wallets, what pays them, what notes, voids and settlements give back.

Rule: docs/rules/credits.md#what-a-wallet-pays
Rule: docs/rules/credits.md#payments-by-wallet
Rule: docs/rules/credits.md#what-comes-back
Rule: docs/rules/credits.md#purchases-by-invoice
Rule: docs/rules/credit-notes.md#ceilings
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import NOTHING, in_cents, time_after
from tests.billing.lives.charges.records import Document, Line
from tests.billing.lives.ledger.notes import Note, Part, ceiling, divided, within
from tests.billing.lives.ledger.wallets import Lot, Movement, Slab, Taken, Wallet, last_of, nine_digits

TOPPED_UP = "Auto top-up triggered for low ongoing balance"
GRACE = timedelta(hours=6)
LONGEST_WAIT = timedelta(days=30)
PAID = {"SUCCEEDED", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED"}


@dataclass
class Books:
    """`adjustments` are the debits of prepaid wallets by invoice, `wallet_payments` those of postpaid ones; `waiting`
    are the credits that an invoice sells, until it is paid. `unapplied` is money that stands on no invoice,
    `slabs` what purchases bring, the largest first."""

    documents: list[Document] = field(default_factory=list)
    wallets: list[Wallet] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    adjustments: dict[Document, tuple[Wallet, Movement]] = field(default_factory=dict)
    wallet_payments: dict[Document, list[tuple[Wallet, Movement]]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[Document, tuple[Wallet, Lot]] = field(default_factory=dict)
    sold: set[Document] = field(default_factory=set)
    successors: dict[Wallet, Wallet] = field(default_factory=dict)
    slabs: list[Slab] = field(default_factory=list)
    unapplied: Decimal = NOTHING

    # wallets

    def active_wallet(self, *, is_prepaid: bool) -> Wallet | None:
        wallet = self.open_wallet(is_prepaid=is_prepaid)
        return None if wallet is None or wallet.is_frozen else wallet

    def open_wallet(self, *, is_prepaid: bool) -> Wallet | None:
        wallets = [wallet for wallet in self.wallets if wallet.is_prepaid == is_prepaid and not wallet.is_closed]
        return wallets[0] if wallets else None

    def wallet(self, *, is_prepaid: bool = True, like: Wallet | None = None) -> Wallet:
        """The open wallet, made where there is none."""
        wallet = self.open_wallet(is_prepaid=is_prepaid)
        if wallet is None:
            wallet = Wallet(is_prepaid) if like is None else Wallet(is_prepaid, like.rate, like.price)
            self.wallets.append(wallet)
        return wallet

    def convert(self, wallet: Wallet, now: datetime) -> None:
        after = wallet.convert(now)
        self.successors[wallet] = after
        self.wallets.append(after)

    def _put(self, amount: Decimal, reason: str, kind: str, now: datetime) -> None:
        """Money becomes one lot of the prepaid wallet."""
        wallet = self.wallet()
        wallet.add(Lot(reason, wallet.credits_for(amount), amount, now, kind))

    def expire(self, now: datetime) -> None:
        """Take out what expired six hours ago, unless an invoice may still use it."""
        for wallet in self.wallets:
            due = [lot for lot in wallet.lots if lot.left and lot.expiry is not None and lot.expiry <= now - GRACE]
            for lot in sorted(due, key=lambda lot: (lot.expiry, lot.number)):
                if not wallet.is_closed and not self._may_be_used(wallet, lot, now):
                    wallet.debit("CREDIT_EXPIRED", [(lot, lot.left)])

    def _may_be_used(self, wallet: Wallet, lot: Lot, now: datetime) -> bool:
        assert lot.expiry is not None, "only what expires is asked about"
        for document in self.documents:
            if document.period_end is None or document.reason in {"UPDATE", "MANUAL"} or document.voided:
                continue
            is_covered = document.period_end <= lot.expiry
            if not is_covered or (lot.valid_from is not None and lot.valid_from >= document.period_end):
                continue
            waits = not wallet.is_prepaid and lot.expiry > now - LONGEST_WAIT
            if document.remaining and (document.final_at is None or waits):
                return True
        return False

    # invoices

    def issue(self, document: Document, now: datetime) -> None:
        """An invoice becomes final: the prepaid wallet takes off usage what it can."""
        document.final_at = now
        wallet = self.active_wallet(is_prepaid=True)
        if wallet is None or document in self.sold:
            return
        at = now if document.period_end is None else min(document.period_end, now)
        usable = wallet.usable(at)
        for line in document.lines:
            if line.is_usage:
                line.prepaid = min(usable, line.net)
                usable -= line.prepaid
        if document.prepaid:
            self.adjustments[document] = wallet, wallet.pay("CREDIT_ADJUSTMENT", document.prepaid, at)

    def collect(self, document: Document, now: datetime) -> None:
        """The postpaid wallet pays what it can of a new invoice of a subscription."""
        wallet = self.active_wallet(is_prepaid=False)
        at = now if document.period_end is None else min(document.period_end, now)
        if wallet is not None and (amount := min(wallet.usable(at), document.remaining)):
            self.pay_by_wallet(document, wallet, amount, now)

    def pay_by_wallet(self, document: Document, wallet: Wallet, amount: Decimal, now: datetime) -> None:
        at = now if document.period_end is None else min(document.period_end, now)
        self.wallet_payments[document].append((wallet, wallet.pay("INVOICE_PAYMENT", amount, at)))
        self.pay(document, amount)

    def pay(self, document: Document, amount: Decimal) -> None:
        document.paid += amount
        if not document.remaining and document in self.waiting:
            self._complete(*self.waiting.pop(document))

    def allocate(self, document: Document, amount: Decimal) -> None:
        self.unapplied -= amount
        self.pay(document, amount)

    def move_overpayment(self, document: Document) -> None:
        over = document.paid - document.due
        document.paid -= over
        self.unapplied += over

    def bonus_on(
        self, lot: Lot, wallet: Wallet, named: Decimal | None = None, pinned: datetime | None = None
    ) -> Lot | None:
        """What a purchase brings: the credits `named` for it, else those of the first slab that it reaches, descending;
        they expire at the time `pinned`, else as the slab says."""
        credits, expiry = named or NOTHING, pinned
        slab = next((slab for slab in self.slabs if slab.threshold <= lot.credits), None)
        if named is None and slab is not None:
            credits = slab.bonus(lot.credits)
            if pinned is None and slab.lasts is not None:
                expiry = time_after(lot.created, *slab.lasts)
        if not credits:
            return None
        worth = nine_digits(Fraction(credits) * Fraction(wallet.price))
        return Lot("PURCHASED_CREDIT_BONUS", credits, worth, lot.created, "free", expiry, lot.priority)

    def sell(self, wallet: Wallet, lot: Lot, reason: str, name: str, now: datetime) -> None:
        """An invoice asks for the price of credits that wait."""
        line = Line(f"Purchase {lot.credits.normalize():f} Credits", None, now, now, in_cents(Fraction(lot.amount)))
        document = Document(reason, now, None, list, name, lines=[line])
        self.documents.append(document)
        self.sold.add(document)
        self.waiting[document] = wallet, lot
        self.issue(document, now)

    def sold_by(self, wallet: Wallet) -> list[Document]:
        """The invoices that wait for the price of a wallet's credits."""
        return [document for document, (for_wallet, _) in self.waiting.items() if for_wallet is wallet]

    def top_up(self, wallet: Wallet, credits: Decimal, now: datetime) -> None:
        """Let a wallet that is low top itself up, unless it waits."""
        terms = wallet.top_up
        is_unpaid = any(lot in wallet.added for _, lot in self.waiting.values())
        if terms is None or credits > terms.threshold or terms.waits(wallet.added, now, is_unpaid=is_unpaid):
            return
        reason = "PURCHASED_CREDIT_INVOICED" if terms.is_invoiced else "PURCHASED_CREDIT_DIRECT"
        amount = nine_digits(Fraction(terms.amount) * Fraction(wallet.price))
        lot = Lot(reason, terms.amount, amount, now, "purchased")
        lot.bonus = self.bonus_on(lot, wallet)
        wallet.added.append(lot)
        if terms.is_invoiced:
            self.sell(wallet, lot, "WALLET_AUTO_TOPUP", TOPPED_UP, now)
        else:
            wallet.add_with_bonus(lot)

    def _complete(self, wallet: Wallet, lot: Lot) -> None:
        asked_for = wallet
        while wallet in self.successors:
            wallet = self.successors[wallet]
        if wallet.is_closed:
            wallet = self.wallet(is_prepaid=wallet.is_prepaid, like=wallet)
        for part in [lot, *([lot.bonus] if lot.bonus is not None else [])]:
            if wallet.rate != asked_for.rate:
                part.credits = wallet.credits_for(asked_for.worth(part.credits))
            wallet.add(part)
        if lot in asked_for.added:
            asked_for.added.remove(lot)
            wallet.added.append(lot)

    # notes

    def note_allowed(self, document: Document, amounts: Sequence[tuple[Line, Decimal]]) -> bool:
        """Whether a note by hand of these gross amounts may be made."""
        if document.final_at is None or document.voided or document in self.sold or document.status == "REFUNDED":
            return False
        is_paid = document.status in PAID
        most = document.paid - document.refunded if is_paid else document.due - document.paid
        total = sum((amount for _, amount in amounts), NOTHING)
        return total <= most and all(amount <= ceiling(document, line) for line, amount in amounts)

    def note_by_hand(self, document: Document, amounts: Sequence[tuple[Line, Decimal]], now: datetime) -> Note:
        parts = [divided(line, amount) for line, amount in amounts]
        note = Note(document, document.status in PAID, parts, by_hand=True)
        self._take_effect(note, now)
        return note

    def take_back(self, document: Document, parts: Sequence[Part], now: datetime) -> Decimal:
        """What a settlement takes back: first what is unpaid, then, of an invoice with tax, what was paid; the rest."""
        if document.status not in PAID:
            unpaid, parts = within(parts, max(document.due - document.paid, NOTHING))
            if unpaid:
                self._take_effect(Note(document, is_refund=False, parts=unpaid), now)
        if document.tax:
            paid, parts = within(parts, max(document.paid - document.refunded, NOTHING))
            if paid:
                self._take_effect(Note(document, is_refund=True, parts=paid), now)
        return sum((part.gross for part in parts), NOTHING)

    def credit_unused(self, amount: Decimal, now: datetime) -> None:
        """What no note takes back goes into the wallet."""
        if amount:
            self._put(amount, "SUBSCRIPTION_CREDIT_GRANT", "free", now)

    def _take_effect(self, note: Note, now: datetime) -> None:
        self.notes.append(note)
        for part in note.parts:
            part.line.noted += part.net
            part.line.noted_by_hand += part.net if note.by_hand else NOTHING
            for code, tax in part.taxes.items():
                part.line.noted_taxes[code] += tax
        if note.is_refund:
            note.document.refunded += note.total
            self._put(note.total, "CREDIT_NOTE", "purchased", now)
        else:
            note.document.adjusted += note.total

    def void_note(self, note: Note) -> None:
        """What an adjustment took off is owed again."""
        note.is_void = True
        note.document.adjusted -= note.total
        for part in note.parts:
            part.line.noted -= part.net
            part.line.noted_by_hand -= part.net if note.by_hand else NOTHING
            for code, tax in part.taxes.items():
                part.line.noted_taxes[code] -= tax

    # voids

    def void(self, document: Document, now: datetime) -> None:
        """Give back what was paid on an invoice: credits as the lots they were, money as one lot that was bought."""
        left = document.paid + document.prepaid - document.refunded
        document.voided = True
        document.refunded += left
        if document in self.waiting:
            wallet, lot = self.waiting.pop(document)
            wallet.added = [added for added in wallet.added if added is not lot]
        returned: list[tuple[Wallet, Lot]] = []
        debits = [self.adjustments[document]] if document in self.adjustments else []
        for wallet, movement in [*debits, *reversed(self.wallet_payments[document])]:
            part = min(left, movement.amount)
            left -= part
            if part:
                after = wallet if not wallet.is_closed else self.wallet(is_prepaid=wallet.is_prepaid, like=wallet)
                returned += [(after, lot) for lot in _like_those_taken(wallet, movement, part, after, now)]
        for wallet, lot in returned:
            wallet.add(lot)
        if left:
            self._put(left, "INVOICE_VOID_REFUND", "purchased", now)


def _like_those_taken(wallet: Wallet, movement: Movement, amount: Decimal, after: Wallet, now: datetime) -> list[Lot]:
    """Lots worth `amount`, like those that a debit of `wallet` took, for the wallet `after`."""
    taken: Taken = movement.taken
    if amount < movement.amount:
        taken = last_of(taken, wallet.credits_for(amount))
    lots = []
    for index, (lot, credits) in enumerate(taken, start=1):
        worth = amount if index == len(taken) else min(wallet.worth(credits), amount)
        amount -= worth
        back = credits if after.rate == wallet.rate else after.credits_for(wallet.worth(credits))
        if back:
            again = Lot("INVOICE_VOID_REFUND", back, worth, now, lot.kind, lot.expiry, lot.priority, lot.valid_from)
            lots.append(again)
    return lots
