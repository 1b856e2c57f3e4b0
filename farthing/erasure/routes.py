"""The endpoint of erasing a customer.

Rule: docs/rules/erasure.md#how-to-ask-for-it
"""

from __future__ import annotations

from litestar import Controller, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.core.caller import DELETE
from farthing.core.clock import instant
from farthing.erasure.documents import KeptDocuments
from farthing.erasure.erase import erase
from farthing.erasure.schemas import EraseCustomerRequest, ErasureResponse, KeptDocumentsResponse
from farthing.erasure.usage import finish_usage

REASON = "Invoices and credit notes that were issued name their buyer for as long as books must be kept"


class CustomerErasure(Controller):
    """Erasing customers."""

    path = "/customers"
    tags = ("Customers",)

    @post("/{id:str}/erase", operation_id="eraseCustomer", guards=[needs("customer", DELETE)], status_code=200)
    async def erase(self, id: str, session: AsyncSession, data: EraseCustomerRequest | None = None) -> ErasureResponse:
        """Write over everything that names a customer, archiving it; the books stay whole."""
        erasure = await erase(session, id, (data or EraseCustomerRequest()).documents)
        await finish_usage(session)
        return ErasureResponse(
            customer_id=erasure.customer_id,
            external_id=erasure.external_id,
            erased_at=instant(erasure.erased_at),
            rows=dict(erasure.rows),
            documents=_kept(erasure.kept),
        )


def _kept(documents: KeptDocuments | None) -> KeptDocumentsResponse | None:
    if documents is None:
        return None
    return KeptDocumentsResponse(count=documents.count, until=instant(documents.until), reason=REASON)
