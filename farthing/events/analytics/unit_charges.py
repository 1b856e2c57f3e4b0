"""What charges for usage, as far as analytics and the debugger must know: handed in by the floor that owns it.

Events know nothing of subscriptions. Whoever charges for meters adds a source here, and nothing looks upwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.zones import UTC
from farthing.catalogue.prices.tables import Price
from farthing.core.money import ZERO
from farthing.rating.commitments.line_commitment import LineCommitment
from farthing.rating.commitments.windows import TimeOfDayBucket


@dataclass(frozen=True, slots=True)
class ChargedItem:
    """A usage line item: which price charges which customers' usage, over which time.

    `customers` are external ids: the subscription's, and those it pays for. `start` and `end` are the item's life cut
    by the subscription's effective end. `is_active` says whether its subscription is active or trialing.
    `percent_off` is the share that lasting percentage coupons take, 0 to 100. `answers` holds what `expand` shows, by
    its name on the wire (`subscription_line_item`, `plan`, `addon`), and `commitment_terms` its commitment's fields.
    """

    id: str
    subscription_id: str
    price: Price
    customers: frozenset[str]
    start: datetime
    end: datetime | None
    is_active: bool
    customer_id: str = ""
    zone: ZoneInfo = UTC
    month_day: int = 1
    plan_id: str = ""
    addon_id: str = ""
    percent_off: Decimal = ZERO
    commitment: LineCommitment | None = None
    is_windowed: bool = False
    time_buckets: Sequence[TimeOfDayBucket] = ()
    commitment_terms: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def meter_id(self) -> str:
        """The meter that measures it; usage prices always have one."""
        assert self.price.meter_id is not None
        return self.price.meter_id

    def within(self, start: datetime, end: datetime) -> Period | None:
        """The part of `[start, end)` that it charges."""
        since, until = max(start, self.start), min(end, self.end or end)
        return Period(since, until) if since < until else None

    def covers(self, moment: datetime) -> bool:
        """Whether it charges what happens at `moment`."""
        return self.start <= moment and (self.end is None or moment < self.end)


Source = Callable[[AsyncSession, Collection[str], datetime, datetime, bool], Awaitable[Sequence[ChargedItem]]]
"""Items of subscriptions that are active, trialing, paused or cancelled and charge these customers (by external id)
between two instants; with the flag, `customers` of a parent's items include those that inherit from it, and items of
parents that pay for one of these customers are found too, for that customer's usage alone."""

SOURCES: Final[list[Source]] = []


async def charged_items(
    session: AsyncSession,
    customers: Collection[str],
    start: datetime,
    end: datetime,
    *,
    include_children: bool = False,
) -> list[ChargedItem]:
    """All items, ordered by subscription start, then id, as their sources list them."""
    found: list[ChargedItem] = []
    if customers:
        for source in SOURCES:
            found += await source(session, customers, start, end, include_children)
    return found
