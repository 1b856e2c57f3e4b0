"""What stands in the way of retiring something: whatever still uses it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.ports import CountUses
from farthing.core.errors import FarthingError, InvalidOperation


async def refuse_if_used(
    session: AsyncSession,
    counts: Sequence[CountUses],
    what: str,
    id: str,
    refusal: type[FarthingError] = InvalidOperation,
) -> None:
    """Raise `refusal`, with the counts as details, if any of `counts` finds a use of the `what` with this id."""
    uses: dict[str, int] = {}
    for count_uses in counts:
        for name, count in (await count_uses(session, id)).items():
            if count:
                uses[name] = uses.get(name, 0) + count
    if uses:
        found = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in uses.items())
        raise refusal(f"{what} {id} is in use: {found}", uses)
