"""What payments are given from above: adapters of payment providers, wallets that pay, and who credits wallets;
`farthing.wiring` fills it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.payments.providers.registry import Adapter, ConnectionDraft
from farthing.payments.tables import Payment


@dataclass(frozen=True, slots=True)
class WalletShare:
    """`amount`, above 0, is what a wallet pays of an invoice by itself."""

    wallet_id: str
    amount: Decimal


ChooseWallet = Callable[[AsyncSession, Invoice, str | None, Decimal, datetime], Awaitable[str]]
"""The id of the wallet, given or found, that is to pay an amount of a locked invoice; locks the payer's wallets.

Raises NotFound, ValidationFailed, and InvalidOperation where it cannot pay as much."""

FindShare = Callable[[AsyncSession, Invoice, datetime], Awaitable[WalletShare | None]]
"""What the payer's wallet pays of an invoice by itself, if it pays anything."""

LockWallets = Callable[[AsyncSession, Invoice], Awaitable[None]]
"""Locks the wallets of the payer of a locked invoice."""

DebitWallet = Callable[[AsyncSession, Invoice, Payment, datetime], Awaitable[None]]
"""Takes what a payment pays from its wallet, in the transaction that settles the locked invoice.

Raises InvalidOperation where it cannot pay as much."""


@dataclass(frozen=True, slots=True)
class WalletCredit:
    """`amount`, above 0, that goes back to a customer as credits. `key` names it for ever: it is credited once."""

    customer_id: str
    currency: str
    amount: Decimal
    key: str
    invoice_id: str
    is_of_credit_note: bool
    """Whether a credit note gives it back; else the voiding of its invoice does."""


@dataclass(frozen=True, slots=True)
class CheckoutHooks:
    """What becomes of a checkout when its payment does. The payment names it, and is locked, except for `lock`."""

    lock: Callable[[AsyncSession, str], Awaitable[None]]
    """Lock what completing the checkout with this id changes and is locked before its invoice."""
    opened: Callable[[AsyncSession, Payment, datetime | None, datetime], Awaitable[None]]
    """The page is there; the first time is when the provider closes it, in real time, if it says so."""
    paid: Callable[[AsyncSession, Invoice, Payment, datetime], Awaitable[bool]]
    """The money is there: do what was paid for, and issue the invoice, or note that it cannot be done. Whether the
    invoice is to have the money; else all of it goes back."""
    failed: Callable[[AsyncSession, Payment, str, datetime], Awaitable[None]]
    """The money will never be there."""
    page_expired: Callable[[AsyncSession, Payment, datetime], Awaitable[None]]
    """The provider has closed the page."""
    withdrawn: Callable[[AsyncSession, Payment, datetime], Awaitable[None]]
    """The payment was voided with its invoice."""
    heard: Callable[[AsyncSession, Payment, datetime], Awaitable[None]]
    """The provider has said something, whatever it is."""


@dataclass(frozen=True, slots=True)
class FailedCharge:
    """A payment that its provider refused. `is_hard`: with this method it will never succeed."""

    payment: Payment
    reason: str
    is_hard: bool


@dataclass(frozen=True, slots=True)
class PaymentPorts:
    """Which providers this deployment can talk to, how wallets pay, who credits them, and who tries again."""

    adapters: Mapping[str, Adapter]
    """By the provider's name, or `TEST_MODE` for every connection in that mode."""
    connection_checks: Mapping[str, Callable[[ConnectionDraft], None]]
    """What a connection to a marketplace must have to be stored, by its name. Raises ValidationFailed."""
    choose_wallet: ChooseWallet
    find_share: FindShare
    lock_wallets: LockWallets
    debit_wallet: DebitWallet
    credit_wallet: Callable[[AsyncSession, WalletCredit, datetime], Awaitable[str]]
    """Credit the customer's prepaid wallet of the currency, made when there is none; the wallet's id."""
    checkouts: CheckoutHooks
    record_failed_charge: Callable[[AsyncSession, Invoice, FailedCharge, datetime], Awaitable[None]]
    """A charge of a locked, final invoice was refused; called once, in the transaction that stores it."""
    retry_with_new_method: Callable[[AsyncSession, str, datetime], Awaitable[None]]
    """A customer, by id, has a new default method: plan what failed anew."""
