"""The words of a subscription: its states and the choices a caller has. Values are the wire's."""

from __future__ import annotations

from enum import StrEnum


class SubscriptionStatus(StrEnum):
    """Where a subscription stands; what may follow what is in `states`."""

    DRAFT = "draft"
    INCOMPLETE = "incomplete"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class SubscriptionType(StrEnum):
    """How a subscription relates to others and to who pays.

    INHERITED ones have no line items and no invoices: their customer's usage counts under the parent.
    GROUPED_INVOICING ones have line items of their own that appear on the parent's invoices only.
    """

    STANDALONE = "standalone"
    DELEGATED_INVOICING = "delegated_invoicing"
    PARENT = "parent"
    INHERITED = "inherited"
    GROUPED_INVOICING = "grouped_invoicing"


class CollectionMethod(StrEnum):
    CHARGE_AUTOMATICALLY = "charge_automatically"
    SEND_INVOICE = "send_invoice"


class PaymentBehavior(StrEnum):
    """What a subscription's life makes of its opening invoice's payment."""

    DEFAULT_ACTIVE = "default_active"
    ALLOW_INCOMPLETE = "allow_incomplete"
    ERROR_IF_INCOMPLETE = "error_if_incomplete"
    DEFAULT_INCOMPLETE = "default_incomplete"


class ProrationBehavior(StrEnum):
    NONE = "none"
    CREATE_PRORATIONS = "create_prorations"


class CancellationType(StrEnum):
    IMMEDIATE = "immediate"
    END_OF_PERIOD = "end_of_period"
    SCHEDULED_DATE = "scheduled_date"


class CancelInvoicePolicy(StrEnum):
    """Whether an immediate cancellation bills what the open period owes so far."""

    SKIP = "skip"
    GENERATE_INVOICE = "generate_invoice"


class PauseStatus(StrEnum):
    NONE = "none"
    ACTIVE = "active"
    SCHEDULED = "scheduled"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class PauseMode(StrEnum):
    IMMEDIATE = "immediate"
    SCHEDULED = "scheduled"
    PERIOD_END = "period_end"


class ResumeMode(StrEnum):
    IMMEDIATE = "immediate"
    SCHEDULED = "scheduled"
    AUTO = "auto"


class ChangeAt(StrEnum):
    IMMEDIATE = "immediate"
    END_OF_PERIOD = "end_of_period"


class ScheduleType(StrEnum):
    PLAN_CHANGE = "plan_change"
    CANCELLATION = "cancellation"


class ScheduleStatus(StrEnum):
    PENDING = "pending"
    EXECUTING = "executing"
    EXECUTED = "executed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class AddonPolicy(StrEnum):
    """What a plan change does with an addon."""

    CARRY = "carry"
    DROP = "drop"


class ChangeType(StrEnum):
    """Whether a plan change makes a subscription dearer, cheaper or neither."""

    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    LATERAL = "lateral"


class LineItemOwner(StrEnum):
    """Where a line item came from."""

    PLAN = "plan"
    ADDON = "addon"
    SUBSCRIPTION = "subscription"


class CommitmentType(StrEnum):
    AMOUNT = "amount"
    QUANTITY = "quantity"


class AddonCadence(StrEnum):
    RECURRING = "recurring"
    ONETIME = "onetime"


class AddonStatus(StrEnum):
    """PENDING waits for a checkout to be paid; nothing of it is billed."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    PENDING = "pending"


class InvoiceTrigger(StrEnum):
    """Why an invoice of a subscription is made; the values are billing reasons of invoices."""

    CREATE = "SUBSCRIPTION_CREATE"
    CYCLE = "SUBSCRIPTION_CYCLE"
    UPDATE = "SUBSCRIPTION_UPDATE"
    TRIAL_START = "SUBSCRIPTION_TRIAL_START"
    TRIAL_END = "SUBSCRIPTION_TRIAL_END"
    FINAL = "PRORATION"
    THRESHOLD = "AUTO_INVOICE_THRESHOLD"


class UsageWindowStatus(StrEnum):
    """Whether the quota of a grant's usage window is used up."""

    ACTIVE = "active"
    EXHAUSTED = "exhausted"
