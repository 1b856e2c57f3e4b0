"""What charges for usage, as far as analytics and the debugger must know.

Events know nothing of subscriptions: `EventPorts.list_charged_items` lists such items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from farthing.calendar.period import Period
from farthing.calendar.zones import UTC
from farthing.catalogue.prices.tables import Price
from farthing.core.money import ZERO
from farthing.rating.commitments.line_commitment import LineCommitment
from farthing.rating.commitments.windows import TimeOfDayBucket


@dataclass(frozen=True, slots=True)
class ChargedItem:
    """A usage line item: which price charges which customers' usage, over which time.

    `customers` are ids: the subscription's, and those it pays for. `start` and `end` are the item's life cut
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
