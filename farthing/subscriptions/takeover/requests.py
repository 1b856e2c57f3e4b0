"""What is said of a subscription that is taken over, with the names of the wire. Ids are those of this environment."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from farthing.calendar.billing import BillingCycle, BillingPeriod
from farthing.calendar.due import PaymentTerms
from farthing.catalogue.fields import Id, Line, OptionalId
from farthing.core.encoding.wire import BadField, Moment, Request, checked_metadata, currency_code
from farthing.subscriptions.enums import (
    AddonCadence,
    AddonStatus,
    CollectionMethod,
    LineItemOwner,
    PauseMode,
    PauseStatus,
    PaymentBehavior,
    ProrationBehavior,
    ResumeMode,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.schemas.commitments import CommitmentFields, factor, money, quantity


class TakenOverPause(Request, kw_only=True):
    """A pause that has begun or is to begin."""

    pause_status: PauseStatus
    pause_mode: PauseMode = PauseMode.IMMEDIATE
    resume_mode: ResumeMode | None = None
    pause_start: Moment
    pause_end: Moment | None = None
    original_period_start: Moment | None = None
    original_period_end: Moment | None = None
    reason: Line | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.pause_status not in {PauseStatus.ACTIVE, PauseStatus.SCHEDULED}:
            raise BadField("pause_status", "must be active or scheduled")
        if self.pause_end is not None and self.pause_end <= self.pause_start:
            raise BadField("pause_end", "must be after pause_start")


class TakenOverSubscription(Request, kw_only=True):
    """A subscription as it stands: what came before `[current_period_start, current_period_end)` is invoiced."""

    customer_id: Id
    plan_id: Id
    currency: str
    subscription_status: SubscriptionStatus
    subscription_type: SubscriptionType = SubscriptionType.STANDALONE
    billing_period: BillingPeriod
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.ANNIVERSARY
    billing_anchor: Moment
    timezone: str | None = None
    start_date: Moment
    end_date: Moment | None = None
    current_period_start: Moment
    current_period_end: Moment
    trial_start: Moment | None = None
    trial_end: Moment | None = None
    cancelled_at: Moment | None = None
    cancel_at: Moment | None = None
    cancel_at_period_end: bool = False
    lookup_key: Line | None = None
    commitment_amount: Decimal | None = None
    commitment_duration: BillingPeriod | None = None
    overage_factor: Decimal | None = None
    enable_true_up: bool = False
    auto_invoice_threshold: Decimal | None = None
    payment_behavior: PaymentBehavior = PaymentBehavior.DEFAULT_ACTIVE
    collection_method: CollectionMethod = CollectionMethod.CHARGE_AUTOMATICALLY
    gateway_payment_method_id: Line | None = None
    payment_terms: PaymentTerms | None = None
    proration_behavior: ProrationBehavior = ProrationBehavior.NONE
    invoicing_customer_id: OptionalId | None = None
    parent_subscription_id: OptionalId | None = None
    created_at: Moment | None = None
    pause: TakenOverPause | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        self.metadata = checked_metadata(self.metadata)
        if self.current_period_end <= self.current_period_start:
            raise BadField("current_period_end", "must be after current_period_start")
        if self.current_period_start < self.start_date:
            raise BadField("current_period_start", "must not be before start_date")
        if self.end_date is not None and self.end_date < self.start_date:
            raise BadField("end_date", "must not be before start_date")
        if self.billing_period is BillingPeriod.ONETIME or self.billing_period_count < 1:
            raise BadField("billing_period", "must recur")
        if (self.trial_start is None) != (self.trial_end is None):
            raise BadField("trial_end", "goes with trial_start")
        if self.subscription_status is SubscriptionStatus.TRIALING and self.trial_end is None:
            raise BadField("trial_end", "is required for a trialing subscription")
        if self.subscription_status is SubscriptionStatus.CANCELLED and self.cancelled_at is None:
            raise BadField("cancelled_at", "is required for a cancelled subscription")
        begun = self.pause is not None and self.pause.pause_status is PauseStatus.ACTIVE
        if begun != (self.subscription_status is SubscriptionStatus.PAUSED):
            raise BadField("pause", "must be active for a paused subscription, and for no other")
        for name in ("commitment_amount", "auto_invoice_threshold"):
            if getattr(self, name) is not None:
                money(name, getattr(self, name))
        if self.overage_factor is not None:
            self.overage_factor = factor("overage_factor", max(self.overage_factor, Decimal(1)))

    @property
    def was_billed(self) -> bool:
        """Whether periods before the open one were invoiced elsewhere; of a trial and a draft nothing was."""
        return self.subscription_status not in {SubscriptionStatus.TRIALING, SubscriptionStatus.DRAFT}


class TakenOverLineItem(CommitmentFields, kw_only=True):
    """One price of it for `[start_date, end_date)`."""

    price_id: Id
    entity_type: LineItemOwner = LineItemOwner.PLAN
    entity_id: OptionalId | None = None
    plan_display_name: Line | None = None
    display_name: Line | None = None
    quantity: Decimal = Decimal(0)
    start_date: Moment | None = None
    end_date: Moment | None = None
    subscription_phase_id: OptionalId | None = None
    addon_association_id: OptionalId | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        quantity("quantity", self.quantity)
        self.metadata = checked_metadata(self.metadata)
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise BadField("end_date", "must not be before start_date")

    @property
    def promise(self) -> TakenOverLineItem:
        """The item with the commitment that it really has: other systems send zeros and false where there is none."""
        if self.commitment_amount or self.commitment_quantity or self.commitment_time_buckets:
            return replace(
                self,
                commitment_amount=self.commitment_amount or None,
                commitment_quantity=self.commitment_quantity or None,
                commitment_type=None,
                commitment_overage_factor=max(self.commitment_overage_factor or Decimal(1), Decimal(1)),
                commitment_time_buckets=self.commitment_time_buckets or None,
            )
        return replace(self, **dict.fromkeys(CommitmentFields.__struct_fields__))


class TakenOverPhase(Request, kw_only=True):
    """A stretch with line items of its own."""

    start_date: Moment
    end_date: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.end_date is not None and self.end_date <= self.start_date:
            raise BadField("end_date", "must be after start_date")


class TakenOverAddon(Request, kw_only=True):
    """An addon that is attached."""

    addon_id: Id
    addon_status: AddonStatus = AddonStatus.ACTIVE
    cadence: AddonCadence = AddonCadence.RECURRING
    proration_behavior: ProrationBehavior = ProrationBehavior.NONE
    start_date: Moment | None = None
    end_date: Moment | None = None
    cancelled_at: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise BadField("end_date", "must not be before start_date")
