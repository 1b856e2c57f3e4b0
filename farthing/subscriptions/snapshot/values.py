"""Subscriptions as billing sees them: frozen values, loaded for hundreds at once in a fixed number of statements.

A snapshot is everything about a subscription that the pure billing calculation needs but what was used and what was
invoiced before. It holds no ORM rows. Reading one takes no lock: whoever bills from it locks the subscription first,
or compares `version` afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from farthing.calendar.billing import MONTHS, BillingCycle, BillingPeriod, InvoiceCadence, Recurrence
from farthing.calendar.due import PaymentTerms
from farthing.calendar.period import Period
from farthing.core.enums import PriceType
from farthing.core.money import round_to
from farthing.rating.commitments.line_commitment import LineCommitment
from farthing.rating.commitments.windows import TimeOfDayBucket
from farthing.rating.pricing.price import RatedPrice
from farthing.subscriptions.enums import (
    AddonStatus,
    CollectionMethod,
    LineItemOwner,
    PaymentBehavior,
    ProrationBehavior,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.snapshot.entitlements import Entitled, FeatureEntitlement, OpenedWindow, by_meter


@dataclass(frozen=True, slots=True)
class ItemCommitment:
    """A usage item's commitment. `buckets` give some windows of a `windowed` one other terms.

    `duration` is set when it runs over more than one billing period. `quantity` is what was committed to when that was
    no amount; the amount of `terms` is then what the price charges for it.
    """

    terms: LineCommitment
    windowed: bool = False
    duration: BillingPeriod | None = None
    quantity: Decimal | None = None

    @property
    def promise(self) -> tuple[object, ...]:
        """What was agreed, whatever the price: two versions of an item with the same promise share it."""
        amount = self.terms.amount if self.quantity is None else None
        terms = (amount, self.quantity, self.terms.overage_factor, self.terms.true_up)
        return (*terms, self.windowed, self.duration)


@dataclass(frozen=True, slots=True)
class PriceUnitTerms:
    """A unit of the tenant's own, and what one of it was worth when the price was made."""

    id: str
    code: str
    rate: Decimal

    def amount_of(self, amount: Decimal, digits: int) -> Decimal:
        """`amount` of the currency in this unit, rounded to the digits of the currency.

        Rule: docs/rules/pricing.md#custom-price-units
        """
        return round_to(Fraction(amount) / Fraction(self.rate), digits)


@dataclass(frozen=True, slots=True)
class LineItemSnapshot:
    """One version of a line item: charged at `price` for `[start, end)`; `end` None is open.

    `quantity` is 0 for usage. `billing_period` ONETIME is charged once, at `start`.
    """

    id: str
    subscription_id: str
    customer_id: str
    entity_type: LineItemOwner
    entity_id: str
    plan_display_name: str
    display_name: str
    price_id: str
    price: RatedPrice
    price_type: PriceType
    min_quantity: Decimal | None
    group_id: str | None
    meter_id: str | None
    meter_display_name: str
    quantity: Decimal
    currency: str
    billing_period: BillingPeriod
    billing_period_count: int
    cadence: InvoiceCadence
    start: datetime
    end: datetime | None
    phase_id: str | None = None
    addon_association_id: str | None = None
    replaces_id: str | None = None
    counted_from: datetime | None = None
    commitment: ItemCommitment | None = None
    buckets: tuple[TimeOfDayBucket, ...] = ()
    metadata: Mapping[str, str] | None = None
    price_unit: PriceUnitTerms | None = None
    """The unit of the tenant's own in which its price was made, if any."""

    @property
    def is_usage(self) -> bool:
        return self.price_type is PriceType.USAGE

    @property
    def is_onetime(self) -> bool:
        return self.billing_period is BillingPeriod.ONETIME

    @property
    def is_advance(self) -> bool:
        """Whether it is charged before its period; usage never is."""
        return not self.is_usage and (self.is_onetime or self.cadence is InvoiceCadence.ADVANCE)

    def window(self, period: Period) -> Period | None:
        """The part of `period` in which it is charged; None when there is none.

        Rule: docs/rules/calendar.md#effective-window
        """
        return period.clip(self.start, self.end)

    def succeeded(self, id: str, at: datetime, **changed: Any) -> LineItemSnapshot:
        """The next version of the item, from `at` on; periods of its own go on as they were."""
        counted_from = self.counted_from or self.start
        return replace(self, id=id, start=at, replaces_id=self.id, counted_from=counted_from, **changed)


@dataclass(frozen=True, slots=True)
class SubscriptionCommitment:
    """Usage worth `amount` is committed to per `duration` (None: per billing period)."""

    amount: Decimal
    overage_factor: Decimal
    duration: BillingPeriod | None
    true_up: bool


@dataclass(frozen=True, slots=True)
class AddonWindow:
    """An addon attached for `[start, end)`."""

    association_id: str
    addon_id: str
    status: AddonStatus
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class UsageCustomer:
    """Somebody whose usage counts: in `[start, end)` of their subscription; None is open."""

    customer_id: str
    external_id: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class SubscriptionSnapshot:
    """One subscription at one moment.

    `items` are in order of start, then id, those of all versions that the load asked for. `usage_customers` are the
    owner and, for a parent, the customers of its inherited children. `grouped` are the children whose lines belong on
    this one's invoices. `pauses` are the stretches whose usage is not charged; an open pause ends with None.
    `former_anchors` are the anchors that pauses have moved, each with the moment at which its pause began.
    """

    id: str
    customer_id: str
    payer_id: str
    invoicing_customer_id: str | None
    parent_id: str | None
    plan_id: str
    plan_name: str
    status: SubscriptionStatus
    type: SubscriptionType
    currency: str
    recurrence: Recurrence
    cycle: BillingCycle
    start: datetime
    end: datetime | None
    current: Period
    full_period_start: datetime
    trial: Period | None
    cancel_at: datetime | None
    cancel_at_period_end: bool
    cancelled_at: datetime | None
    commitment: SubscriptionCommitment | None
    threshold: Decimal | None
    proration: ProrationBehavior
    end_proration: ProrationBehavior | None
    payment_behavior: PaymentBehavior
    collection_method: CollectionMethod
    payment_method_id: str
    payment_terms: PaymentTerms | None
    invoices_begun: int
    version: int
    metadata: Mapping[str, str]
    items: tuple[LineItemSnapshot, ...]
    addons: tuple[AddonWindow, ...]
    entitled: tuple[Entitled, ...]
    usage_customers: tuple[UsageCustomer, ...]
    pauses: tuple[tuple[datetime, datetime | None], ...]
    former_anchors: tuple[tuple[datetime, datetime], ...] = ()
    grouped: tuple[SubscriptionSnapshot, ...] = ()
    opened: tuple[OpenedWindow, ...] = ()
    """The usage windows of grants that were opened so far, as far as the load asked for them."""

    @property
    def full_period(self) -> Period:
        """The open period as if no threshold invoice had cut it: allowances, tiers and commitments run over it."""
        return Period(self.full_period_start, self.current.end)

    @property
    def first_paid_at(self) -> datetime:
        """Where the first period that is charged begins: the start, or the trial's end. Only a period that begins
        here is ever a stub."""
        return self.start if self.trial is None else self.trial.end

    def recurrence_at(self, at: datetime) -> Recurrence:
        """The rhythm with the anchor that it had at `at`, before later pauses moved it."""
        anchor = next((anchor for paused, anchor in self.former_anchors if paused >= at), self.recurrence.anchor)
        return self.recurrence if anchor is self.recurrence.anchor else replace(self.recurrence, anchor=anchor)

    @property
    def ends_at(self) -> datetime | None:
        """When it ends, as far as is known: its end date or a cancellation to come, whichever is first."""
        return min((at for at in (self.cancel_at, self.end) if at is not None), default=None)

    @property
    def prorates_end(self) -> bool:
        """Whether the last period, when the subscription's end cuts it, is charged by its share: as the cancellation
        says, else as the subscription itself does."""
        return (self.end_proration or self.proration) is ProrationBehavior.CREATE_PRORATIONS

    @property
    def service_pauses(self) -> tuple[tuple[datetime, datetime | None], ...]:
        """The pauses in which no service time passes; a trial inside a family's period is none of them."""
        trial = None if self.trial is None else (self.trial.start, self.trial.end)
        return tuple(stop for stop in self.pauses if stop != trial)

    @property
    def is_billed(self) -> bool:
        """Whether it has invoices of its own; children appear on their parent's, or not at all."""
        return self.type not in {SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING}

    @property
    def billed_with(self) -> str:
        """The id of the subscription on whose invoices it stands: a grouped child's parent, else itself."""
        grouped = self.type is SubscriptionType.GROUPED_INVOICING
        return self.parent_id if grouped and self.parent_id is not None else self.id

    def allowances(self, period: Period) -> dict[str, FeatureEntitlement]:
        """What is included in `period`, by meter id. The period is the invoice's, never the moment of computing."""
        return by_meter(self.entitled, period)

    def item(self, id: str) -> LineItemSnapshot | None:
        """The line item with this id."""
        return next((item for item in self.items if item.id == id), None)

    def own_recurrence(self, item: LineItemSnapshot) -> Recurrence:
        """The rhythm of an item that is billed in longer periods than the subscription. Its first period begins at the
        anchor: where the item's first version began, or the trial that it began in ended."""
        first = max(item.counted_from or item.start, self.first_paid_at)
        return Recurrence(item.billing_period, first, self.recurrence.zone, item.billing_period_count)

    def is_succeeded(self, item: LineItemSnapshot) -> bool:
        """Whether a later version goes on where the item ends."""
        return any(other.replaces_id == item.id for other in self.items)

    def has_longer_period(self, item: LineItemSnapshot) -> bool:
        """Whether the item is billed in periods of its own, longer than the subscription's."""
        return longer(item.billing_period, item.billing_period_count, self.recurrence)


def longer(period: BillingPeriod, count: int, than: Recurrence) -> bool:
    """Whether `count` periods are longer than the rhythm; both must be counted in months, else they are not."""
    if period not in MONTHS or than.period not in MONTHS:
        return False
    return MONTHS[period] * count > MONTHS[than.period] * than.count


def mixes_periods(items: Iterable[LineItemSnapshot], recurrence: Recurrence) -> bool:
    """Whether recurring items bill in different periods.

    Rule: docs/rules/proration.md#mixed-billing-periods
    """
    return any(
        (item.billing_period, item.billing_period_count) != (recurrence.period, recurrence.count)
        for item in items
        if not item.is_onetime
    )


def customer_ids(snapshots: Sequence[SubscriptionSnapshot]) -> set[str]:
    """Everybody whose usage these subscriptions and their grouped children charge."""
    return {
        customer.customer_id
        for snapshot in snapshots
        for member in (snapshot, *snapshot.grouped)
        for customer in member.usage_customers
    }
