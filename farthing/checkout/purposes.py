"""What a checkout is for, as its row keeps it: enough to do it again when it is paid, and to show it.

Requests of other packages are kept as they were sent, and are read by the same structs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from farthing.billing.plan_change_schemas import SubscriptionChangeV2Request
from farthing.billing.schemas import ExecuteSubscriptionModifyRequest
from farthing.core.checkout import (
    ShownAddonParams,
    ShownAddonRef,
    ShownConfiguration,
    ShownInvoiceParams,
    ShownLineItemModification,
    ShownModificationParams,
    ShownSubscriptionParams,
    ShownTopUpParams,
)
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.wire import as_wire
from farthing.storage import documents
from farthing.storage.documents import Document


class PaidSubscription(Document, frozen=True, kw_only=True, tag="create_subscription", tag_field="purpose"):
    """A subscription that begins; times as text."""

    subscription_id: str
    plan_id: str
    currency: str
    billing_period: str
    start_date: str
    end_date: str | None = None
    lookup_key: str | None = None
    metadata: dict[str, str] | None = None


class PaidModification(Document, frozen=True, kw_only=True, tag="modify_subscription", tag_field="purpose"):
    """A modification of a subscription."""

    subscription_id: str
    request: dict[str, Any]

    @property
    def asked(self) -> ExecuteSubscriptionModifyRequest:
        """The request."""
        return convert(self.request, ExecuteSubscriptionModifyRequest)


class PaidPlanChange(Document, frozen=True, kw_only=True, tag="change_plan", tag_field="purpose"):
    """A plan change in place."""

    subscription_id: str
    request: dict[str, Any]

    @property
    def asked(self) -> SubscriptionChangeV2Request:
        """The request."""
        return convert(self.request, SubscriptionChangeV2Request)


class PaidAddon(Document, frozen=True, kw_only=True, tag="add_addon", tag_field="purpose"):
    """An addon that is attached."""

    subscription_id: str
    addon_id: str
    addon_association_id: str


class PaidTopUp(Document, frozen=True, kw_only=True, tag="wallet_topup", tag_field="purpose"):
    """Credits that are bought."""

    wallet_id: str
    wallet_transaction_id: str


class PaidInvoice(Document, frozen=True, kw_only=True, tag="pay_invoice", tag_field="purpose"):
    """An invoice."""

    invoice_id: str


Purpose = PaidSubscription | PaidModification | PaidPlanChange | PaidAddon | PaidTopUp | PaidInvoice

_KINDS: Mapping[str, type[Purpose]] = MappingProxyType(
    {
        "create_subscription": PaidSubscription,
        "modify_subscription": PaidModification,
        "change_plan": PaidPlanChange,
        "add_addon": PaidAddon,
        "wallet_topup": PaidTopUp,
        "pay_invoice": PaidInvoice,
    }
)


def purpose_of(configuration: Mapping[str, Any]) -> Purpose:
    """What a row keeps. Raises ValueError for a form that this release does not know."""
    return documents.decode(_KINDS[configuration["purpose"]], configuration)


def shown(purpose: Purpose) -> ShownConfiguration:
    """A purpose as it travels: the parameters of its action."""
    match purpose:
        case PaidSubscription():
            return ShownConfiguration(create_subscription_params=ShownSubscriptionParams.of(purpose))
        case PaidModification():
            return ShownConfiguration(modify_subscription_params=_modification(purpose))
        case PaidPlanChange():
            target = purpose.asked.target_plan_id
            params = ShownModificationParams(subscription_id=purpose.subscription_id, target_plan_id=target)
            return ShownConfiguration(modify_subscription_params=params)
        case PaidAddon():
            addon = ShownAddonRef(addon_id=purpose.addon_id, association_id=purpose.addon_association_id)
            params_of_addon = ShownAddonParams(subscription_id=purpose.subscription_id, addons=[addon])
            return ShownConfiguration(add_addon_params=params_of_addon)
        case PaidTopUp():
            return ShownConfiguration(wallet_topup_params=ShownTopUpParams.of(purpose))
        case PaidInvoice():
            return ShownConfiguration(pay_invoice_params=ShownInvoiceParams.of(purpose))


def _modification(purpose: PaidModification) -> ShownModificationParams:
    asked = purpose.asked
    quantities = asked.quantity_change_params.line_items if asked.quantity_change_params is not None else ()
    changes = asked.line_item_change_params.changes if asked.line_item_change_params is not None else ()
    return ShownModificationParams(
        subscription_id=purpose.subscription_id,
        line_item_modifications=[
            ShownLineItemModification(
                line_item_id=change.id,
                quantity=as_wire(change.quantity),
                amount=as_wire(getattr(change, "amount", None)),
                effective_date=as_wire(change.effective_date),
            )
            for change in (*quantities, *changes)
        ],
    )
