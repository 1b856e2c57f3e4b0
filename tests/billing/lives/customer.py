"""One customer in the office and in the model, and what both are asked about him."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from farthing.credits.ledger.tables import Wallet as WalletRow
from farthing.invoices.tables import Invoice
from tests.billing.lives.charges.records import Document
from tests.billing.lives.comparison import written
from tests.billing.lives.ledger.books import Books
from tests.billing.lives.ledger.wallets import Wallet
from tests.billing.lives.model import LifeModel
from tests.billing.office import Office

Body = dict[str, Any]
Balances = list[tuple[str, ...]]


@dataclass
class Customer:
    """`made` counts what was tried, so that each deed has its own key; `code` is what he is billed in. `balances` are
    the real-time balances of all open wallets when somebody looked: the office's and the model's."""

    office: Office
    dice: random.Random
    model: LifeModel
    id: str
    code: str = "usd"
    made: int = 0
    balances: list[tuple[datetime, Balances, Balances]] = field(default_factory=list)

    @property
    def is_charged_as_billed(self) -> bool:
        """Whether nothing has to be converted for him."""
        return self.code == "usd"

    @property
    def books(self) -> Books:
        return self.model.books

    @property
    def now(self) -> datetime:
        return self.office.now

    @property
    def key(self) -> dict[str, str]:
        return {"idempotency_key": f"deed-{self.made}"}

    def cents(self, least: int = 1, most: int = 12000) -> Decimal:
        return Decimal(self.dice.randint(least, most)) / 100

    def credits(self) -> Decimal:
        return Decimal(self.dice.randint(1, 900_000)).scaleb(-self.dice.choice([2, 3, 4, 5]))

    def wallets(self, *, is_prepaid: bool | None = None) -> list[Wallet]:
        """The wallets that are not closed."""
        return [
            wallet for wallet in self.books.wallets if not wallet.is_closed and is_prepaid in {None, wallet.is_prepaid}
        ]

    def documents(self) -> list[Document]:
        """The invoices that are final and not void."""
        return [document for document in self.books.documents if document.final_at and not document.voided]

    async def path_of(self, wallet: Wallet) -> str:
        """Where a wallet is found."""
        async with self.office.account.transaction(read_only=True) as session:
            rows = (await session.scalars(select(WalletRow.id).order_by(WalletRow.id))).all()
        ids = dict(zip(self.books.wallets, rows, strict=True))
        return f"/wallets/{ids[wallet]}"

    async def invoice(self, document: Document) -> Body:
        """The invoice of a document."""
        async with self.office.account.transaction(read_only=True) as session:
            for invoice in await session.scalars(select(Invoice)):
                reason = str(invoice.billing_reason).removeprefix("SUBSCRIPTION_")
                head = written(invoice.reference_date), reason, invoice.description or ""
                if head == (written(document.reference), document.reason, document.name):
                    invoice_id = invoice.id
        shown: Body = await self.office.account.get(f"/invoices/{invoice_id}")
        return shown
