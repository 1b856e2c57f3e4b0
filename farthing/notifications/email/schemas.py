"""Mails as they travel."""

from __future__ import annotations

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import Response, Timestamp
from farthing.notifications.email.tables import EmailKind, EmailState
from farthing.storage.queries.listing import ListQuery


class EmailQuery(ListQuery):
    """Which mails of a customer are asked for."""

    status: EmailState | None = None  # type: ignore[assignment]  # how far a mail is; none is ever deleted
    kind: EmailKind | None = None
    invoice_id: str | None = None


class EmailResponse(Response):
    """A mail, without its text."""

    id: str
    kind: EmailKind
    entity_id: str
    customer_id: str
    status: EmailState
    attempts: int
    created_at: Timestamp
    invoice_id: str | None = None
    recipient: str | None = None
    subject: str | None = None
    language: str | None = None
    reason: str | None = None
    next_attempt_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class ListEmailsResponse(Page[EmailResponse]):
    """One page of mails, newest first."""

    items: list[EmailResponse]
