"""What a wallet is worth once all that is owed is taken off, and when it tops itself up.

Rule: docs/rules/credits.md#real-time-balance
Rule: docs/rules/credits.md#automatic-top-ups
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.billing.lives.arithmetic import NO_TIME, NOTHING
from tests.billing.lives.charges.records import Document

if TYPE_CHECKING:
    from tests.billing.lives.ledger.wallets import Lot, Wallet

SETTLED = {"SUCCEEDED", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED"}


@dataclass(frozen=True)
class AutomaticTopUp:
    """`amount` credits when no more than `threshold` are left, at most one in `cooldown` and `limit` in a month."""

    threshold: Decimal
    amount: Decimal
    cooldown: timedelta = NO_TIME
    limit: Decimal | None = None
    is_invoiced: bool = False

    def waits(self, added: Iterable[Lot], now: datetime, *, is_unpaid: bool) -> bool:
        """Whether nothing is added now, after what was `added` by itself before; the newest may be unpaid."""
        added = list(added)
        if not added:
            return False
        if is_unpaid or now < max(lot.created for lot in added) + self.cooldown:
            return True
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        in_month = sum((lot.credits for lot in added if lot.created >= month), NOTHING)
        return self.limit is not None and in_month + self.amount > self.limit


@dataclass(frozen=True)
class RealTimeBalance:
    """What is left in currency, and what was taken off; `unpaid` is usage on open invoices, None where none counts."""

    balance: Decimal
    charges: Decimal = NOTHING
    unpaid: Decimal | None = NOTHING


def is_open(document: Document, now: datetime) -> bool:
    """Whether something is still owed on an invoice, or it is a draft of a period that is over."""
    if document.voided:
        return False
    if document.final_at is None:
        return document.period_end is not None and document.period_end <= now
    return bool(document.remaining) and document.status not in SETTLED


def usage_on(document: Document) -> Decimal:
    """What its usage comes to, after discounts and credits."""
    return sum((max(line.net - line.prepaid, NOTHING) for line in document.lines if line.is_usage), NOTHING)


def real_time_balance(
    wallet: Wallet, open_usage: Decimal, documents: Iterable[Document], now: datetime
) -> RealTimeBalance:
    """The balance of a wallet for usage; `documents` are open, and do not sell the wallet's own credits."""
    if wallet.is_frozen:
        return RealTimeBalance(NOTHING, unpaid=None)
    usable = sum((lot.left for lot in wallet.lots if lot.is_eligible(now)), NOTHING)
    value = wallet.signed_worth(wallet.balance if wallet.balance < 0 else usable)
    if not wallet.is_prepaid:
        return RealTimeBalance(value)
    documents = list(documents)
    owed = sum((max(usage_on(document) - document.paid, NOTHING) for document in documents), NOTHING)
    unpaid = sum((usage_on(document) for document in documents), NOTHING)
    charges = open_usage + owed
    return RealTimeBalance(value - charges, charges, unpaid)
