"""What stands in the way of retiring something: checks that whoever uses a thing adds, so that nothing looks upwards.

A check is given the row's id inside the transaction that holds the row's lock. Whoever starts to use the thing takes
that lock too (`FOR SHARE` is enough), so use and retirement cannot pass each other unseen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import FarthingError, InvalidOperation

Check = Callable[[AsyncSession, str], Awaitable[Mapping[str, int]]]
"""How many of what use a row, by the plural of their name, for example `{"subscriptions": 3}`; zeros are nothing."""

METERS: Final[list[Check]] = []
FEATURES: Final[list[Check]] = []
PRICE_UNITS: Final[list[Check]] = []
PLANS: Final[list[Check]] = []
ADDONS: Final[list[Check]] = []


async def refuse_if_used(
    session: AsyncSession,
    checks: list[Check],
    what: str,
    id: str,
    refusal: type[FarthingError] = InvalidOperation,
) -> None:
    """Raise `refusal`, with the counts as details, if any of `checks` finds a use of the `what` with this id."""
    uses: dict[str, int] = {}
    for check in checks:
        for name, count in (await check(session, id)).items():
            if count:
                uses[name] = uses.get(name, 0) + count
    if uses:
        found = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in uses.items())
        raise refusal(f"{what} {id} is in use: {found}", uses)
