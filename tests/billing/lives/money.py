"""What happens with a customer's money: wallets, purchases, payments, notes, voids and grants, in the office and in the
model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import select

from farthing.core.money import plain
from farthing.credits.ledger.tables import Wallet as WalletRow
from farthing.credits.ledger.tables import WalletTransaction
from farthing.invoices.tables import Invoice
from tests.billing.lives.arithmetic import NOTHING, in_cents, split
from tests.billing.lives.comparison import written
from tests.billing.lives.grants import Grant, GrantTerms
from tests.billing.lives.model import LifeModel
from tests.billing.lives.notes import Note, ceiling
from tests.billing.lives.records import Document, Line
from tests.billing.lives.wallets import Lot, Wallet, nine_digits
from tests.billing.office import Office

Body = dict[str, Any]
REASONS = [
    "FREE_CREDIT_GRANT",
    "FREE_CREDIT_GRANT",
    "PURCHASED_CREDIT_DIRECT",
    "PURCHASED_CREDIT_DIRECT",
    "CREDIT_NOTE",
]
MOST_TRIES = 6
RATES = ["1", "1", "0.8", "0.7", "2"]
DEEDS = {
    "open": 2,
    "top up": 6,
    "buy": 3,
    "debit": 2,
    "one-off": 4,
    "pay": 6,
    "pay by wallet": 2,
    "void": 2,
    "note": 4,
    "void note": 1,
    "receive": 1,
    "allocate": 1,
    "move": 1,
    "void lot": 1,
    "convert": 1,
    "close": 1,
    "grant": 2,
    "end grant": 1,
}


@dataclass
class Money:
    """One customer's money; `rates` are the ids of tax rates by code."""

    office: Office
    dice: random.Random
    model: LifeModel
    customer: Body
    subscription: Body
    rates: dict[str, str]
    made: int = 0
    grant_ids: dict[Grant, str] = field(default_factory=dict)
    note_ids: dict[Note, str] = field(default_factory=dict)

    async def act(self) -> str:
        """Something happens; what it was, "" for nothing."""
        for _ in range(MOST_TRIES):
            deed = self.dice.choices(list(DEEDS), list(DEEDS.values()))[0]
            self.made += 1
            story: str = await getattr(self, f"_{deed.replace(' ', '_').replace('-', '_')}")()
            if story:
                return story
        return ""

    @property
    def _key(self) -> dict[str, str]:
        return {"idempotency_key": f"deed-{self.made}"}

    def _cents(self, least: int = 1, most: int = 12000) -> Decimal:
        return Decimal(self.dice.randint(least, most)) / 100

    def _credits(self) -> Decimal:
        return Decimal(self.dice.randint(1, 900_000)).scaleb(-self.dice.choice([2, 3, 4, 5]))

    async def _ids(self) -> dict[Wallet, str]:
        async with self.office.account.transaction(read_only=True) as session:
            rows = (await session.scalars(select(WalletRow.id).order_by(WalletRow.id))).all()
        return dict(zip(self.model.books.wallets, rows, strict=True))

    async def _invoice(self, document: Document) -> Body:
        """The invoice of a document."""
        async with self.office.account.transaction(read_only=True) as session:
            for invoice in await session.scalars(select(Invoice)):
                reason = str(invoice.billing_reason).removeprefix("SUBSCRIPTION_")
                head = written(invoice.reference_date), reason, invoice.description or ""
                if head == (written(document.reference), document.reason, document.name):
                    invoice_id = invoice.id
        shown: Body = await self.office.account.get(f"/invoices/{invoice_id}")
        return shown

    def _wallets(self, *, is_prepaid: bool | None = None) -> list[Wallet]:
        return [
            wallet
            for wallet in self.model.books.wallets
            if not wallet.is_closed and is_prepaid in {None, wallet.is_prepaid}
        ]

    def _documents(self) -> list[Document]:
        return [document for document in self.model.books.documents if document.final_at and not document.voided]

    # wallets

    async def _open(self) -> str:
        is_prepaid = self.dice.random() < 0.6
        if self._wallets(is_prepaid=is_prepaid):
            return ""
        rate, credits = Decimal(self.dice.choice(RATES)), self._credits()
        wallet = Wallet(is_prepaid, rate, Decimal(self.dice.choice(RATES)))
        body = {
            "customer_id": self.customer["id"],
            "currency": "usd",
            "wallet_type": "PRE_PAID" if is_prepaid else "POST_PAID",
            "conversion_rate": str(wallet.rate),
            "topup_conversion_rate": str(wallet.price),
            "initial_credits_to_load": str(credits),
        }
        await self.office.account.post("/wallets", body, expect=200)
        self.model.books.wallets.append(wallet)
        wallet.add(Lot("FREE_CREDIT_GRANT", credits, wallet.worth(credits), self.office.now, "free"))
        return f"open {body['wallet_type']} {rate}/{wallet.price} with {credits}"

    def _lot(self, wallet: Wallet, reason: str) -> tuple[Lot, Body]:
        """Credits to add, and the request for them."""
        body: Body = {"transaction_reason": reason, **self._key}
        lot = Lot(
            reason, self._credits(), NOTHING, self.office.now, "free" if reason.startswith("FREE") else "purchased"
        )
        rate = wallet.price if lot.is_bought_at_price else wallet.rate
        if self.dice.random() < 0.3:
            lot.amount = self._cents(least=100)
            lot.credits = nine_digits(Fraction(lot.amount) / Fraction(rate))
            body["amount"] = str(lot.amount)
        else:
            lot.amount = nine_digits(Fraction(lot.credits) * Fraction(rate))
            body["credits_to_add"] = str(lot.credits)
        if self.dice.random() < 0.5:
            lot.expiry = self.office.now + timedelta(minutes=self.dice.randint(30, 60 * 24 * 50))
            body["expiry_date_utc"] = lot.expiry.isoformat()
        if self.dice.random() < 0.4:
            lot.priority = body["priority"] = self.dice.randint(0, 3)
        if lot.is_bought_at_price and self.dice.random() < 0.6:
            bonus = self._credits()
            worth = nine_digits(Fraction(bonus) * Fraction(wallet.price))
            body["bonus_credits_to_add"] = str(bonus)
            lot.bonus = Lot("PURCHASED_CREDIT_BONUS", bonus, worth, self.office.now, "free")
            lot.bonus.priority = lot.priority
            if self.dice.random() < 0.5:
                lot.bonus.expiry = self.office.now + timedelta(minutes=self.dice.randint(30, 60 * 24 * 50))
                body["bonus_credits_expiry_date_utc"] = lot.bonus.expiry.isoformat()
        return lot, body

    async def _top_up(self) -> str:
        if not self._wallets():
            return ""
        wallet = self.dice.choice(self._wallets())
        lot, body = self._lot(wallet, self.dice.choice(REASONS))
        await self.office.account.post(f"/wallets/{(await self._ids())[wallet]}/top-up", body, expect=200)
        wallet.add(lot)
        if lot.bonus is not None:
            wallet.add(lot.bonus)
        return f"top up {body}"

    async def _buy(self) -> str:
        if not self._wallets():
            return ""
        wallet = self.dice.choice(self._wallets())
        lot, body = self._lot(wallet, "PURCHASED_CREDIT_INVOICED")
        price = in_cents(Fraction(lot.amount))
        if not price:
            return ""
        name = body["description"] = f"purchase {self.made}"
        await self.office.account.post(f"/wallets/{(await self._ids())[wallet]}/top-up", body, expect=200)
        now = self.office.now
        line = Line(f"Purchase {plain(lot.credits)} Credits", None, now, now, price)
        document = Document("MANUAL", now, None, list, name, lines=[line])
        self.model.books.sell(wallet, lot, document, now)
        return f"buy {body}"

    async def _debit(self) -> str:
        if not self._wallets():
            return ""
        wallet, credits = self.dice.choice(self._wallets()), self._credits()
        body = {"credits": str(credits), "transaction_reason": "MANUAL_BALANCE_DEBIT", **self._key}
        await self.office.account.post(f"/wallets/{(await self._ids())[wallet]}/debit", body, expect=200)
        wallet.debit_by_hand(credits, self.office.now)
        return f"debit {credits}"

    async def _void_lot(self) -> str:
        lots = [(wallet, lot) for wallet in self._wallets() for lot in wallet.lots if not lot.is_void]
        if not lots:
            return ""
        wallet, lot = self.dice.choice(lots)
        wallet_id, place = (await self._ids())[wallet], wallet.lots.index(lot)
        row = WalletTransaction
        async with self.office.account.transaction(read_only=True) as session:
            query = select(row.id).where(row.wallet_id == wallet_id, row.seq.is_not(None), row.type == "credit")
            transaction_id = (await session.scalars(query.order_by(row.seq))).all()[place]
        voided = wallet.void(lot)
        await self.office.account.post(f"/wallets/transactions/{transaction_id}/void", {}, 200 if voided else 400)
        return f"void lot of {lot.credits}: {voided}"

    async def _convert(self) -> str:
        if self.dice.random() < 0.5 or not self._wallets(is_prepaid=True):
            return ""
        (wallet,) = self._wallets(is_prepaid=True)
        allowed = 200 if wallet.balance >= 0 else 400
        if allowed == 200 and self._wallets(is_prepaid=False):
            allowed = 409
        path = f"/wallets/{(await self._ids())[wallet]}/modify"
        await self.office.account.post(path, {"modification_type": "prepaid_to_postpaid"}, expect=allowed)
        if allowed == 200:
            self.model.books.convert(wallet, self.office.now)
        return f"convert: {allowed}"

    async def _close(self) -> str:
        if self.dice.random() < 0.5 or not self._wallets():
            return ""
        wallet = self.dice.choice(self._wallets())
        await self.office.account.post(f"/wallets/{(await self._ids())[wallet]}/terminate", {}, expect=200)
        wallet.close()
        return "close a wallet"

    # invoices

    async def _one_off(self) -> str:
        now, name = self.office.now, f"one-off {self.made}"
        amounts = [(self._cents(), self.dice.choice(["USAGE", "FIXED"])) for _ in range(self.dice.randint(1, 3))]
        code = self.dice.choice([None, *self.rates])
        total = str(sum(amount for amount, _ in amounts))
        lines = [
            {"amount": str(amount), "quantity": "1", "price_type": kind, "display_name": f"{kind} {place}"}
            for place, (amount, kind) in enumerate(amounts)
        ]
        body = {"customer_id": self.customer["id"], "currency": "usd", "subtotal": total, "total": total}
        body |= {"amount_due": total, "description": name, "line_items": lines}
        body |= {"tax_rates": [self.rates[code]]} if code else {}
        await self.office.account.post("/invoices", body)
        document = Document("MANUAL", now, None, list, name)
        document.lines = [
            Line(f"{kind} {place}", None, now, now, amount, is_usage=kind == "USAGE")
            for place, (amount, kind) in enumerate(amounts)
        ]
        if code:
            (percentage,) = [rate for named, rate, _, _ in self.model.taxes.rates if named == code]
            base = sum((amount for amount, _ in amounts), Decimal(0))
            document.taxes[code] = base, in_cents(Fraction(base) * Fraction(percentage) / 100)
            parts = split(document.taxes[code][1], [amount for amount, _ in amounts])
            for line, part in zip(document.lines, parts, strict=True):
                line.taxes[code] = part
        self.model.books.documents.append(document)
        self.model.books.issue(document, now)
        return f"{name}: {amounts} {code}"

    async def _pay(self) -> str:
        unpaid = [document for document in self._documents() if document.remaining]
        if not unpaid:
            return ""
        document = self.dice.choice(unpaid)
        part = self.dice.random()
        amount = document.remaining
        if part < 0.3:
            amount = self._cents(most=int(document.remaining * 100))
        elif part > 0.8:
            amount += self._cents(most=3000)
        invoice = await self._invoice(document)
        body = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "OFFLINE"}
        body |= {"amount": str(amount), "currency": "usd", "process_payment": True, **self._key}
        await self.office.account.post("/payments", body)
        self.model.books.pay(document, amount)
        return f"pay {amount} of {document.reason} {document.name} {written(document.reference)}"

    async def _pay_by_wallet(self) -> str:
        unpaid = [document for document in self._documents() if document.remaining]
        wallets = self._wallets(is_prepaid=False)
        if not unpaid or not wallets:
            return ""
        document, wallet, now = self.dice.choice(unpaid), wallets[0], self.office.now
        at = now if document.period_end is None else min(document.period_end, now)
        amount = min(document.remaining, self._cents())
        allowed = amount <= wallet.usable(at)
        invoice = await self._invoice(document)
        body = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "CREDITS"}
        body |= {"amount": str(amount), "currency": "usd", "process_payment": True, **self._key}
        await self.office.account.post("/payments", body, 201 if allowed else 400)
        if allowed:
            self.model.books.pay_by_wallet(document, wallet, amount, now)
        return f"pay {amount} of {document.reason} {document.name} by wallet: {allowed}"

    async def _void(self) -> str:
        documents = [document for document in self._documents() if document.reason == "MANUAL"]
        if not documents:
            return ""
        document = self.dice.choice(documents)
        books = self.model.books
        allowed = document not in books.sold or (document in books.waiting and not document.paid)
        if document in books.sold and document in books.waiting and document.paid:
            return ""
        invoice = await self._invoice(document)
        await self.office.account.post(f"/invoices/{invoice['id']}/void", {}, 200 if allowed else 400)
        if allowed:
            books.void(document, self.office.now)
        return f"void {document.name}: {allowed}"

    async def _note(self) -> str:
        documents = [document for document in self._documents() if any(line.net for line in document.lines)]
        if not documents:
            return ""
        document = self.dice.choice(documents)
        invoice = await self._invoice(document)
        charging = [line for line in document.lines if line.gross - line.credit]
        chosen = self.dice.sample(charging, self.dice.randint(1, len(charging)))
        amounts = []
        for line in chosen:
            most = max(int(ceiling(document, line) * 100), 1)
            amounts.append((line, Decimal(self.dice.choice([most, self.dice.randint(1, most)])) / 100))
        allowed = self.model.books.note_allowed(document, amounts)
        ids = _line_ids(invoice, chosen)
        lines = [{"invoice_line_item_id": ids[line], "amount": str(amount)} for line, amount in amounts]
        body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": lines}
        body |= {"process_credit_note": True, **self._key}
        answer = await self.office.account.post("/creditnotes", body, 201 if allowed else 400)
        if allowed:
            note = self.model.books.note_by_hand(document, amounts, self.office.now)
            self.note_ids[note] = answer["id"]
        shown = [(line.name, str(amount)) for line, amount in amounts]
        return f"note on {document.reason} {document.name} {written(document.reference)} {shown}: {allowed}"

    async def _void_note(self) -> str:
        notes = [note for note in self.note_ids if not note.is_void]
        if not notes:
            return ""
        note = self.dice.choice(notes)
        allowed = not note.is_refund and not note.document.refunded and not note.document.voided
        if note.document.voided:
            return ""
        await self.office.account.post(f"/creditnotes/{self.note_ids[note]}/void", {}, 200 if allowed else 400)
        if allowed:
            self.model.books.void_note(note)
        return f"void note of {note.total}: {allowed}"

    # money that stands on no invoice

    async def _receive(self) -> str:
        amount = self._cents()
        body = {"destination_type": "CUSTOMER", "destination_id": self.customer["id"], "amount": str(amount)}
        body |= {"payment_method_type": "OFFLINE", "currency": "usd", "process_payment": True, **self._key}
        await self.office.account.post("/payments", body)
        self.model.books.unapplied += amount
        return f"receive {amount}"

    async def _allocate(self) -> str:
        unpaid = [document for document in self._documents() if document.remaining]
        if not unpaid or not self.model.books.unapplied:
            return ""
        document = self.dice.choice(unpaid)
        amount = min(document.remaining, self.model.books.unapplied)
        invoice = await self._invoice(document)
        allocations = [{"invoice_id": invoice["id"], "amount": str(amount)}]
        path = f"/customers/{self.customer['id']}/unapplied-money/allocate"
        await self.office.account.post(path, {"currency": "usd", "allocations": allocations}, expect=200)
        self.model.books.allocate(document, amount)
        return f"allocate {amount} to {document.reason} {document.name}"

    async def _move(self) -> str:
        over = [document for document in self._documents() if document.status == "OVERPAID"]
        if not over:
            return ""
        document = self.dice.choice(over)
        invoice = await self._invoice(document)
        await self.office.account.post(f"/invoices/{invoice['id']}/overpayment/move", None, expect=200)
        self.model.books.move_overpayment(document)
        return f"move what was paid too much of {document.reason} {document.name}"

    # grants

    async def _grant(self) -> str:
        if len(self.model.grants) > 4 or self.model.time.cancels_at is not None:
            return ""
        terms = random_terms(self.dice)
        body = {**request_of(terms), "scope": "SUBSCRIPTION", "subscription_id": self.subscription["id"]}
        made = await self.office.account.post("/creditgrants", {**body, "start_date": self.office.now.isoformat()})
        self.grant_ids[self.model.grant(terms, self.office.now)] = made["id"]
        return f"grant {terms}"

    async def _end_grant(self) -> str:
        grants = [grant for grant in self.grant_ids if grant.end is None]
        if not grants:
            return ""
        grant = self.dice.choice(grants)
        answer = await self.office.account.http.delete(f"/creditgrants/{self.grant_ids[grant]}")
        assert answer.status_code == 200, answer.text
        grant.stop(self.office.now)
        return "end a grant"


def random_terms(dice: random.Random) -> GrantTerms:
    """A grant that gives every few days at most."""
    period, least, most = dice.choice(
        [
            (None, 1, 1),
            ("DAILY", 9, 20),
            ("WEEKLY", 2, 4),
            ("MONTHLY", 1, 1),
            ("MONTHLY", 1, 2),
            ("QUARTERLY", 1, 1),
            ("HALF_YEARLY", 1, 1),
            ("ANNUAL", 1, 1),
        ]
    )
    unit = dice.choice(["DAY", "WEEK", "MONTH", "YEAR"])
    lasts = dice.choice([None, "period", (dice.randint(1, 40) if unit == "DAY" else dice.randint(1, 3), unit)])
    rollover = dice.choice([None, None, Decimal(0), Decimal(7)]) if period is not None else None
    priority = dice.choice([None, None, 0, 1, 2])
    return GrantTerms(
        Decimal(dice.randint(1, 4000)) / 100, period, dice.randint(least, most), lasts, priority, rollover
    )


def request_of(terms: GrantTerms) -> Body:
    """The terms of a grant as a request has them."""
    body: Body = {"name": "Credits", "credits": str(terms.credits), "cadence": "ONETIME", "expiration_type": "NEVER"}
    if terms.period is not None:
        body |= {"cadence": "RECURRING", "period": terms.period, "period_count": terms.count}
    if isinstance(terms.lasts, str):
        body["expiration_type"] = "BILLING_CYCLE"
    elif terms.lasts is not None:
        number, unit = terms.lasts
        body |= {"expiration_type": "DURATION", "expiration_duration": number, "expiration_duration_unit": unit}
    if terms.priority is not None:
        body["priority"] = terms.priority
    if terms.rollover is not None:
        body["rollover_maximum"] = str(terms.rollover)
    return body


def _line_ids(invoice: Body, lines: Sequence[Line]) -> dict[Line, str]:
    """The ids of an invoice's lines: those of the same name, time and amount are the same for everybody."""
    free = list(invoice["line_items"])
    ids = {}
    for line in lines:
        for shown in free:
            same = shown["display_name"] == line.name and Decimal(shown["amount"]) == line.gross - line.credit
            begins = shown.get("period_start")
            if same and (line.item is None or not begins or begins[:19] == line.start.isoformat()[:19]):
                ids[line] = shown["id"]
                free.remove(shown)
                break
    return ids
