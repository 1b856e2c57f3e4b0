"""Every event that an endpoint can want: its name, when it is recorded, and the shape of its body.

Rule: docs/rules/recorded-events.md#bodies
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from farthing.notifications.webhooks import payloads
from farthing.notifications.webhooks.payloads import WebhookPayload

REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class CataloguedEvent:
    """One event."""

    name: str
    description: str
    payload: type[WebhookPayload]


def _events() -> Iterator[CataloguedEvent]:
    for (entity, payload), descriptions in _BY_ENTITY.items():
        for name, description in descriptions.items():
            yield CataloguedEvent(f"{entity}.{name}", description, payload)


_BY_ENTITY: Mapping[tuple[str, type[WebhookPayload]], Mapping[str, str]] = {
    ("customer", payloads.CustomerPayload): {
        "created": "A customer was created.",
        "updated": "A customer was changed.",
        "deleted": "A customer was deleted.",
    },
    ("feature", payloads.FeaturePayload): {
        "created": "A feature was created.",
        "updated": "A feature was changed.",
        "deleted": "A feature was deleted.",
    },
    ("feature", payloads.FeatureBalancePayload): {
        "wallet_balance.alert": "The balance for a feature went beyond a threshold, or came back.",
    },
    ("entitlement", payloads.EntitlementPayload): {
        "created": "An entitlement was created.",
        "updated": "An entitlement was changed.",
        "deleted": "An entitlement was deleted.",
    },
    ("entitlement", payloads.GrantExhaustedPayload): {
        "grant.exhausted": "The usage that an entitlement grants for a while is used up.",
    },
    ("subscription", payloads.SubscriptionPayload): {
        "created": "A subscription was created and is in force.",
        "draft.created": "A subscription was created as a draft.",
        "activated": "A draft or a trial became active.",
        "updated": "A subscription was changed; it precedes any more special event.",
        "paused": "A subscription was paused.",
        "resumed": "A paused subscription goes on.",
        "cancelled": "A subscription was cancelled.",
        "plan_changed": "A subscription moved to another plan.",
        "renewal.due": "The current period ends within 24 hours and the next one begins.",
    },
    ("subscription.phase", payloads.PhasePayload): {
        "created": "A phase was planned.",
        "updated": "A planned phase was changed.",
        "deleted": "A planned phase was deleted.",
    },
    **{
        (f"subscription.{scope}", payloads.SpendPayload): {
            "threshold_reached": f"The spend of {what} in the current period reached a threshold.",
            "threshold_recovered": f"The spend of {what} in the current period is below its thresholds again.",
        }
        for scope, what in (
            ("spend", "a subscription"),
            ("line_item_spend", "a line item"),
            ("group_spend", "a group of line items"),
        )
    },
    ("invoice", payloads.InvoicePayload): {
        "create.drafted": "A draft was made, or first computed to an amount.",
        "update": "A draft or an invoice was changed or computed again.",
        "update.finalized": "An invoice got its number and is payable.",
        "update.payment": "What was paid, credited or refunded on an invoice changed.",
        "update.voided": "An invoice was voided.",
        "payment.overdue": "An invoice passed its due date unpaid; once for each due date.",
    },
    ("invoice", payloads.InvoiceCommunicationPayload): {
        "communication.triggered": "Somebody asked for an invoice to be sent.",
    },
    ("payment", payloads.PaymentPayload): {
        "created": "A payment was created.",
        "updated": "A payment was changed.",
        "pending": "A payment waits for its payer or its provider.",
        "success": "A payment succeeded.",
        "failed": "A payment failed.",
    },
    ("refund", payloads.RefundPayload): {
        "created": "A refund was created.",
        "succeeded": "A refund reached its recipient.",
        "failed": "A refund failed.",
    },
    ("payment_method", payloads.PaymentMethodPayload): {
        "expiring": "A saved payment method is about to expire.",
    },
    ("credit_note", payloads.CreditNotePayload): {
        "created": "A credit note was created.",
        "updated": "A credit note was finalized or voided.",
    },
    ("wallet", payloads.WalletPayload): {
        "created": "A wallet was created.",
        "updated": "A wallet was changed.",
        "terminated": "A wallet was closed.",
    },
    ("wallet.transaction", payloads.WalletTransactionPayload): {
        "created": "Credits were added to a wallet, or taken from it.",
    },
    ("wallet.transaction", payloads.UpdatedWalletTransactionPayload): {
        "updated": "A pending transaction of a wallet was completed, or failed.",
    },
    **{
        (f"wallet.{balance}", payloads.WalletAlertPayload): {
            "dropped": f"The {what} of a wallet fell to a threshold.",
            "recovered": f"The {what} of a wallet is above its thresholds again.",
        }
        for balance, what in (("credit_balance", "credit balance"), ("ongoing_balance", "real-time balance"))
    },
    ("wallet.ongoing_balance", payloads.WalletBalancePayload): {
        "updated": "The real-time balance of a wallet was computed and differs from before.",
    },
    ("checkout.session", payloads.CheckoutSessionPayload): {
        "initiated": "A checkout was begun.",
        "completed": "A checkout was paid.",
        "failed": "A checkout failed.",
        "expired": "A checkout ran out of time.",
    },
    ("event", payloads.RejectedEventPayload): {
        "rejected": "A usage event was stored and counts for no meter.",
    },
    ("webhook_endpoint", payloads.DisabledEndpointPayload): {
        "disabled": "An endpoint was disabled: it answered 410 Gone, or every attempt failed for five days.",
    },
}

EVENTS: Mapping[str, CataloguedEvent] = {event.name: event for event in sorted(_events(), key=lambda event: event.name)}
"""By name."""
