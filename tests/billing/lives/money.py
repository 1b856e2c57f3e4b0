"""What happens with a customer's money: payments, notes, voids and grants, in the office and in the model."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import in_cents, split
from tests.billing.lives.charges.records import Document, Line
from tests.billing.lives.comparison import written
from tests.billing.lives.customer import Body, Customer
from tests.billing.lives.ledger.grants import Grant, GrantTerms
from tests.billing.lives.ledger.notes import Note, ceiling
from tests.billing.lives.wallet_deeds import WalletDeeds

MOST_TRIES = 6


@dataclass
class Money:
    """One customer's money; `rates` are the ids of tax rates by code."""

    customer: Customer
    subscription: Body
    rates: dict[str, str]
    grant_ids: dict[Grant, str] = field(default_factory=dict)
    note_ids: dict[Note, str] = field(default_factory=dict)

    async def act(self) -> str:
        """Something happens; what it was, "" for nothing."""
        deeds = {**WalletDeeds(self.customer).all(), **self._all()}
        weights = [often for often, _ in deeds.values()]
        for _ in range(MOST_TRIES):
            (name,) = self.customer.dice.choices(list(deeds), weights)
            self.customer.made += 1
            story = await deeds[name][1]()
            if story:
                return story
        return ""

    def _all(self) -> Mapping[str, tuple[int, Callable[[], Awaitable[str]]]]:
        """By name: how often it happens, and what does it."""
        return {
            "one-off": (4, self._one_off),
            "pay": (6, self._pay),
            "pay by wallet": (2, self._pay_by_wallet),
            "void": (2, self._void),
            "note": (4, self._note),
            "void note": (1, self._void_note),
            "receive": (1, self._receive),
            "allocate": (1, self._allocate),
            "move": (1, self._move),
            "grant": (2 if self.customer.is_charged_as_billed else 0, self._grant),
            "end grant": (1, self._end_grant),
        }

    # invoices

    async def _one_off(self) -> str:
        now, name = self.customer.now, f"one-off {self.customer.made}"
        amounts = [
            (self.customer.cents(), self.customer.dice.choice(["USAGE", "FIXED"]))
            for _ in range(self.customer.dice.randint(1, 3))
        ]
        code = self.customer.dice.choice([None, *self.rates])
        total = str(sum(amount for amount, _ in amounts))
        lines = [
            {"amount": str(amount), "quantity": "1", "price_type": kind, "display_name": f"{kind} {place}"}
            for place, (amount, kind) in enumerate(amounts)
        ]
        body: Body = {
            "customer_id": self.customer.id,
            "currency": self.customer.code,
            "subtotal": total,
            "total": total,
        }
        body |= {"amount_due": total, "description": name, "line_items": lines}
        body |= {"tax_rates": [self.rates[code]]} if code else {}
        await self.customer.office.account.post("/invoices", body)
        document = Document("MANUAL", now, None, list, name)
        document.lines = [
            Line(f"{kind} {place}", None, now, now, amount, is_usage=kind == "USAGE")
            for place, (amount, kind) in enumerate(amounts)
        ]
        if code:
            (percentage,) = [rate for named, rate, _, _ in self.customer.model.taxes.rates if named == code]
            base = sum((amount for amount, _ in amounts), Decimal(0))
            document.taxes[code] = base, in_cents(Fraction(base) * Fraction(percentage) / 100)
            parts = split(document.taxes[code][1], [amount for amount, _ in amounts])
            for line, part in zip(document.lines, parts, strict=True):
                line.taxes[code] = part
        self.customer.books.documents.append(document)
        self.customer.books.issue(document, now)
        return f"{name}: {amounts} {code}"

    async def _pay(self) -> str:
        unpaid = [document for document in self.customer.documents() if document.remaining]
        if not unpaid:
            return ""
        document = self.customer.dice.choice(unpaid)
        part = self.customer.dice.random()
        amount = document.remaining
        if part < 0.3:
            amount = self.customer.cents(most=int(document.remaining * 100))
        elif part > 0.8:
            amount += self.customer.cents(most=3000)
        invoice = await self.customer.invoice(document)
        body = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "OFFLINE"}
        body |= {"amount": str(amount), "currency": self.customer.code, "process_payment": True, **self.customer.key}
        await self.customer.office.account.post("/payments", body)
        self.customer.books.pay(document, amount)
        return f"pay {amount} of {document.reason} {document.name} {written(document.reference)}"

    async def _pay_by_wallet(self) -> str:
        unpaid = [document for document in self.customer.documents() if document.remaining]
        wallets = self.customer.wallets(is_prepaid=False)
        if not unpaid or not wallets:
            return ""
        document, wallet, now = self.customer.dice.choice(unpaid), wallets[0], self.customer.now
        at = now if document.period_end is None else min(document.period_end, now)
        amount = min(document.remaining, self.customer.cents())
        allowed = amount <= wallet.usable(at) and not wallet.is_frozen
        invoice = await self.customer.invoice(document)
        body = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "CREDITS"}
        body |= {"amount": str(amount), "currency": self.customer.code, "process_payment": True, **self.customer.key}
        refused = 404 if wallet.is_frozen else 400
        await self.customer.office.account.post("/payments", body, 201 if allowed else refused)
        if allowed:
            self.customer.books.pay_by_wallet(document, wallet, amount, now)
        return f"pay {amount} of {document.reason} {document.name} by wallet: {allowed}"

    async def _void(self) -> str:
        documents = [document for document in self.customer.documents() if document.reason == "MANUAL"]
        if not documents:
            return ""
        document = self.customer.dice.choice(documents)
        books = self.customer.books
        allowed = document not in books.sold or (document in books.waiting and not document.paid)
        if document in books.sold and document in books.waiting and document.paid:
            return ""
        invoice = await self.customer.invoice(document)
        await self.customer.office.account.post(f"/invoices/{invoice['id']}/void", {}, 200 if allowed else 400)
        if allowed:
            books.void(document, self.customer.now)
        return f"void {document.name}: {allowed}"

    async def _note(self) -> str:
        documents = [document for document in self.customer.documents() if any(line.net for line in document.lines)]
        if not documents:
            return ""
        document = self.customer.dice.choice(documents)
        invoice = await self.customer.invoice(document)
        charging = [line for line in document.lines if line.gross - line.credit]
        chosen = self.customer.dice.sample(charging, self.customer.dice.randint(1, len(charging)))
        amounts = []
        for line in chosen:
            most = max(int(ceiling(document, line) * 100), 1)
            amounts.append(
                (line, Decimal(self.customer.dice.choice([most, self.customer.dice.randint(1, most)])) / 100)
            )
        allowed = self.customer.books.note_allowed(document, amounts)
        ids = _line_ids(invoice, chosen)
        lines = [{"invoice_line_item_id": ids[line], "amount": str(amount)} for line, amount in amounts]
        body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": lines}
        body |= {"process_credit_note": True, **self.customer.key}
        answer = await self.customer.office.account.post("/creditnotes", body, 201 if allowed else 400)
        if allowed:
            note = self.customer.books.note_by_hand(document, amounts, self.customer.now)
            self.note_ids[note] = answer["id"]
        shown = [(line.name, str(amount)) for line, amount in amounts]
        return f"note on {document.reason} {document.name} {written(document.reference)} {shown}: {allowed}"

    async def _void_note(self) -> str:
        notes = [note for note in self.note_ids if not note.is_void]
        if not notes:
            return ""
        note = self.customer.dice.choice(notes)
        allowed = not note.is_refund and not note.document.refunded and not note.document.voided
        if note.document.voided:
            return ""
        await self.customer.office.account.post(f"/creditnotes/{self.note_ids[note]}/void", {}, 200 if allowed else 400)
        if allowed:
            self.customer.books.void_note(note)
        return f"void note of {note.total}: {allowed}"

    # money that stands on no invoice

    async def _receive(self) -> str:
        amount = self.customer.cents()
        body: Body = {"destination_type": "CUSTOMER", "destination_id": self.customer.id, "amount": str(amount)}
        body |= {
            "payment_method_type": "OFFLINE",
            "currency": self.customer.code,
            "process_payment": True,
            **self.customer.key,
        }
        await self.customer.office.account.post("/payments", body)
        self.customer.books.unapplied += amount
        return f"receive {amount}"

    async def _allocate(self) -> str:
        unpaid = [document for document in self.customer.documents() if document.remaining]
        if not unpaid or not self.customer.books.unapplied:
            return ""
        document = self.customer.dice.choice(unpaid)
        amount = min(document.remaining, self.customer.books.unapplied)
        invoice = await self.customer.invoice(document)
        allocations = [{"invoice_id": invoice["id"], "amount": str(amount)}]
        path = f"/customers/{self.customer.id}/unapplied-money/allocate"
        await self.customer.office.account.post(
            path, {"currency": self.customer.code, "allocations": allocations}, expect=200
        )
        self.customer.books.allocate(document, amount)
        return f"allocate {amount} to {document.reason} {document.name}"

    async def _move(self) -> str:
        over = [document for document in self.customer.documents() if document.status == "OVERPAID"]
        if not over:
            return ""
        document = self.customer.dice.choice(over)
        invoice = await self.customer.invoice(document)
        await self.customer.office.account.post(f"/invoices/{invoice['id']}/overpayment/move", None, expect=200)
        self.customer.books.move_overpayment(document)
        return f"move what was paid too much of {document.reason} {document.name}"

    # grants

    async def _grant(self) -> str:
        if len(self.customer.model.grants) > 4 or self.customer.model.time.cancels_at is not None:
            return ""
        terms = random_terms(self.customer.dice)
        body = {**request_of(terms), "scope": "SUBSCRIPTION", "subscription_id": self.subscription["id"]}
        made = await self.customer.office.account.post(
            "/creditgrants", {**body, "start_date": self.customer.now.isoformat()}
        )
        self.grant_ids[self.customer.model.grant(terms, self.customer.now)] = made["id"]
        return f"grant {terms}"

    async def _end_grant(self) -> str:
        grants = [grant for grant in self.grant_ids if grant.end is None]
        if not grants:
            return ""
        grant = self.customer.dice.choice(grants)
        answer = await self.customer.office.account.http.delete(f"/creditgrants/{self.grant_ids[grant]}")
        assert answer.status_code == 200, answer.text
        grant.stop(self.customer.now)
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
