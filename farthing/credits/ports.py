"""What credits need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.credits.rules.real_time import PendingCharges, RealTimeBalance

if TYPE_CHECKING:  # only to name what a port takes and answers
    from farthing.credits.ledger.tables import Wallet
    from farthing.credits.schemas import TopUpWalletRequest, TopUpWalletResponse

Payer = tuple[str, str]
"""A customer's id and a currency."""

MeasurePendingCharges = Callable[[AsyncSession, Collection[Payer], datetime], Awaitable[Mapping[Payer, PendingCharges]]]
"""What each payer will owe or owes as of a time: valued in memory, for all of them together; nothing is written."""


@dataclass(frozen=True, slots=True)
class BalanceAlerts:
    """Compares the balances of locked wallets with their thresholds, and announces what changed.

    Each sets the states that the wallets keep.
    """

    after_movements: Callable[[AsyncSession, Sequence[Wallet], datetime], Awaitable[None]]
    """Balances have changed by movements."""
    after_evaluation: Callable[[AsyncSession, Sequence[tuple[Wallet, RealTimeBalance]], datetime], Awaitable[None]]
    """Real-time balances have been worked out."""
    end: Callable[[AsyncSession, Wallet, datetime], Awaitable[None]]
    """Nobody watches the wallet any more."""


BuyByCheckout = Callable[
    [AsyncSession, Composition, str, "TopUpWalletRequest", Clock], "Awaitable[TopUpWalletResponse]"
]
"""Has credits for a wallet, and the draft that sells them, wait for a checkout that it opens and commits."""


@dataclass(frozen=True, slots=True)
class CreditPorts:
    """What customers owe that no wallet has paid, and who hears of balances that are low."""

    measure_pending_charges: MeasurePendingCharges
    balance_alerts: BalanceAlerts
    buy_by_checkout: BuyByCheckout
