"""Tables of subscriptions, their phases, line items and addons."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.calendar.billing import BillingCycle, BillingPeriod, InvoiceCadence
from farthing.calendar.due import PaymentTerms
from farthing.catalogue.prices.enums import BillingCadence
from farthing.core.enums import PriceType
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Quantity, Scoped, Tracked, enum_column, lower_case
from farthing.subscriptions.enums import (
    AddonCadence,
    AddonStatus,
    CollectionMethod,
    CommitmentType,
    LineItemOwner,
    PauseStatus,
    PaymentBehavior,
    ProrationBehavior,
    SubscriptionStatus,
    SubscriptionType,
)

Factor = Numeric(24, 8)

_LIVE = "status = 'published' AND subscription_status <> 'cancelled'"

_DUE = """
CASE
    WHEN status <> 'published' OR subscription_type IN ('inherited', 'grouped_invoicing') THEN NULL
    WHEN opens_at IS NOT NULL AND subscription_status IN ('active', 'trialing', 'incomplete') THEN opens_at
    WHEN subscription_status = 'active' THEN least(current_period_end, cancel_at, pause_due_at)
    WHEN subscription_status = 'paused' THEN least(pause_due_at, cancel_at, end_date)
    WHEN subscription_status = 'trialing' THEN least(trial_end, cancel_at, end_date)
    WHEN subscription_status = 'incomplete' THEN least(cancel_at, end_date)
END
"""


class Subscription(Scoped, Tracked, Base):
    """A customer's agreement to pay for a plan, period by period.

    `[current_period_start, current_period_end)` is the open period; everything before it has been handed to
    invoicing. All amounts are in `currency`.
    """

    __tablename__ = "subscriptions"
    label = "Subscription"
    audit = Audited(
        "subscription",
        named_by=("lookup_key",),
        named_after=("plan_id",),
        bookkeeping=frozenset(
            {
                "version",
                "synced_price_sequence",
                "invoices_begun",
                "renewal_notice_for",
                "due_at",
                "payer_id",
                "request_token",
                "pause_due_at",
                "opens_at",
                "checkout_session_id",
                # a period that ends and begins with time is nobody's change
                "current_period_start",
                "current_period_end",
                "full_period_start",
                "billed_from",
            }
        ),
    )

    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    """Who subscribes and uses."""
    plan_id: Mapped[str] = mapped_column(String(50), ForeignKey("plans.id"))
    lookup_key: Mapped[str] = mapped_column(String(255), default="")
    checkout_session_id: Mapped[str | None] = mapped_column(String(50))
    """The checkout that a draft waits for: until that ends nobody else lets it begin."""
    subscription_status: Mapped[SubscriptionStatus] = mapped_column(enum_column(SubscriptionStatus))
    subscription_type: Mapped[SubscriptionType] = mapped_column(
        enum_column(SubscriptionType), default=SubscriptionType.STANDALONE
    )
    currency: Mapped[str] = mapped_column(String(3))
    billing_anchor: Mapped[datetime]
    billing_cycle: Mapped[BillingCycle] = mapped_column(enum_column(BillingCycle), default=BillingCycle.ANNIVERSARY)
    billing_period: Mapped[BillingPeriod] = mapped_column(enum_column(BillingPeriod))
    billing_period_count: Mapped[int] = mapped_column(default=1)
    billing_cadence: Mapped[BillingCadence] = mapped_column(
        enum_column(BillingCadence), default=BillingCadence.RECURRING
    )
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    """The customer's when the subscription was made; boundaries are local times of this zone."""
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    """Exclusive."""
    current_period_start: Mapped[datetime]
    current_period_end: Mapped[datetime]
    full_period_start: Mapped[datetime]
    """Where the open period began before threshold invoices moved `current_period_start`; else the same instant."""
    billed_from: Mapped[datetime | None]
    """The start of the first period that is billed here, where the system that it was taken over from has invoiced what
    came before; NULL where nothing came before."""
    opens_at: Mapped[datetime | None]
    """When the run must make the opening invoice, because the start lies ahead; None once it is made."""
    trial_start: Mapped[datetime | None]
    trial_end: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancel_at: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool] = mapped_column(default=False)
    pause_status: Mapped[PauseStatus] = mapped_column(enum_column(PauseStatus), default=PauseStatus.NONE)
    active_pause_id: Mapped[str | None] = mapped_column(String(50))
    pause_due_at: Mapped[datetime | None]
    """When the job must begin the scheduled pause, or end the present one; None when nobody said when."""
    commitment_amount: Mapped[Decimal | None]
    commitment_duration: Mapped[BillingPeriod | None] = mapped_column(enum_column(BillingPeriod))
    overage_factor: Mapped[Decimal] = mapped_column(Factor, default=Decimal(1))
    enable_true_up: Mapped[bool] = mapped_column(default=False)
    auto_invoice_threshold: Mapped[Decimal | None]
    payment_behavior: Mapped[PaymentBehavior] = mapped_column(
        enum_column(PaymentBehavior), default=PaymentBehavior.DEFAULT_ACTIVE
    )
    collection_method: Mapped[CollectionMethod] = mapped_column(
        enum_column(CollectionMethod), default=CollectionMethod.CHARGE_AUTOMATICALLY
    )
    gateway_payment_method_id: Mapped[str] = mapped_column(String(255), default="")
    payment_terms: Mapped[PaymentTerms | None] = mapped_column(enum_column(PaymentTerms))
    proration_behavior: Mapped[ProrationBehavior] = mapped_column(
        enum_column(ProrationBehavior), default=ProrationBehavior.NONE
    )
    end_proration_behavior: Mapped[ProrationBehavior | None] = mapped_column(enum_column(ProrationBehavior))
    """How a cancellation charges the period that it cuts; None: as the subscription itself."""
    invoicing_customer_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("customers.id"))
    """Who pays, when it is not the customer."""
    payer_id: Mapped[str] = mapped_column(
        String(50), Computed("coalesce(invoicing_customer_id, customer_id)", persisted=True)
    )
    parent_subscription_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    synced_price_sequence: Mapped[int] = mapped_column(default=0)
    """The plan's newest price sequence that the line items have been reconciled with."""
    invoices_begun: Mapped[int] = mapped_column(default=0)
    """How many drafts have been made; the next one's `billing_sequence` is one more. Counted under the row's lock."""
    renewal_notice_for: Mapped[datetime | None]
    """The end of the period whose renewal was announced last."""
    version: Mapped[int] = mapped_column(default=1)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    due_at: Mapped[datetime | None] = mapped_column(Computed(_DUE, persisted=True))
    """When the billing run must next look at it; None when it never must."""
    request_token: Mapped[str | None] = mapped_column(String(64))
    """The request that made it, when that had an idempotency key: the same for all repeats of the request."""

    __table_args__ = (
        # the billing run takes what is due in this order, skipping what others hold
        Index("ix_subscriptions_due", "environment_id", "due_at", "id", postgresql_where=text("due_at IS NOT NULL")),
        # progressive billing asks for these every few minutes
        Index(
            "ix_subscriptions_threshold",
            "environment_id",
            "id",
            postgresql_where=text(f"{_LIVE} AND auto_invoice_threshold > 0"),
        ),
        # subscriptions of a customer; live currencies of those it incurs
        Index("ix_subscriptions_customer", "environment_id", "customer_id", "created_at", "id"),
        Index(
            "ix_subscriptions_incurred",
            "environment_id",
            "customer_id",
            postgresql_include=["currency", "created_at", "id", "invoicing_customer_id"],
            postgresql_where=text(_LIVE),
        ),
        # live currencies of those a customer pays
        Index(
            "ix_subscriptions_paid",
            "environment_id",
            "payer_id",
            postgresql_include=["currency", "created_at", "id", "customer_id"],
            postgresql_where=text(_LIVE),
        ),
        # those billed to somebody else than who uses
        Index(
            "ix_subscriptions_invoicing",
            "environment_id",
            "invoicing_customer_id",
            postgresql_where=text("invoicing_customer_id IS NOT NULL"),
        ),
        # children of a parent
        Index(
            "ix_subscriptions_parent",
            "environment_id",
            "parent_subscription_id",
            postgresql_where=text("parent_subscription_id IS NOT NULL"),
        ),
        # who subscribes to a plan: price synchronisation, and whether the plan may go
        Index("ix_subscriptions_plan", "environment_id", "plan_id", "id"),
        Index("ix_subscriptions_lookup_key", "environment_id", "lookup_key", postgresql_where=text("lookup_key <> ''")),
        # lists: newest first
        Index("ix_subscriptions_newest", "environment_id", "status", "created_at", "id"),
        lower_case(),
        CheckConstraint("current_period_start < current_period_end", name="period"),
        CheckConstraint("full_period_start <= current_period_start", name="full_period"),
        # what was invoiced elsewhere lies before the open period
        CheckConstraint("billed_from BETWEEN start_date AND current_period_start", name="billed_from"),
        CheckConstraint("end_date >= start_date", name="life"),
        CheckConstraint("billing_period <> 'ONETIME' AND billing_period_count >= 1", name="recurs"),
        CheckConstraint(
            "num_nulls(trial_start, trial_end) IN (0, 2) AND (trial_start IS NULL OR trial_start < trial_end)",
            name="trial",
        ),
        CheckConstraint("subscription_status <> 'trialing' OR trial_end IS NOT NULL", name="trialing_has_trial"),
        CheckConstraint("(subscription_status = 'cancelled') <= (cancelled_at IS NOT NULL)", name="cancelled_has_time"),
        CheckConstraint(
            "(pause_status IN ('active', 'scheduled')) = (active_pause_id IS NOT NULL) "
            "AND (subscription_status = 'paused') <= (pause_status = 'active')",
            name="pause",
        ),
        CheckConstraint(
            "commitment_amount >= 0 AND (commitment_duration IS NULL OR commitment_duration <> 'ONETIME')",
            name="commitment",
        ),
        CheckConstraint("overage_factor >= 1", name="overage_factor"),
        CheckConstraint("auto_invoice_threshold >= 0", name="threshold"),
        # children have a parent, and nobody is their own
        CheckConstraint(
            "(subscription_type IN ('inherited', 'grouped_invoicing')) <= (parent_subscription_id IS NOT NULL) "
            "AND parent_subscription_id <> id",
            name="parent",
        ),
        CheckConstraint(
            "subscription_type <> 'delegated_invoicing' OR invoicing_customer_id IS NOT NULL", name="delegated"
        ),
        # which method goes with which behaviour
        # Rule: docs/rules/subscriptions.md#collection
        CheckConstraint(
            "CASE collection_method WHEN 'send_invoice' THEN payment_behavior IN ('default_active', "
            "'default_incomplete') ELSE payment_behavior <> 'default_incomplete' END",
            name="collection",
        ),
    )


class SubscriptionPhase(Scoped, Tracked, Base):
    """A stretch `[start_date, end_date)` of a subscription's life with line items of its own."""

    __tablename__ = "subscription_phases"
    label = "Subscription phase"
    audit = Audited("subscription_phase", named_by=(), part_of=("subscription_id",))

    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # the phases of a subscription; no two begin at once
        Index("uq_subscription_phases_start", "environment_id", "subscription_id", "start_date", unique=True),
        CheckConstraint("end_date > start_date", name="life"),
    )


class AddonAssociation(Scoped, Tracked, Base):
    """An addon attached to a subscription for `[start_date, end_date)`; the same one may be attached several times."""

    __tablename__ = "addon_associations"
    label = "Addon association"
    audit = Audited("addon_association", named_by=(), part_of=("subscription_id",))

    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    addon_id: Mapped[str] = mapped_column(String(50), ForeignKey("addons.id"))
    addon_status: Mapped[AddonStatus] = mapped_column(enum_column(AddonStatus), default=AddonStatus.ACTIVE)
    cadence: Mapped[AddonCadence] = mapped_column(enum_column(AddonCadence), default=AddonCadence.RECURRING)
    proration_behavior: Mapped[ProrationBehavior] = mapped_column(
        enum_column(ProrationBehavior), default=ProrationBehavior.NONE
    )
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancellation_reason: Mapped[str] = mapped_column(default="")
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # the addons of a subscription
        Index("ix_addon_associations_subscription", "environment_id", "subscription_id", "start_date", "id"),
        # may this addon go
        Index("ix_addon_associations_addon", "environment_id", "addon_id"),
        # one checkout at a time may wait to attach something
        Index(
            "uq_addon_associations_pending",
            "environment_id",
            "subscription_id",
            unique=True,
            postgresql_where=text("status = 'published' AND addon_status = 'pending'"),
        ),
        CheckConstraint("end_date >= start_date", name="life"),
    )


class SubscriptionLineItem(Scoped, Tracked, Base):
    """One price that a subscription is charged for `[start_date, end_date)`.

    A change of price, quantity or commitment ends it and makes a successor from the same instant, so that what was
    invoiced stays explained. `quantity` is 0 for usage, which is metered.
    """

    __tablename__ = "subscription_line_items"
    label = "Subscription line item"
    audit = Audited("subscription_line_item", named_by=("display_name",), part_of=("subscription_id",))

    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    entity_type: Mapped[LineItemOwner] = mapped_column(enum_column(LineItemOwner))
    entity_id: Mapped[str] = mapped_column(String(50))
    """The plan, the addon or the subscription that brought it."""
    plan_display_name: Mapped[str] = mapped_column(String(255), default="")
    """The name of that plan or addon when the item was made."""
    price_id: Mapped[str] = mapped_column(String(50), ForeignKey("prices.id"))
    price_type: Mapped[PriceType] = mapped_column(enum_column(PriceType))
    meter_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("meters.id"))
    meter_display_name: Mapped[str] = mapped_column(String(255), default="")
    price_unit_id: Mapped[str | None] = mapped_column(String(50))
    price_unit: Mapped[str | None] = mapped_column(String(3))
    display_name: Mapped[str] = mapped_column(String(255), default="")
    quantity: Mapped[Decimal] = mapped_column(Quantity, default=Decimal(0))
    currency: Mapped[str] = mapped_column(String(3))
    billing_period: Mapped[BillingPeriod] = mapped_column(enum_column(BillingPeriod))
    billing_period_count: Mapped[int] = mapped_column(default=1)
    invoice_cadence: Mapped[InvoiceCadence] = mapped_column(enum_column(InvoiceCadence))
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    subscription_phase_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("subscription_phases.id"))
    addon_association_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("addon_associations.id"))
    replaces_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("subscription_line_items.id"))
    """The version directly before."""
    counted_from: Mapped[datetime | None]
    """Where its own longer periods are counted from, if not from its start: the start of its first version."""
    commitment_type: Mapped[CommitmentType | None] = mapped_column(enum_column(CommitmentType))
    commitment_amount: Mapped[Decimal | None]
    commitment_quantity: Mapped[Decimal | None] = mapped_column(Quantity)
    commitment_overage_factor: Mapped[Decimal | None] = mapped_column(Factor)
    commitment_true_up_enabled: Mapped[bool] = mapped_column(default=False)
    commitment_windowed: Mapped[bool] = mapped_column(default=False)
    commitment_duration: Mapped[BillingPeriod | None] = mapped_column(enum_column(BillingPeriod))
    commitment_time_buckets: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`[{"id", "start": {"hour", "minute"}, "end": {...}, "price_id", "commitment_type", "commitment_value",
    "overage_factor", "true_up_enabled"}]`, hours of the UTC day, decimals as text."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # the items of subscriptions, those of a period first of all
        Index("ix_subscription_line_items_subscription", "environment_id", "subscription_id", "start_date", "id"),
        # two changes at once cannot both succeed one item
        Index(
            "uq_subscription_line_items_successor",
            "environment_id",
            "replaces_id",
            unique=True,
            postgresql_where=text("replaces_id IS NOT NULL AND status = 'published'"),
        ),
        # what a customer is charged for, and by which meters
        Index("ix_subscription_line_items_customer", "environment_id", "customer_id"),
        # who is charged by a price, and by a meter
        Index("ix_subscription_line_items_price", "environment_id", "price_id"),
        Index(
            "ix_subscription_line_items_meter",
            "environment_id",
            "meter_id",
            postgresql_where=text("meter_id IS NOT NULL"),
        ),
        # the items an addon brought
        Index(
            "ix_subscription_line_items_addon",
            "environment_id",
            "addon_association_id",
            postgresql_where=text("addon_association_id IS NOT NULL"),
        ),
        # lists: newest first
        Index("ix_subscription_line_items_newest", "environment_id", "status", "created_at", "id"),
        lower_case(),
        CheckConstraint("end_date >= start_date", name="life"),
        CheckConstraint("quantity >= 0 AND (price_type <> 'USAGE' OR quantity = 0)", name="quantity"),
        CheckConstraint("billing_period_count >= 1", name="count"),
        CheckConstraint("(price_type = 'USAGE') = (meter_id IS NOT NULL)", name="usage_has_meter"),
        CheckConstraint(
            "CASE commitment_type WHEN 'amount' THEN commitment_amount >= 0 AND commitment_quantity IS NULL "
            "WHEN 'quantity' THEN commitment_quantity >= 0 AND commitment_amount IS NULL "
            "ELSE num_nonnulls(commitment_amount, commitment_quantity) = 0 END",
            name="commitment_of_its_type",
        ),
        CheckConstraint("commitment_overage_factor >= 1", name="commitment_factor"),
        CheckConstraint("commitment_type IS NULL OR price_type = 'USAGE'", name="commitment_on_usage"),
        CheckConstraint(
            "commitment_time_buckets IS NULL OR (commitment_windowed AND commitment_duration IS NULL)",
            name="buckets_are_windows",
        ),
        # their ids differ, they do not overlap, and what they commit to can be read
        CheckConstraint("commitment_time_buckets_are_sound(commitment_time_buckets)", name="buckets_are_sound"),
    )
