"""Endpoints of the notes about customers and invoices."""

from __future__ import annotations

from litestar import Controller, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.core.caller import READ, WRITE, Caller
from farthing.core.ids import new_ulid
from farthing.customers.tables import Customer
from farthing.invoices.annotations.annotating import AnnotationSubject, notes_of, write_note
from farthing.invoices.annotations.schemas import InternalNoteResponse, ListInternalNotesResponse, WriteNoteRequest
from farthing.invoices.annotations.tables import AnnotatedType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find


class CustomerNotes(Controller):
    """Notes about customers."""

    path = "/customers"
    tags = ("Customers",)

    @get("/{id:str}/notes", operation_id="listCustomerNotes", guards=[needs("customer", READ)])
    async def read(self, id: str, session: AsyncSession) -> ListInternalNotesResponse:
        """List the newest notes of the staff about a customer; the customer sees none of them."""
        return await _notes(session, (await find(session, Customer, id)).id)

    @post("/{id:str}/notes", operation_id="createCustomerNote", guards=[needs("customer", WRITE)])
    async def write(
        self, id: str, data: WriteNoteRequest, session: AsyncSession, caller: Caller
    ) -> InternalNoteResponse:
        """Write a note about a customer, which the customer does not see."""
        return await _write(session, caller, AnnotatedType.CUSTOMER, id, data)


class InvoiceNotes(Controller):
    """Notes about invoices."""

    path = "/invoices"
    tags = ("Invoices",)

    @get("/{id:str}/notes", operation_id="listInvoiceNotes", guards=[needs("invoice", READ)])
    async def read(self, id: str, session: AsyncSession) -> ListInternalNotesResponse:
        """List the newest notes of the staff about an invoice; the customer sees none of them."""
        return await _notes(session, (await find(session, Invoice, id)).id)

    @post("/{id:str}/notes", operation_id="createInvoiceNote", guards=[needs("invoice", WRITE)])
    async def write(
        self, id: str, data: WriteNoteRequest, session: AsyncSession, caller: Caller
    ) -> InternalNoteResponse:
        """Write a note about an invoice, which the customer does not see."""
        return await _write(session, caller, AnnotatedType.INVOICE, id, data)


async def _write(
    session: AsyncSession, caller: Caller, entity_type: AnnotatedType, entity_id: str, data: WriteNoteRequest
) -> InternalNoteResponse:
    about = AnnotationSubject(entity_type, entity_id, caller.user_id, caller.actor.label, new_ulid())
    return InternalNoteResponse.of(await write_note(session, about, data.body))


async def _notes(session: AsyncSession, entity_id: str) -> ListInternalNotesResponse:
    return ListInternalNotesResponse(
        items=[InternalNoteResponse.of(note) for note in await notes_of(session, entity_id)]
    )
