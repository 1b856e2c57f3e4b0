"""What is left to pay of an invoice, and how much of that stands for usage."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from farthing.core.money import EXACT, ZERO, share


@dataclass(frozen=True, slots=True)
class InvoiceBalance:
    """What an invoice asks for after adjustments, what remains of it after payments, and what was paid beyond it."""

    amount_due: Decimal
    amount_remaining: Decimal
    overpaid_amount: Decimal


def balance(total: Decimal, adjustment_amount: Decimal = ZERO, amount_paid: Decimal = ZERO) -> InvoiceBalance:
    """Due = total less adjustment credit notes, remaining = due less payments, both at least 0.

    Rule: docs/rules/invoices-and-payments.md#balance
    """
    due = max(EXACT.subtract(total, adjustment_amount), ZERO)
    return InvoiceBalance(
        amount_due=due,
        amount_remaining=max(EXACT.subtract(due, amount_paid), ZERO),
        overpaid_amount=max(EXACT.subtract(amount_paid, due), ZERO),
    )


def usage_share(amount_remaining: Decimal, net_usage: Decimal, net_total: Decimal, digits: int) -> Decimal:
    """How much of what remains stands for usage; the rest is fixed.

    `net_usage` and `net_total` sum `lines.net_amount` over the usage lines and over all published lines. 0 when no
    line stands for anything; rounded once, at most `amount_remaining`.
    Rule: docs/rules/customer-summary.md#figures
    """
    return min(share(amount_remaining, net_usage, net_total, digits), amount_remaining)
