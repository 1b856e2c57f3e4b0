"""What payments are given from above: adapters of payment providers, and wallets; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.payments.providers.registry import Factory


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
class PaymentPorts:
    """Which providers this deployment can talk to, and who credits wallets."""

    adapters: Mapping[str, Factory]
    """By the provider's name, or `TEST_MODE` for every connection in that mode."""
    credit_wallet: Callable[[AsyncSession, WalletCredit, datetime], Awaitable[str]]
    """Credit the customer's prepaid wallet of the currency, made when there is none; the wallet's id."""
