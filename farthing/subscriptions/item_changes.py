"""How a line item changed: values that billing settles. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


class ItemAction(StrEnum):
    """What happened to a line item."""

    ADD = "add"
    REMOVE = "remove"
    QUANTITY = "quantity"
    REPRICE = "reprice"


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One line item changed at `at`: `before` ends there, `after` starts there; one of them may be missing.

    `carried` says that only price and plan were re-pointed and nothing is to be settled.
    """

    action: ItemAction
    at: datetime
    before: LineItemSnapshot | None = None
    after: LineItemSnapshot | None = None
    carried: bool = False

    @property
    def key(self) -> str:
        """Names the change for idempotency: the same request gives the same key, whatever ids it makes."""
        item = self.before or self.after
        assert item is not None, "a change has at least one side"
        made_from = item.id if self.before is not None else f"{item.price_id}:{item.addon_association_id or ''}"
        return f"{self.action.value}:{made_from}"


def closing(snapshot: SubscriptionSnapshot, at: datetime, ids: Collection[str] | None = None) -> tuple[ItemChange, ...]:
    """The items (of `ids`, when given) that a closing at `at` cuts short, as removals.

    One that was to end anyway, before the subscription, gives no credit and is left out; so is one that had not begun.
    """
    return tuple(
        ItemChange(ItemAction.REMOVE, at, before=item)
        for item in snapshot.items
        if (ids is None or item.id in ids)
        and item.start <= at
        and (item.end is None or (snapshot.end is not None and item.end >= max(at, snapshot.end)))
    )
