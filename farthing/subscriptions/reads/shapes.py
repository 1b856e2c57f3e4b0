"""Subscriptions in the form in which they travel, straight from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farthing.catalogue.answers.shapes import PLAN
from farthing.storage.queries.listing import PageStatements
from farthing.storage.queries.pages import Belonging, PageShape, Read, read_page
from farthing.storage.queries.shapes import RowShape
from farthing.subscriptions.schemas.responses import SubscriptionResponse
from farthing.subscriptions.tables import Subscription

_SUBSCRIPTIONS: Final = PageShape(
    RowShape(
        SubscriptionResponse,
        Subscription,
        expressions={
            "lookup_key": "nullif(r.lookup_key, '')",
            "synced_price_sequence": "nullif(r.synced_price_sequence, 0)",
        },
    ),
    (Belonging(PLAN, "id", key="plan_id"),),
)


async def read_subscriptions(read: Read, statements: PageStatements) -> tuple[Sequence[SubscriptionResponse], int]:
    """The subscriptions of a page with their plans, and how many there are."""
    found = await read_page(read, _SUBSCRIPTIONS, statements)
    (plans,) = found.parts
    for subscription in found.rows:
        (subscription.plan,) = plans[subscription.plan_id]
    return found.rows, found.total
