"""What subscriptions need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.schemas import IncludedCreditGrant

LoadCreditGrants = Callable[[AsyncSession, Sequence[str]], Awaitable[Mapping[str, list[IncludedCreditGrant]]]]
"""Given ids of subscriptions, the credit grants of each by its id, in one query."""

IsInvoiced = Callable[[AsyncSession, str, Period, str | None], Awaitable[bool]]
"""Whether a line of the subscription with this id, or of one of its line items alone, whose service begins in the
period stands on an invoice that is not void."""


@dataclass(frozen=True, slots=True)
class SubscriptionPorts:
    """What belongs to subscriptions and is owned above them."""

    load_credit_grants: LoadCreditGrants
    is_invoiced: IsInvoiced
