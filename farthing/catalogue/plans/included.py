"""What comes with plans and addons beside prices: loaded and copied by whoever owns it, who registers here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.tables import PriceEntityType

Loader = Callable[[AsyncSession, PriceEntityType, Sequence[str], frozenset[str]], Awaitable[Mapping[str, list[Any]]]]
"""Given PLAN or ADDON, the ids of owners and nested expansions, the answers of each owner by its id, in one query."""

Copier = Callable[[AsyncSession, str, str], Awaitable[None]]
"""Copies what it owns from the plan with the first id to the plan with the second, in the running transaction."""

LOADERS: Final[dict[str, Loader]] = {}
"""By response field: `entitlements`, `credit_grants`."""

COPIERS: Final[list[Copier]] = []
