"""Stripe's objects, as far as we read them, and what they mean in our words."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from farthing.core.money import ZERO
from farthing.payments.providers.interface import ChargeState, Dispute, DisputeState, ProviderCharge
from farthing.payments.stripe.amounts import from_stripe_amount

PAYMENT, ENVIRONMENT, FLOW = "farthing_payment_id", "farthing_environment_id", "farthing_flow"
CUSTOMER, MAKE_DEFAULT, REFUND = "farthing_customer_id", "farthing_make_default", "farthing_refund"
"""Keys of the metadata that we give to Stripe's objects and find on them again."""
LINK, CHARGE = "link", "charge"
"""How money is taken: on a page of Stripe's that may be tried again, or from a saved method."""

AUTHENTICATION_REQUIRED = "authentication_required"

HARD_DECLINES = frozenset(
    {
        "account_closed",
        "bank_account_closed",
        "debit_not_authorized",
        "incorrect_number",
        "invalid_account",
        "lost_card",
        "no_account",
        "pickup_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stolen_card",
        "stop_payment_order",
    }
)
"""Codes after which a method never works again."""

_STATES: Mapping[str, ChargeState] = MappingProxyType(
    {
        "succeeded": ChargeState.SUCCEEDED,
        "processing": ChargeState.PROCESSING,
        "requires_capture": ChargeState.PROCESSING,
        "requires_action": ChargeState.REQUIRES_ACTION,
    }
)
"""An intent in any other state takes no money unless somebody begins anew."""

_DISPUTES: Mapping[str, DisputeState] = MappingProxyType(
    {
        "won": DisputeState.WON,
        "warning_closed": DisputeState.WON,
        "prevented": DisputeState.WON,
        "lost": DisputeState.LOST,
    }
)


class StripeObject(msgspec.Struct, frozen=True):
    """Any object, by its id and our metadata."""

    id: str
    metadata: dict[str, str] | None = None

    def note(self, name: str) -> str | None:
        """What we wrote on it under this name."""
        return (self.metadata or {}).get(name)


class IntentError(msgspec.Struct, frozen=True):
    code: str | None = None
    decline_code: str | None = None
    message: str | None = None
    payment_method: StripeObject | str | None = None


class RedirectPage(msgspec.Struct, frozen=True):
    url: str | None = None


class NextAction(msgspec.Struct, frozen=True):
    redirect_to_url: RedirectPage | None = None


class PaymentIntent(StripeObject, frozen=True, kw_only=True):
    """One attempt of ours to take money, with its tries."""

    status: str
    amount: int
    currency: str
    amount_received: int | None = None
    last_payment_error: IntentError | None = None
    next_action: NextAction | None = None
    payment_method: str | None = None
    customer: str | None = None

    @property
    def failure_code(self) -> str:
        """The most telling code of what went wrong last; empty if nothing did."""
        error = self.last_payment_error
        return "" if error is None else error.decline_code or error.code or ""

    @property
    def waits_for_authentication(self) -> bool:
        """Whether it was refused only because the payer was not there to confirm it."""
        error = self.last_payment_error
        return (
            self.status == "requires_payment_method"
            and error is not None
            and AUTHENTICATION_REQUIRED in {error.code, error.decline_code}
        )


class StripeSetup(StripeObject, frozen=True, kw_only=True):
    """A method that is being saved."""

    client_secret: str | None = None
    payment_method: str | None = None
    customer: str | None = None


class StripeCheckout(StripeObject, frozen=True, kw_only=True):
    """A page of Stripe's."""

    mode: str
    url: str | None = None
    status: str | None = None
    payment_status: str | None = None
    payment_intent: str | None = None
    setup_intent: StripeSetup | str | None = None
    amount_total: int | None = None
    currency: str | None = None
    customer: str | None = None
    expires_at: int | None = None


class StripeRefund(StripeObject, frozen=True, kw_only=True):
    """Money on its way back."""

    amount: int
    currency: str
    status: str | None = None
    payment_intent: str | None = None
    failure_reason: str | None = None


class DisputedCharge(StripeObject, frozen=True, kw_only=True):
    """A dispute as Stripe tells of it."""

    amount: int
    currency: str
    status: str
    reason: str = ""
    payment_intent: str | None = None


class RefundedCharge(StripeObject, frozen=True, kw_only=True):
    """A charge that money went back of."""

    payment_intent: str | None = None


class StripeCard(msgspec.Struct, frozen=True):
    brand: str | None = None
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None


class StripeMethod(StripeObject, frozen=True, kw_only=True):
    """A saved payment method."""

    type: str
    card: StripeCard | None = None


class InvoiceSettings(msgspec.Struct, frozen=True):
    default_payment_method: str | None = None


class StripeCustomer(StripeObject, frozen=True, kw_only=True):
    """A customer, perhaps one that was deleted there."""

    deleted: bool = False
    invoice_settings: InvoiceSettings | None = None


def read_object(given: Mapping[str, Any], kind: type[Any]) -> Any:
    """An answer of Stripe's as one of the structs above. Raises ValueError for another shape."""
    return msgspec.convert(given, kind, strict=False)


def charge_of(intent: PaymentIntent, refunded: Decimal = ZERO) -> ProviderCharge:
    """An intent in the interface's words."""
    state = _STATES.get(intent.status, ChargeState.FAILED)
    units = intent.amount
    if state is ChargeState.SUCCEEDED and intent.amount_received is not None:
        units = intent.amount_received
    error, page = intent.last_payment_error, intent.next_action
    failed = state is ChargeState.FAILED
    return ProviderCharge(
        gateway_payment_id=intent.id,
        state=state,
        amount=from_stripe_amount(units, intent.currency),
        currency=intent.currency,
        tracking_id=intent.id if state is ChargeState.REQUIRES_ACTION else None,
        refunded=refunded,
        reason=reason_of(error) if failed else "",
        code=intent.failure_code if failed else "",
        is_hard=failed and is_hard(error),
        confirmation_url=page.redirect_to_url.url if page is not None and page.redirect_to_url is not None else None,
    )


def reason_of(error: IntentError | None) -> str:
    """Why a charge failed, fit to show to a payer."""
    return (error.message if error is not None else None) or "The payment was not completed"


def is_hard(error: IntentError | None) -> bool:
    """Whether the method that failed will never work again."""
    return error is not None and not HARD_DECLINES.isdisjoint({error.code, error.decline_code})


def dispute_of(dispute: DisputedCharge) -> Dispute:
    """A dispute in the interface's words."""
    return Dispute(
        dispute_id=dispute.id,
        state=_DISPUTES.get(dispute.status, DisputeState.OPEN),
        amount=from_stripe_amount(dispute.amount, dispute.currency),
        currency=dispute.currency,
        status=dispute.status,
        reason=dispute.reason,
        is_fraud=dispute.reason == "fraudulent",
    )
