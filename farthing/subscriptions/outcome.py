"""What a change of a subscription leaves for billing to do: invoices to make, money to settle.

Functions here change the state and return an `Outcome`; they make no invoice. Every `Billable` and every `ItemChange`
of an outcome must be dealt with in the transaction that made the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from farthing.calendar.period import Period
from farthing.subscriptions.enums import InvoiceTrigger, ProrationBehavior
from farthing.subscriptions.item_changes import ItemChange
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
