"""Bodies of checkouts."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from farthing.api.queries.lists import Page
from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.fields import Id, Line
from farthing.core.checkout import (
    CheckoutAction,
    CheckoutParams,
    CheckoutPaymentProvider,
    CheckoutSessionResponse,
    CheckoutStatus,
)
from farthing.core.encoding.wire import BadField, Moment, Request, checked_metadata, currency_code
from farthing.storage.queries.listing import ListQuery
from farthing.subscriptions.enums import AddonCadence, ProrationBehavior

_ELSEWHERE = {
    CheckoutAction.MODIFY_SUBSCRIPTION: "POST /v1/subscriptions/{id}/modify/execute",
    CheckoutAction.WALLET_TOPUP: "POST /v1/wallets/{id}/top-up",
    CheckoutAction.ADD_ADDON: "POST /v1/subscriptions/addon",
}
"""Actions that begin where the thing itself is asked for, with a `checkout` object."""


class CreateSubscriptionParams(Request):
    """The subscription that is paid for."""

    plan_id: Id
    currency: str
    billing_period: BillingPeriod
    subscription_id: str | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    lookup_key: Line | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        self.metadata = checked_metadata(self.metadata)
        if self.subscription_id:
            raise BadField("subscription_id", "is answered; the subscription is made for the checkout")


class PayInvoiceParams(Request):
    """The invoice that is paid."""

    invoice_id: Id


class ModifySubscriptionLineItem(Request):
    """Another quantity of one line item."""

    line_item_id: str | None = None
    quantity: str | None = None
    effective_date: Moment | None = None


class ModifySubscriptionParams(Request):
    """A change of a subscription; it begins where the subscription is modified."""

    subscription_id: str | None = None
    line_item_modifications: list[ModifySubscriptionLineItem] | None = None


class WalletTopupParams(Request):
    """A purchase of credits; it begins where the wallet is topped up."""

    wallet_id: Id
    wallet_transaction_id: str | None = None


class AddAddonRef(Request):
    """An addon to attach."""

    addon_id: str | None = None
    association_id: str | None = None
    cadence: AddonCadence | UnsetType = UNSET
    proration_behavior: ProrationBehavior | UnsetType = UNSET
    start_date: Moment | None = None


class AddAddonParams(Request):
    """Addons to attach; they begin where an addon is attached."""

    subscription_id: str | None = None
    addons: list[AddAddonRef] | None = None


class CheckoutConfiguration(Request):
    """The parameters of the action."""

    create_subscription_params: CreateSubscriptionParams | None = None
    modify_subscription_params: ModifySubscriptionParams | None = None
    wallet_topup_params: WalletTopupParams | None = None
    add_addon_params: AddAddonParams | None = None
    pay_invoice_params: PayInvoiceParams | None = None


class CreateCheckoutSessionRequest(CheckoutParams, kw_only=True):
    """A checkout for a subscription or an invoice; the other actions begin where the thing itself is asked for."""

    customer_external_id: Annotated[str, Meta(min_length=1, max_length=255)]
    action: CheckoutAction
    payment_provider: CheckoutPaymentProvider
    configuration: CheckoutConfiguration | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        elsewhere = _ELSEWHERE.get(self.action)
        if elsewhere is not None:
            raise BadField("action", f"{self.action.value} begins with {elsewhere} and its checkout object")
        wanted = f"{self.action.value}_params"
        for name in CheckoutConfiguration.__struct_fields__:
            given = self.configuration is not None and getattr(self.configuration, name) is not None
            if name == wanted and not given:
                raise BadField(f"configuration.{name}", f"is required for action {self.action.value}")
            if name != wanted and given:
                raise BadField(f"configuration.{name}", f"is not for action {self.action.value}")


class CheckoutQuery(ListQuery):
    """Filters of the list of checkouts."""

    customer_id: str | None = None
    action: CheckoutAction | None = None
    checkout_status: CheckoutStatus | None = None
    checkout_invoice_id: str | None = None


class ListCheckoutSessionsResponse(Page[CheckoutSessionResponse]):
    """One page of checkouts."""

    items: list[CheckoutSessionResponse]
