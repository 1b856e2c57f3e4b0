"""The words of wallets and their transactions."""

from __future__ import annotations

from enum import StrEnum

from farthing.core.states import StateMachine


class WalletStatus(StrEnum):
    ACTIVE = "active"
    FROZEN = "frozen"
    CLOSED = "closed"


WALLET = StateMachine(
    "wallet",
    {
        WalletStatus.ACTIVE: (WalletStatus.FROZEN, WalletStatus.CLOSED),
        WalletStatus.FROZEN: (WalletStatus.ACTIVE, WalletStatus.CLOSED),
    },
)


class WalletType(StrEnum):
    """PRE_PAID reduces what invoices ask for; POST_PAID pays invoices."""

    PRE_PAID = "PRE_PAID"
    POST_PAID = "POST_PAID"


class WalletPriceType(StrEnum):
    """Which invoice lines a wallet is for."""

    ALL = "ALL"
    USAGE = "USAGE"
    FIXED = "FIXED"


class TransactionType(StrEnum):
    CREDIT = "credit"
    DEBIT = "debit"


class TransactionStatus(StrEnum):
    """PENDING waits for a purchase to be paid; FAILED is a purchase that will not be. Only COMPLETED ones count."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


TRANSACTION = StateMachine(
    "wallet transaction",
    {TransactionStatus.PENDING: (TransactionStatus.COMPLETED, TransactionStatus.FAILED)},
)


class TransactionReason(StrEnum):
    INVOICE_PAYMENT = "INVOICE_PAYMENT"
    FREE_CREDIT_GRANT = "FREE_CREDIT_GRANT"
    SUBSCRIPTION_CREDIT_GRANT = "SUBSCRIPTION_CREDIT_GRANT"
    PURCHASED_CREDIT_INVOICED = "PURCHASED_CREDIT_INVOICED"
    PURCHASED_CREDIT_DIRECT = "PURCHASED_CREDIT_DIRECT"
    CREDIT_NOTE = "CREDIT_NOTE"
    CREDIT_EXPIRED = "CREDIT_EXPIRED"
    WALLET_TERMINATION = "WALLET_TERMINATION"
    MANUAL_BALANCE_DEBIT = "MANUAL_BALANCE_DEBIT"
    CREDIT_ADJUSTMENT = "CREDIT_ADJUSTMENT"
    INVOICE_VOID_REFUND = "INVOICE_VOID_REFUND"
    PURCHASED_CREDIT_BONUS = "PURCHASED_CREDIT_BONUS"


PURCHASES = frozenset({TransactionReason.PURCHASED_CREDIT_INVOICED, TransactionReason.PURCHASED_CREDIT_DIRECT})
"""Credits that were bought: they convert at the rate of purchases."""


class CreditClass(StrEnum):
    """Whether somebody paid for a lot; kept with it, so that what is given back keeps its nature."""

    PURCHASED = "purchased"
    FREE = "free"


class ReferenceType(StrEnum):
    PAYMENT = "PAYMENT"
    EXTERNAL = "EXTERNAL"
    REQUEST = "REQUEST"
    INVOICE = "INVOICE"


class CooldownUnit(StrEnum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
