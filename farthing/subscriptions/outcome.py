"""What a change of a subscription leaves for the billing floor to do: invoices to make, money to settle.

Functions here change the state and return an `Outcome`; they make no invoice. Every `Billable` and every `ItemChange`
of an outcome must be dealt with in the transaction that made the change.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farthing.calendar.period import Period
from farthing.subscriptions.enums import InvoiceTrigger, ProrationBehavior
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, slots=True)
class Billable:
    """One invoice to make: for `period` of a subscription, because of `occasion`.

    `at_once`: computed, finalized and collected in the same request; else a draft, computed and finalized by the
    sweep. `activating`: its payment decides whether the subscription becomes active (call
    `activation.paid_for` with the result). `full_start`: where the period began before threshold invoices cut it, when
    they did; allowances, tiers and commitments run from there.
    """

    subscription_id: str
    occasion: InvoiceTrigger
    period: Period
    at_once: bool = True
    activating: bool = False
    full_start: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """A subscription after a change, and what must now be billed and settled.

    `changes` are settled together when `proration` asks for it: one invoice for a positive net, credits for a
    negative one.
    Rule: docs/rules/proration.md#settlement
    """

    subscription: Subscription
    billables: tuple[Billable, ...] = ()
    changes: tuple[ItemChange, ...] = ()
    proration: ProrationBehavior = ProrationBehavior.NONE
    at: datetime | None = None


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
