"""The provider interface: values in, typed results out, an idempotency key on every call.

A call returns what it asked for, or `Declined` (the answer is no and final), `Retryable` (nobody knows whether it
happened: ask later), or `Fatal` (it cannot work as configured, and nothing happened). Adapters turn their vendor's
errors into these and raise nothing of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider refused: `code` is its own word, `message` is fit to show.

    `is_hard`: the method will never work again, such as a card that was stolen.
    """

    code: str
    message: str
    is_hard: bool = False


@dataclass(frozen=True, slots=True)
class Retryable:
    """It may have happened or not: a timeout, an outage. The same key may be used again."""

    message: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """It cannot work: bad credentials, an account that is closed. Nothing happened."""

    message: str


Refusal = Declined | Retryable | Fatal


class Capability(StrEnum):
    """A call that an adapter supports; the others answer 501."""

    CUSTOMERS = "ensure_customer"
    LINKS = "create_payment_link"
    SAVED_METHODS = "charge_saved_method"
    SETUP = "register_method"
    REFUNDS = "refund"
    INVOICES = "push_invoice"


@dataclass(frozen=True, slots=True)
class Account:
    """A customer as a provider knows it: its id there, and ours."""

    provider_customer_id: str
    customer_id: str


@dataclass(frozen=True, slots=True)
class Payer:
    """A customer as we know it, to be made known to a provider."""

    customer_id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Urls:
    """Where a hosted page sends its visitor afterwards."""

    success: str | None = None
    cancel: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A hosted page that takes one payment."""

    tracking_id: str
    url: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """A hosted page that saves a payment method."""

    setup_id: str
    session_id: str
    url: str
    client_secret: str
    expires_at: datetime


class ChargeState(StrEnum):
    """Where a charge stands at its provider."""

    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProviderCharge:
    """A charge at a provider; amounts in the currency's major unit. `refunded` is the sum sent back so far."""

    gateway_payment_id: str
    state: ChargeState
    amount: Decimal
    currency: str
    tracking_id: str | None = None
    refunded: Decimal = Decimal(0)
    refund_keys: frozenset[str] | None = None
    """What those refunds of `refunded` were asked for with that we asked for; None if the provider does not say."""
    reason: str = ""
    code: str = ""
    """Of a charge that failed: the provider's own word for it."""
    is_hard: bool = False
    """Of a charge that failed: whether its method will never work again."""
    confirmation_url: str | None = None
    """Of a charge that requires action: the page where the payer confirms it."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What a client needs to go on."""


@dataclass(frozen=True, slots=True)
class ChargeLookup:
    """All that is known of a payment whose charge is looked for: our id, the provider's ids so far, and the payer."""

    payment_id: str
    gateway_payment_id: str | None = None
    tracking_id: str | None = None
    account: Account | None = None
    return_url: str | None = None
    """Where a payer goes on to who has to confirm the charge."""


@dataclass(frozen=True, slots=True)
class SentBack:
    """Money on its way back to the payer."""

    gateway_refund_id: str
    amount: Decimal
    settled: bool


@dataclass(frozen=True, slots=True)
class Method:
    """A payment method a provider keeps for a customer. `kind` is a `PaymentMethodType` value."""

    id: str
    kind: str
    is_default: bool
    brand: str | None = None
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None
    active: bool = True
    chargeable: bool = True
    """Whether it can be charged with nobody present."""


@dataclass(frozen=True, slots=True)
class ProviderInvoice:
    """An invoice to be copied to a provider; amounts are net of discounts and credits."""

    invoice_id: str
    number: str
    account: Account
    currency: str
    lines: Sequence[tuple[str, Decimal]]
    tax: Decimal
    due_date: datetime | None


class ReportKind(StrEnum):
    """What a provider's event says; everything else is OTHER and is only remembered."""

    PAYMENT_SUCCEEDED = "payment_succeeded"
    PAYMENT_FAILED = "payment_failed"
    LINK_EXPIRED = "link_expired"
    REFUND_UPDATED = "refund_updated"
    REFUND_FAILED = "refund_failed"
    DISPUTE_UPDATED = "dispute_updated"
    SETUP_SUCCEEDED = "setup_succeeded"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class RefundFailure:
    """A refund that did not reach the payer. `key` is what it was asked for with, if the provider says."""

    gateway_refund_id: str
    key: str | None
    reason: str


class DisputeState(StrEnum):
    """Where a dispute stands; WON and LOST are its ends."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A payer's complaint at the bank about `amount` of a charge. `status` and `reason` are the provider's words."""

    dispute_id: str
    state: DisputeState
    amount: Decimal
    currency: str
    status: str
    reason: str
    is_fraud: bool


@dataclass(frozen=True, slots=True)
class Report:
    """One event of a provider in our words. `payment_id` is ours, as we gave it along; `charge` as it stood then.

    `final` tells a failure that ends the payment from a decline after which the page may still be paid.
    """

    event_id: str
    kind: ReportKind
    payment_id: str | None = None
    tracking_id: str | None = None
    charge: ProviderCharge | None = None
    reason: str = ""
    final: bool = True
    customer_id: str | None = None
    """Ours, of a method that was saved as the customer's default."""
    refund_failure: RefundFailure | None = None
    dispute: Dispute | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    """What only the provider's adapter understands, for `follow_up`."""


def report_of(charge: ProviderCharge) -> Report | None:
    """What a webhook would tell of a charge as it stands now; None while it is not decided."""
    kinds = {
        ChargeState.SUCCEEDED: ReportKind.PAYMENT_SUCCEEDED,
        ChargeState.FAILED: ReportKind.PAYMENT_FAILED,
    }
    kind = kinds.get(charge.state)
    return None if kind is None else Report(charge.gateway_payment_id, kind, charge=charge, reason=charge.reason)


class BadSignature(Exception):
    """A webhook is not from whom it says: missing, wrong or too old a signature. The message is safe to show."""


class Provider(Protocol):
    """One environment's account at a provider. Every `key` is an idempotency key: twice the same is once."""

    capabilities: frozenset[Capability]

    async def ask_account(self) -> str | Refusal:
        """Ask for something that changes nothing; what to tell who wants to know whether the connection works."""
        ...

    async def ensure_customer(self, payer: Payer, *, key: str) -> Account | Refusal:
        """The customer's account there, made on first use."""
        ...

    async def create_payment_link(
        self,
        amount: Decimal,
        currency: str,
        payment_id: str,
        account: Account | None,
        urls: Urls,
        *,
        title: str,
        options: Mapping[str, str],
        save_method: bool,
        key: str,
    ) -> Link | Refusal:
        """A page that takes `amount` once, for our payment `payment_id`. `title` says to the payer what is paid.

        `options` are those of the request that only this provider understands.
        """
        ...

    async def cancel_link(self, tracking_id: str, *, key: str) -> Refusal | None:
        """Close a page that nobody has paid or confirmed on; one that is used or closed stays as it is."""
        ...

    async def ask_page(self, lookup: ChargeLookup) -> Report | Refusal | None:
        """What a webhook would tell of a page that waits for its payer; None while it may still be paid there."""
        ...

    async def charge_saved_method(
        self,
        method_id: str,
        amount: Decimal,
        currency: str,
        payment_id: str,
        account: Account | None,
        *,
        return_url: str | None,
        key: str,
    ) -> ProviderCharge | Refusal:
        """Charge `amount` to a saved method with nobody present.

        A payer who has to confirm it does so on the charge's page, and goes on to `return_url` from there.
        """
        ...

    async def register_method(
        self,
        account: Account,
        urls: Urls,
        *,
        kinds: Sequence[str],
        off_session: bool,
        make_default: bool,
        max_amount: Decimal | None,
        key: str,
    ) -> Setup | Refusal:
        """A page on which the customer saves a payment method."""
        ...

    async def list_methods(self, account: Account) -> Sequence[Method] | Refusal:
        """The customer's saved methods, the default first."""
        ...

    async def get_payment(self, lookup: ChargeLookup) -> ProviderCharge | Refusal | None:
        """The charge made for our payment, by its id there or else by ours; None when there is none."""
        ...

    async def refund(self, gateway_payment_id: str, amount: Decimal, *, key: str) -> SentBack | Refusal:
        """Send `amount` of a charge back."""
        ...

    async def push_invoice(self, bill: ProviderInvoice, *, key: str) -> str | Refusal:
        """Copy an invoice; the id of the copy."""
        ...

    async def mark_invoice_paid(self, provider_invoice_id: str, *, key: str) -> Refusal | None:
        """Tell the copy that it was paid elsewhere."""
        ...

    async def void_invoice(self, provider_invoice_id: str, *, key: str) -> Refusal | None:
        """Cancel the copy."""
        ...

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Sequence[Report]:
        """The events in a webhook, once its signature over the raw body is proven. Header names in lower case.

        Raises BadSignature, and ValueError for a signed body that cannot be read.
        """
        ...

    async def follow_up(self, report: Report) -> Report | Refusal:
        """Do at the provider what must be done, or ask what must be known, before a report takes effect here.

        The report as it then is. May be called again for the same report.
        """
        ...
