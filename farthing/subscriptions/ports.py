"""What subscriptions need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import GrantMeasure
from farthing.catalogue.plans.credit_grants import CreditGrantTerms
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.enums import Status
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import AddonAssociation, Subscription

LoadCreditGrants = Callable[[AsyncSession, Sequence[str]], Awaitable[Mapping[str, list[IncludedCreditGrant]]]]
"""Given ids of subscriptions, the credit grants of each by its id, in one query."""

IsInvoiced = Callable[[AsyncSession, str, Period, str | None], Awaitable[bool]]
"""Whether a line of the subscription with this id, or of one of its line items alone, whose service begins in the
period stands on an invoice that is not void."""


@dataclass(frozen=True, slots=True)
class CarriedGrant:
    """A credit grant that a successor goes on with: its next application, and when it ends; None is open."""

    grant_id: str
    addon_association_id: str | None
    application_id: str
    end: datetime | None


@dataclass(frozen=True, slots=True)
class GrantAllowance:
    """What a grant leaves at a time: the usage window that is open, or a whole quota where none is.

    `usage` and `quota` are units or money, as `measure` says. `grant_id` and `computed_at` are those of a window that
    was stored.
    """

    entitlement_id: str
    measure: GrantMeasure
    quota: Decimal
    usage: Decimal = Decimal(0)
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    crossed_at: datetime | None = None
    grant_id: str | None = None
    computed_at: datetime | None = None


FindAllowances = Callable[
    [AsyncSession, Sequence[SubscriptionSnapshot], datetime], Awaitable[Mapping[tuple[str, str], list[GrantAllowance]]]
]
"""What the grants of subscriptions leave at a time, by subscription and feature; those without any are left out."""

GiveGrants = Callable[[AsyncSession, Subscription, Sequence[CreditGrantTerms] | None, datetime], Awaitable[None]]
"""Gives a new subscription the grants that are named, or those of its plan if None, and applies what is due."""

GiveAddonGrants = Callable[[AsyncSession, Subscription, AddonAssociation, datetime], Awaitable[None]]
"""Gives a locked subscription the grants of an addon that was attached, and applies what is due."""

ChangePlanGrants = Callable[[AsyncSession, Subscription, str, datetime, datetime, bool], Awaitable[None]]
"""Ends the grants that came with the plan of this id, at the first time, and gives those of the present plan from then
on; the flag says whether the part of the open period that is left brings its share."""

ApplyDueGrants = Callable[[AsyncSession, Subscription, datetime], Awaitable[None]]
"""Applies what a locked subscription that has just become active is due."""

MoveGrants = Callable[[AsyncSession, Subscription, timedelta], Awaitable[None]]
"""Moves the grants of a draft, of which nothing was applied, along with its start."""

EndGrants = Callable[[AsyncSession, str, datetime, str | None], Awaitable[None]]
"""Ends the grants of the locked subscription with this id at a time: all of them, or those of one addon association."""

DiscardGrants = Callable[[AsyncSession, Sequence[str], Status], Awaitable[None]]
"""Gives the grants of subscriptions that never came to be this status; nothing of them was applied."""

FindCarriedGrants = Callable[[AsyncSession, Subscription], Awaitable[Sequence[CarriedGrant]]]
"""The grants of a locked subscription that are not its plan's and have more to give, before it is ended."""

CarryGrants = Callable[[AsyncSession, Sequence[CarriedGrant], Subscription, Mapping[str, str]], Awaitable[None]]
"""Lets a successor go on with grants; the mapping is from addon associations to those that continue them."""


@dataclass(frozen=True, slots=True)
class CreditGrantHooks:
    """What changes of a subscription do to its credit grants."""

    give: GiveGrants
    give_for_addon: GiveAddonGrants
    change_plan: ChangePlanGrants
    apply_due: ApplyDueGrants
    move: MoveGrants
    end: EndGrants
    discard: DiscardGrants
    find_carried: FindCarriedGrants
    carry: CarryGrants


@dataclass(frozen=True, slots=True)
class SubscriptionPorts:
    """What belongs to subscriptions and is owned above them."""

    load_credit_grants: LoadCreditGrants
    find_allowances: FindAllowances
    is_invoiced: IsInvoiced
    credit_grants: CreditGrantHooks
