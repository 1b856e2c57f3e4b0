"""What the catalogue needs from above it, and its lower parts from its higher ones; `farthing.wiring` fills it.

A count of uses is taken inside the transaction that holds the row's lock. Whoever starts to use the thing takes that
lock too (`FOR SHARE` is enough), so use and retirement cannot pass each other unseen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.storage.tables import Base

CountUses = Callable[[AsyncSession, str], Awaitable[Mapping[str, int]]]
"""How many of what use the row with an id, by the plural of their name, for example `{"subscriptions": 3}`; zeros are
nothing."""

LoadCreditGrants = Callable[
    [AsyncSession, PriceEntityType, Sequence[str]], Awaitable[Mapping[str, list[IncludedCreditGrant]]]
]
"""Given PLAN or ADDON and the ids of owners, the credit grants of each owner by its id, in one query."""

CopyCreditGrants = Callable[[AsyncSession, Sequence[IncludedCreditGrant], str], Awaitable[None]]
"""Gives copies of another plan's credit grants to the plan with this id, in the running transaction."""

LoadLineItems = Callable[[AsyncSession, Sequence[str], bool], Awaitable[Mapping[str, dict[str, Any]]]]
"""Given ids of subscription lines and whether their prices are wanted: the lines as they travel, by id."""

LeaveGroup = Callable[[AsyncSession, str], Awaitable[None]]
"""Given the id of a group that is being archived: its members belong to none from now on."""

WasCharged = Callable[[AsyncSession, str], Awaitable[bool]]
"""Whether the tax rate with this id stands on any invoice."""

GrantsMoney = Callable[[AsyncSession, Sequence[str]], Awaitable[bool]]
"""Whether an entitlement grants money for usage of one of the meters with these ids."""

FindCompanions = Callable[[AsyncSession, str, Sequence[str]], Awaitable[Sequence[str]]]
"""Given the id of a plan, an addon or a subscription, and ids of others: those that stand in one live subscription
with it."""

FillNewMeter = Callable[[AsyncSession, str], Awaitable[None]]
"""Lets the meter with an id, which the running transaction made, count the events that are stored, unless there are so
many that this is done in the background."""


@dataclass(frozen=True, slots=True)
class CataloguePorts:
    """Who uses what, what comes with what, and which tables stand above."""

    count_prices_of_meter: CountUses
    count_line_items_of_meter: CountUses
    count_entitlements_of_feature: CountUses
    count_subscriptions_of_plan: CountUses
    count_uses_of_addon: CountUses
    find_companions: FindCompanions
    grants_money: GrantsMoney
    fill_new_meter: FillNewMeter
    let_prices_leave_group: LeaveGroup
    was_tax_rate_charged: WasCharged
    load_credit_grants: LoadCreditGrants
    copy_credit_grants: CopyCreditGrants
    load_line_items: LoadLineItems
    plan_table: type[Base]
    addon_table: type[Base]
    """Plans and addons own prices and entitlements."""
    subscription_table: type[Base]
    """A subscription can own prices and entitlements, and can be taxed."""
    cost_sheet_table: type[Base]
    """A cost sheet can own prices."""
