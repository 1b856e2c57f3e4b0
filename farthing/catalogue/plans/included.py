"""What comes with plans and addons from higher floors: loaded and copied by whoever owns it, who registers here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.schemas import IncludedCreditGrant
from farthing.catalogue.prices.tables import PriceEntityType

Loader = Callable[[AsyncSession, PriceEntityType, Sequence[str]], Awaitable[Mapping[str, list[IncludedCreditGrant]]]]
"""Given PLAN or ADDON and the ids of owners, the credit grants of each owner by its id, in one query."""

Copier = Callable[[AsyncSession, str, str], Awaitable[None]]
"""Copies what it owns from the plan with the first id to the plan with the second, in the running transaction."""

CREDIT_GRANTS: Final[list[Loader]] = []

COPIERS: Final[list[Copier]] = []
