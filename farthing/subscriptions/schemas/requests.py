"""Bodies that create subscriptions and their line items, with the names and fields of the wire."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from farthing.calendar.billing import BillingCycle, BillingPeriod
from farthing.calendar.due import PaymentTerms
from farthing.catalogue.fields import Id, Line, OptionalId, Text
from farthing.catalogue.fx.schemas import RateWindow
from farthing.catalogue.plans.credit_grants import CreditGrantTerms
from farthing.catalogue.prices.schemas import (
    PricingChange,
    Tiers,
    TransformQuantityRequest,
)
from farthing.core.checkout import CheckoutParams
from farthing.core.encoding.wire import BadField, Moment, Request, checked_metadata, currency_code
from farthing.customers.schemas import TaxRateOverride
from farthing.rating.pricing.price import BillingModel, TierMode
from farthing.subscriptions.enums import (
    AddonCadence,
    CollectionMethod,
    PaymentBehavior,
    ProrationBehavior,
    SubscriptionStatus,
)
from farthing.subscriptions.schemas.commitments import (
    CommitmentFields,
    LineItemCommitmentConfig,
    SubscriptionPriceCreateRequest,
    factor,
    money,
    quantity,
)

MOST_LINE_ITEMS = 100
MOST_CHILDREN = 100
MOST_PHASES = 50
ZERO_TIME_YEAR = 1
"""Older clients say "no time" as 0001-01-01T00:00:00Z."""


class CreateSubscriptionLineItemRequest(CommitmentFields, kw_only=True):
    """A line item beside those of the plan: of an existing price, or of one made for it."""

    price_id: OptionalId | None = None
    price: SubscriptionPriceCreateRequest | None = None
    quantity: Decimal | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    display_name: Line | None = None
    metadata: dict[str, str] | None = None
    subscription_phase_id: OptionalId | None = None
    proration_behavior: ProrationBehavior | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.price_id) == (self.price is not None):
            raise BadField("price_id", "or price must be given, and not both")
        if self.quantity is not None:
            quantity("quantity", self.quantity)
        self.metadata = checked_metadata(self.metadata)
        if self.start_date is not None and self.start_date.year == ZERO_TIME_YEAR:
            self.start_date = None
        if self.end_date is not None and self.end_date.year == ZERO_TIME_YEAR:
            self.end_date = None
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise BadField("end_date", "must not be before start_date")


class UpdateSubscriptionLineItemRequest(CommitmentFields, kw_only=True):
    """Metadata to change in place, or terms to change from `effective_from`, which makes a new version."""

    billing_model: BillingModel | None = None
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: Tiers | None = None
    transform_quantity: TransformQuantityRequest | None = None
    price_unit_amount: Decimal | None = None
    price_unit_tiers: Tiers | None = None
    effective_from: Moment | None = None
    metadata: dict[str, str] | None = None
    proration_behavior: ProrationBehavior | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)
        if self.effective_from is not None and not (self.commits or self.pricing.changes_money):
            raise BadField("effective_from", "is only allowed with a change of price or commitment")

    @property
    def pricing(self) -> PricingChange:
        """The change of price it asks for; possibly none."""
        return PricingChange(
            billing_model=self.billing_model,
            amount=self.amount,
            tier_mode=self.tier_mode,
            tiers=self.tiers,
            transform_quantity=self.transform_quantity,
            price_unit_amount=self.price_unit_amount,
            price_unit_tiers=self.price_unit_tiers,
        )


class DeleteSubscriptionLineItemRequest(Request):
    """When a line item ends; absent is now."""

    effective_from: Moment | None = None
    proration_behavior: ProrationBehavior | None = None


class OverrideLineItemRequest(PricingChange, kw_only=True):
    """Other terms for one price of the plan or addon, on this subscription alone."""

    price_id: Id
    quantity: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantity is not None:
            quantity("quantity", self.quantity)
        if self.quantity is None and not self.changes_money:
            raise BadField("price_id", "needs something to override: quantity, billing_model, amount, tiers, ...")


class OverrideEntitlementRequest(Request):
    """Another limit or value for one entitlement of the plan; `usage_limit` null is unlimited."""

    entitlement_id: Id
    usage_limit: Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType | None = UNSET
    is_enabled: bool | None = None
    static_value: Text | None = None
    config_value: dict[str, Any] | None = None


class SubscriptionCouponInput(Request):
    """A coupon to attach, to the subscription or to the line item of one price."""

    coupon_code: Annotated[str, Meta(min_length=1, max_length=100)]
    start_date: Moment | None = None
    end_date: Moment | None = None
    price_id: OptionalId | None = None


Overrides = Annotated[list[OverrideLineItemRequest], Meta(max_length=1000)]
Extras = Annotated[list[CreateSubscriptionLineItemRequest], Meta(max_length=MOST_LINE_ITEMS)]


class AddAddonToSubscriptionRequest(Request):
    """An addon to attach."""

    addon_id: Id
    cadence: AddonCadence | None = None
    proration_behavior: ProrationBehavior | None = None
    start_date: Moment | None = None
    metadata: dict[str, Any] | None = None
    line_item_commitments: dict[str, LineItemCommitmentConfig] | None = None
    override_line_items: Overrides | None = None


class RemoveAddonRequest(Request):
    """An addon to detach; by default at the end of the period."""

    addon_association_id: Id
    effective_date: Moment | None = None
    proration_behavior: ProrationBehavior | None = None
    reason: Line | None = None


class SubscriptionPhaseCreateRequest(Request):
    """A stretch of the subscription with terms of its own."""

    start_date: Moment
    end_date: Moment | None = None
    override_line_items: Overrides | None = None
    line_items: Extras | None = None
    subscription_coupons: list[SubscriptionCouponInput] | None = None
    coupons: list[str] | None = None
    line_item_coupons: dict[str, list[str]] | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.end_date is not None and self.end_date <= self.start_date:
            raise BadField("end_date", "must be after start_date")


class SubscriptionTerms(Request):
    """What may be said of a subscription and of a grouped child alike."""

    plan_id: Id
    lookup_key: Line | None = None
    metadata: dict[str, str] | None = None
    end_date: Moment | None = None
    trial_period_days: Annotated[int, Meta(ge=0, le=3650)] | None = None
    payment_behavior: PaymentBehavior | None = None
    collection_method: str | None = None
    gateway_payment_method_id: Line | None = None
    payment_terms: PaymentTerms | None = None
    proration_behavior: ProrationBehavior | None = None
    commitment_amount: Decimal | None = None
    commitment_duration: BillingPeriod | None = None
    overage_factor: Decimal | None = None
    enable_true_up: bool | None = None
    auto_invoice_threshold: Decimal | None = None
    override_line_items: Overrides | None = None
    line_item_commitments: dict[str, LineItemCommitmentConfig] | None = None
    line_items: Extras | None = None
    addons: Annotated[list[AddAddonToSubscriptionRequest], Meta(max_length=100)] | None = None
    subscription_coupons: list[SubscriptionCouponInput] | None = None
    coupons: list[str] | None = None
    line_item_coupons: dict[str, list[str]] | None = None
    override_entitlements: Annotated[list[OverrideEntitlementRequest], Meta(max_length=1000)] | None = None
    tax_rate_overrides: list[TaxRateOverride] | None = None
    phases: Annotated[list[SubscriptionPhaseCreateRequest], Meta(max_length=MOST_PHASES)] | None = None
    credit_grants: Annotated[list[CreditGrantTerms], Meta(max_length=100)] | None = None
    """None: copies of the plan's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        self._check_continuous()
        for name in ("commitment_amount", "auto_invoice_threshold"):
            if getattr(self, name) is not None:
                money(name, getattr(self, name))
        if self.overage_factor is not None:
            factor("overage_factor", self.overage_factor)
        if self.commitment_duration is BillingPeriod.ONETIME:
            raise BadField("commitment_duration", "must be a period that recurs")
        if self.end_date is not None and self.end_date.year == ZERO_TIME_YEAR:
            self.end_date = None
        seen: set[str] = set()
        for override in self.override_line_items or ():
            if override.price_id in seen:
                raise BadField("override_line_items", f"names the price '{override.price_id}' twice")
            seen.add(override.price_id)
        if self.collection_method == "default_incomplete":
            # what older clients send
            # Rule: docs/rules/subscriptions.md#creation
            self.collection_method = CollectionMethod.CHARGE_AUTOMATICALLY.value
            self.payment_behavior = PaymentBehavior.ALLOW_INCOMPLETE
        if self.collection_method not in {None, "", *(method.value for method in CollectionMethod)}:
            raise BadField("collection_method", "must be charge_automatically or send_invoice")

    def _check_continuous(self) -> None:
        phases = self.phases or []
        for index, (phase, following) in enumerate(itertools.pairwise(phases)):
            if phase.end_date is None:
                raise BadField(f"phases[{index}].end_date", "is required for all phases but the last")
            if phase.end_date != following.start_date:
                raise BadField(f"phases[{index + 1}].start_date", "must be the end of the phase before")

    @property
    def collection(self) -> CollectionMethod:
        return CollectionMethod(self.collection_method or CollectionMethod.CHARGE_AUTOMATICALLY)

    @property
    def payment(self) -> PaymentBehavior:
        return self.payment_behavior or PaymentBehavior.DEFAULT_ACTIVE


class GroupedInvoicingChildRequest(SubscriptionTerms, kw_only=True):
    """A child whose charges appear on the parent's invoices; currency, dates and rhythm are the parent's."""

    external_customer_id: Annotated[str, Meta(min_length=1, max_length=255)]


class SubscriptionInheritanceConfig(Request):
    """How the new subscription relates to others and to who pays."""

    external_customer_ids_to_inherit_subscription: Annotated[list[str], Meta(max_length=MOST_CHILDREN)] | None = None
    parent_subscription_id: OptionalId | None = None
    invoicing_customer_external_id: Line | None = None
    subscriptions_ids_for_grouped_invoicing: Annotated[list[str], Meta(max_length=MOST_CHILDREN)] | None = None
    grouped_invoicing_children_to_create: (
        Annotated[list[GroupedInvoicingChildRequest], Meta(max_length=MOST_CHILDREN)] | None
    ) = None

    def __post_init__(self) -> None:
        super().__post_init__()
        lists = {
            "external_customer_ids_to_inherit_subscription": self.external_customer_ids_to_inherit_subscription,
            "subscriptions_ids_for_grouped_invoicing": self.subscriptions_ids_for_grouped_invoicing,
            "grouped_invoicing_children_to_create": self.grouped_invoicing_children_to_create,
        }
        given = [name for name, value in lists.items() if value]
        if self.parent_subscription_id and given:
            raise BadField("parent_subscription_id", f"cannot be combined with {given[0]}")
        for name in ("external_customer_ids_to_inherit_subscription", "subscriptions_ids_for_grouped_invoicing"):
            if self.invoicing_customer_external_id and name in given:
                raise BadField("invoicing_customer_external_id", f"cannot be combined with {name}")
        if "subscriptions_ids_for_grouped_invoicing" in given and len(given) > 1:
            raise BadField("subscriptions_ids_for_grouped_invoicing", "cannot be combined with other children")


class CreateSubscriptionRequest(SubscriptionTerms, kw_only=True):
    """A new subscription; with `checkout` it is a draft until that is paid."""

    currency: str
    billing_period: BillingPeriod
    customer_id: OptionalId | None = None
    external_customer_id: Line | None = None
    billing_period_count: Annotated[int, Meta(ge=0, le=1200)] | None = None
    billing_cycle: BillingCycle | None = None
    billing_anchor: Moment | None = None
    start_date: Moment | None = None
    subscription_status: SubscriptionStatus | None = None
    inheritance: SubscriptionInheritanceConfig | None = None
    checkout: CheckoutParams | None = None
    fx_rates: Annotated[list[RateWindow], Meta(max_length=100)] | None = None
    """Rates of its own, from its currency to the one that its payer is billed in."""
    timezone: str | None = None
    """Accepted and ignored: the customer's is taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        if not self.customer_id and not self.external_customer_id:
            raise BadField("customer_id", "or external_customer_id is required")
        if self.billing_period is BillingPeriod.ONETIME:
            raise BadField("billing_period", "must be a period that recurs, not ONETIME")
        if self.billing_anchor is not None and self.billing_cycle is BillingCycle.CALENDAR:
            raise BadField("billing_anchor", "is only allowed with the anniversary cycle")
        self._check_phases()

    def _check_phases(self) -> None:
        if not self.phases:
            return
        if self.subscription_status is SubscriptionStatus.DRAFT:
            raise BadField("phases", "are not allowed for a draft")
        first, last = self.phases[0], self.phases[-1]
        if self.start_date is not None and self.start_date != first.start_date:
            raise BadField("start_date", "must be the start of the first phase")
        if self.end_date is not None and last.end_date is not None and self.end_date != last.end_date:
            raise BadField("end_date", "must be the end of the last phase")
        self.start_date = first.start_date
        self.end_date = last.end_date or self.end_date


class UpdateSubscriptionRequest(Request):
    """What may change without a flow of its own; absent keeps, an empty `parent_subscription_id` clears."""

    status: SubscriptionStatus | None = None
    cancel_at: Moment | None = None
    cancel_at_period_end: bool | None = None
    parent_subscription_id: OptionalId | None = None


class ActivateDraftSubscriptionRequest(Request):
    """When the draft begins."""

    start_date: Moment
