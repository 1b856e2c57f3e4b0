"""What travels about notes."""

from __future__ import annotations

from farthing.core.encoding.wire import Request, Response, Timestamp
from farthing.invoices.annotations.tables import AnnotatedType


class WriteNoteRequest(Request):
    """A note: text of at most 5,000 characters."""

    body: str


class InternalNoteResponse(Response):
    """A note, with what its author was called then."""

    id: str
    entity_type: AnnotatedType
    entity_id: str
    customer_id: str
    body: str
    author_id: str
    author_name: str
    created_at: Timestamp


class ListInternalNotesResponse(Response):
    """The newest 200 notes, newest first."""

    items: list[InternalNoteResponse]
