"""Mails become rows: of the events that a transaction records, of what a duty finds, and of what somebody asks for.

Rule: docs/rules/email.md#which-mails-there-are
Rule: docs/rules/email.md#receipts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from farthing.core.clock import instant
from farthing.core.ids import Kind, new_ulid, stable_id
from farthing.core.money import plain
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.tables import Invoice
from farthing.notifications.email.tables import EmailKind
from farthing.storage.ports import CompanionStatement
from farthing.storage.postgres import clock_of
from farthing.storage.scope import Scope

REPEATED_AFTER = timedelta(hours=1)
"""An event that says so much later than the change that something happened is one that somebody has sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEmail:
    """A mail to be queued. Who gets it is the payer of its invoice or subscription, else `customer_id`."""

    kind: EmailKind
    entity_id: str
    occasion: str
    customer_id: str = ""
    invoice_id: str | None = None
    subscription_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


_QUEUE = """
    INSERT INTO emails (
        id, tenant_id, environment_id, kind, entity_id, occasion, customer_id, invoice_id, details, state, attempts,
        queued_at, next_attempt_at, created_at
    )
    SELECT mail.id, scope.tenant_id, scope.environment_id, mail.kind, mail.entity_id, mail.occasion,
        coalesce(invoice.customer_id, subscription.payer_id, mail.customer_id), mail.invoice_id, mail.details,
        'queued', 0, CAST(:queued_at AS timestamptz), CAST(:queued_at AS timestamptz), CAST(:now AS timestamptz)
    FROM json_to_recordset(CAST(:mails AS json)) AS mail (
        id text, kind text, entity_id text, occasion text, customer_id text, invoice_id text, subscription_id text,
        details jsonb
    )
    CROSS JOIN (SELECT CAST(:tenant_id AS text) AS tenant_id, CAST(:environment_id AS text) AS environment_id) AS scope
    LEFT JOIN invoices AS invoice ON invoice.environment_id = scope.environment_id AND invoice.id = mail.invoice_id
    LEFT JOIN subscriptions AS subscription
        ON subscription.environment_id = scope.environment_id AND subscription.id = mail.subscription_id
    WHERE EXISTS (
        SELECT FROM settings WHERE tenant_id = scope.tenant_id AND environment_id = scope.environment_id
            AND key = 'email_config' AND status = 'published' AND (value ->> 'enabled')::boolean
            AND coalesce((value ->> mail.kind)::boolean, true)
    )
    ON CONFLICT (environment_id, kind, entity_id, occasion) DO NOTHING
    """


def queue_recorded(session: Session, events: Sequence[Mapping[str, Any]]) -> CompanionStatement | None:
    """Queue the mails of events that the session is about to write, by the statement that writes those."""
    readings = ((_READERS.get(event["event_name"]), event) for event in events)
    emails = [email for reader, event in readings if reader is not None and (email := reader(event)) is not None]
    return _queueing(session, emails) if emails else None


def queue(session: Session, emails: Sequence[NewEmail]) -> None:
    """Queue mails in the session's transaction: those that `email_config` wants and that are not queued yet."""
    session.flush()  # who pays is read from rows that may not be written yet
    statement = _queueing(session, emails)
    session.execute(text(statement.sql), statement.parameters)


async def queue_receipt_without_payment(session: AsyncSession, invoice: Invoice, received: Decimal) -> None:
    """Queue the receipt for what was received for an issued invoice by another way than a payment.

    It is still true as long as no less is paid than now.
    """
    email = NewEmail(
        kind=EmailKind.PAYMENT_RECEIPT,
        entity_id=invoice.id,
        occasion=f"received {new_ulid()}",
        customer_id=invoice.customer_id,
        invoice_id=invoice.id,
        details={
            "amount": plain(received),
            "paid": plain(invoice.amount_paid),
            "received_at": instant(clock_of(session).now()),
        },
    )
    await session.run_sync(queue, [email])


def _queueing(session: Session, emails: Sequence[NewEmail]) -> CompanionStatement:
    scope: Scope = session.info["scope"]
    rows = [{**asdict(email), "id": email_id(scope.environment_id, email)} for email in emails]
    parameters = {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "mails": msgspec.json.encode(rows).decode(),
        "now": session.info["clock"].now(),
        # mail servers live in real time, whatever an environment's test clock says
        "queued_at": session.info["real_clock"].now(),
    }
    return CompanionStatement(_QUEUE, parameters)


def email_id(environment_id: str, email: NewEmail) -> str:
    """The same for the same kind, entity and occasion."""
    return stable_id(Kind.EMAIL, environment_id, email.kind.value, email.entity_id, email.occasion)


def _of_issued_invoice(event: Mapping[str, Any]) -> NewEmail | None:
    invoice = event["payload"]["invoice"]
    finalized_at = invoice.get("finalized_at")
    if not finalized_at or event["created_at"] - datetime.fromisoformat(finalized_at) > REPEATED_AFTER:
        return None
    return NewEmail(
        kind=EmailKind.INVOICE_ISSUED,
        entity_id=invoice["id"],
        occasion="issued",
        customer_id=invoice["customer_id"],
        invoice_id=invoice["id"],
    )


def _of_payment(kind: EmailKind, event: Mapping[str, Any]) -> NewEmail | None:
    payment = event["payload"]["payment"]
    if payment["destination_type"] != "INVOICE":
        return None
    return NewEmail(
        kind=kind, entity_id=payment["id"], occasion=payment["payment_status"], invoice_id=payment["destination_id"]
    )


def _of_credit_note(event: Mapping[str, Any]) -> NewEmail | None:
    note = event["payload"]["credit_note"]
    if note["credit_note_status"] != "FINALIZED":
        return None
    return NewEmail(
        kind=EmailKind.CREDIT_NOTE,
        entity_id=note["id"],
        occasion="issued",
        customer_id=note["customer_id"],
        invoice_id=note["invoice_id"],
    )


def _of_low_balance(event: Mapping[str, Any]) -> NewEmail:
    wallet = event["payload"]["wallet"]
    return NewEmail(
        kind=EmailKind.LOW_BALANCE,
        entity_id=wallet["id"],
        # a balance that goes up and down all day is one mail
        occasion=event["created_at"].date().isoformat(),
        customer_id=wallet["customer_id"],
        details={"event": event["event_name"]},
    )


def _of_renewal(event: Mapping[str, Any]) -> NewEmail:
    subscription = event["payload"]["subscription"]
    return NewEmail(
        kind=EmailKind.RENEWAL_NOTICE,
        entity_id=subscription["id"],
        occasion=subscription["current_period_end"],
        customer_id=subscription["customer_id"],
        subscription_id=subscription["id"],
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], NewEmail | None]] = MappingProxyType(
    {
        InvoiceEvent.FINALIZED.value: _of_issued_invoice,
        "payment.success": lambda event: _of_payment(EmailKind.PAYMENT_RECEIPT, event),
        "payment.failed": lambda event: _of_payment(EmailKind.PAYMENT_FAILED, event),
        "credit_note.created": _of_credit_note,
        "credit_note.updated": _of_credit_note,
        "wallet.credit_balance.dropped": _of_low_balance,
        "wallet.ongoing_balance.dropped": _of_low_balance,
        "subscription.renewal.due": _of_renewal,
    }
)
"""What each event makes, by its name; no other event makes a mail."""
