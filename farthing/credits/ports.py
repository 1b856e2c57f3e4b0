"""What credits need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.rules.real_time import PendingCharges

Payer = tuple[str, str]
"""A customer's id and a currency."""

MeasurePendingCharges = Callable[[AsyncSession, Collection[Payer], datetime], Awaitable[Mapping[Payer, PendingCharges]]]
"""What each payer will owe or owes as of a time: valued in memory, for all of them together; nothing is written."""


@dataclass(frozen=True, slots=True)
class CreditPorts:
    """What customers owe that no wallet has paid."""

    measure_pending_charges: MeasurePendingCharges
