"""What events need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.charged_items import ChargedItem

ListChargedItems = Callable[[AsyncSession, Collection[str], datetime, datetime, bool], Awaitable[Sequence[ChargedItem]]]
"""Items of subscriptions that are active, trialing, paused or cancelled and charge these customers (by id)
between two instants, ordered by subscription start, then id; with the flag, `customers` of a parent's items include
those that inherit from it, and items of parents that pay for one of these customers are found too, for that customer's
usage alone."""

FindEarliestNeeded = Callable[[AsyncSession, datetime], Awaitable[datetime | None]]
"""The earliest instant whose events something in this environment still needs; None when nothing needs any."""

FindZone = Callable[[AsyncSession, str, datetime, datetime], Awaitable[str]]
"""The zone in which invoices cut the usage of a customer (by id) between two instants: that of its first subscription
that charges for it, else the customer's own."""


@dataclass(frozen=True, slots=True)
class EventPorts:
    """What charges for usage and on whose wall, and how far back events are needed."""

    list_charged_items: ListChargedItems
    find_zone: FindZone
    find_earliest_needed: FindEarliestNeeded
