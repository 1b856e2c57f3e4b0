"""Erasures as they travel."""

from __future__ import annotations

from farthing.core.encoding.wire import Request, Response, Timestamp
from farthing.erasure.erase import DocumentsChoice


class EraseCustomerRequest(Request):
    """How a customer is erased."""

    documents: DocumentsChoice = DocumentsChoice.KEEP


class KeptDocumentsResponse(Response):
    """Issued documents that go on naming the customer."""

    count: int
    until: Timestamp
    reason: str


class ErasureResponse(Response):
    """What was erased, and what is kept."""

    customer_id: str
    external_id: str
    erased_at: Timestamp
    rows: dict[str, int]
    documents: KeptDocumentsResponse | None = None
