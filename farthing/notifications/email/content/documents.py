"""The documents that go with a mail: the PDF, and the e-invoice in the format that `email_config` names.

A mail is never kept back because its document has no e-invoice: it goes out with the plain PDF, and says so.
Rule: docs/rules/email.md#documents
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.file_names import file_name
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.credits.notes.document import note_pdf
from farthing.credits.notes.einvoice import issued_note
from farthing.credits.notes.tables import CreditNote
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.invoices.einvoice.assembly import IssuedDocument
from farthing.invoices.einvoice.files import make_file
from farthing.invoices.einvoice.issued import issued_invoice
from farthing.invoices.einvoice.model import Format
from farthing.invoices.reads import documents
from farthing.invoices.tables import Invoice


@dataclass(frozen=True, slots=True)
class MailAttachment:
    """A file that goes with a mail; its type is `application/` and `subtype`."""

    name: str
    subtype: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MailDocuments:
    """The files that go with a mail, and what is missing among them, in words."""

    attachments: tuple[MailAttachment, ...] = ()
    remark: str | None = None


NO_DOCUMENTS = MailDocuments()


async def invoice_documents(session: AsyncSession, invoice: Invoice) -> MailDocuments:
    """What goes with a mail about an invoice."""
    return await _documents(
        session,
        invoice.tenant_id,
        invoice.invoice_number or invoice.id,
        make_pdf=lambda: documents.pdf(session, invoice),
        read_issued=lambda: issued_invoice(session, invoice),
    )


async def note_documents(session: AsyncSession, note: CreditNote) -> MailDocuments:
    """What goes with a mail about a credit note."""
    return await _documents(
        session,
        note.tenant_id,
        note.credit_note_number,
        make_pdf=lambda: note_pdf(session, note),
        read_issued=lambda: issued_note(session, note),
    )


async def _documents(
    session: AsyncSession,
    tenant_id: str,
    number: str,
    *,
    make_pdf: Callable[[], Awaitable[bytes]],
    read_issued: Callable[[], Awaitable[IssuedDocument]],
) -> MailDocuments:
    wanted = (await read(session, EmailConfig)).attach_einvoice
    einvoice, remark = None, None
    if wanted != "none":
        try:
            file = await make_file(tenant_id, await read_issued(), Format(wanted))
        except (InvalidOperation, ValidationFailed) as error:
            remark = f"sent without its e-invoice ({wanted}): {error.message}"
        else:
            einvoice = MailAttachment(file.name, file.subtype, file.content)
    if einvoice is not None and einvoice.subtype == "pdf":
        return MailDocuments((einvoice,))
    pdf = MailAttachment(file_name(f"{number}.pdf"), "pdf", await make_pdf())
    return MailDocuments((pdf,) if einvoice is None else (pdf, einvoice), remark)
