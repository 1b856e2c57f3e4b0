"""Where credits go that no invoice can take: to the payer. The seam to wallets and credit notes.

Billing knows how much is owed to whom and why; how it is given back (an adjustment of what is unpaid of the invoice
that carries the fee, the rest as prepaid credits) belongs to the floor of credits, which the application plugs in.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Refund:
    """`amount`, above 0, is owed to a payer for what was paid in advance and not had.

    `key` names it for ever: giving it twice gives it once. `line_item_ids` are the fees it is for.
    """

    customer_id: str
    currency: str
    amount: Decimal
    key: str
    subscription_id: str
    line_item_ids: tuple[str, ...]
    reason: str


class CreditSink(Protocol):
    """Gives back, in the transaction of the change."""

    async def give(self, session: AsyncSession, refund: Refund) -> str | None:
        """Give a refund; the wallet transaction's id, if one was made."""
        ...


class NoPurse:
    """Gives nothing: the amount is only written down, as owed to the payer, with its settlement."""

    async def give(self, session: AsyncSession, refund: Refund) -> str | None:
        del session, refund
        return None


NO_PURSE = NoPurse()
