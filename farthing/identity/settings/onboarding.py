"""What is done for a customer, or an event, that nobody knows yet: the steps, and what each is given."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

from farthing.core.encoding.wire import BadField, Moment, Request, currency_code

PlanId = Annotated[str, Meta(min_length=1, max_length=255)]
ExpiryUnit = Literal["DAY", "WEEK", "MONTH", "YEAR"]


class CreateCustomer(Request, tag_field="action", tag="create_customer"):
    """Make the customer that an event names."""

    default_user_id: str | None = None


class CreateWallet(Request, tag_field="action", tag="create_wallet"):
    """Give the new customer a wallet."""

    currency: str
    conversion_rate: Decimal = Decimal(1)
    wallet_type: Literal["PRE_PAID", "POST_PAID"] | None = None
    initial_credits_to_load: Decimal | None = None
    initial_credits_expiration_duration: Annotated[int, Meta(ge=1)] | None = None
    initial_credits_expiration_duration_unit: ExpiryUnit | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        if self.conversion_rate <= 0:
            raise BadField("conversion_rate", "must be positive")
        if self.initial_credits_to_load is not None and self.initial_credits_to_load < 0:
            raise BadField("initial_credits_to_load", "must not be negative")
        duration, unit = self.initial_credits_expiration_duration, self.initial_credits_expiration_duration_unit
        if (duration is None) != (unit is None):
            raise BadField("initial_credits_expiration_duration_unit", "goes with a duration, and a duration with it")


class CreateSubscription(Request, tag_field="action", tag="create_subscription"):
    """Subscribe the new customer to a plan."""

    plan_id: PlanId
    billing_cycle: Literal["anniversary", "calendar"] | None = None
    start_date: Moment | None = None


class CreateFeatureAndPrice(Request, tag_field="action", tag="create_feature_and_price"):
    """Make a feature for an event nobody has described yet, and price it in a plan."""

    plan_id: PlanId
    feature_type: Literal["metered", "boolean", "static", "config"] | None = None
    price_start_date_time: Moment | None = None


class RolloutToSubscriptions(Request, tag_field="action", tag="rollout_to_subscriptions"):
    """Bring a plan's new prices to the subscriptions that have the plan."""

    plan_id: PlanId


Action = CreateCustomer | CreateWallet | CreateSubscription | CreateFeatureAndPrice | RolloutToSubscriptions
Actions = Annotated[list[Action], Meta(max_length=50)]
