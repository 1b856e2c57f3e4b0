"""What a wallet is worth once everything that is owed, billed or not, is taken off."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.credits.enums import WalletPriceType, WalletType
from farthing.credits.rules.conversion import credits_for


@dataclass(frozen=True, slots=True)
class OpenInvoice:
    """An invoice that is not paid, or a draft of a period that is over.

    `usage` is what its usage lines come to after discounts and credits; `remaining` what is left to pay of all of it.
    """

    id: str
    remaining: Decimal
    usage: Decimal
    paid: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class PendingCharges:
    """What a customer owes in one currency: `usage` of the open periods, not invoiced yet, and open `invoices`."""

    usage: Decimal = ZERO
    invoices: Sequence[OpenInvoice] = ()


@dataclass(frozen=True, slots=True)
class RealTimeBalance:
    """`balance`, of currency and in `credits`, is what the wallet's usable credits are worth less what it is for.

    `value` is what they are worth, `open_usage` and `open_invoices` are taken off; `unpaid_usage` is the usage part of
    open invoices, None where nothing was looked at.
    """

    value: Decimal
    balance: Decimal
    credits: Decimal
    open_usage: Decimal = ZERO
    open_invoices: Decimal = ZERO
    unpaid_usage: Decimal | None = ZERO

    @property
    def charges(self) -> Decimal:
        return EXACT.add(self.open_usage, self.open_invoices)


NOT_ACTIVE = RealTimeBalance(ZERO, ZERO, ZERO, unpaid_usage=None)
"""That of a wallet that is frozen or closed."""


def real_time_balance(
    value: Decimal, rate: Decimal, kind: WalletType, price_types: Collection[WalletPriceType], pending: PendingCharges
) -> RealTimeBalance:
    """The balance of an active wallet whose credits are worth `value`; it may be below 0.

    A wallet that pays invoices owes nothing before it does. One for usage alone is not lowered by fixed charges, and
    payments of an invoice count against its usage first.
    Rule: docs/rules/credits.md#real-time-balance
    """
    if kind is WalletType.POST_PAID:
        return RealTimeBalance(value, value, credits_for(value, rate))
    all_charges = not {WalletPriceType.ALL, WalletPriceType.FIXED}.isdisjoint(price_types)
    for_usage = not price_types or not {WalletPriceType.ALL, WalletPriceType.USAGE}.isdisjoint(price_types)
    owed = [
        invoice.remaining if all_charges else max(EXACT.subtract(invoice.usage, invoice.paid), ZERO)
        for invoice in pending.invoices
    ]
    open_usage, open_invoices = pending.usage if for_usage else ZERO, exact_sum(owed)
    balance = EXACT.subtract(value, EXACT.add(open_usage, open_invoices))
    unpaid_usage = exact_sum([invoice.usage for invoice in pending.invoices])
    return RealTimeBalance(value, balance, credits_for(balance, rate), open_usage, open_invoices, unpaid_usage)
