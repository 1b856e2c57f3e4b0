"""Writing notes, attaching files, reading and taking them away.

Rule: docs/rules/annotations.md#notes-and-attachments
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.tables import Customer
from farthing.invoices.annotations.file_kinds import clean_name, require_kind
from farthing.invoices.annotations.tables import AnnotatedType, AttachmentContent, AttachmentRow, InternalNote
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find, insert_if_new, lock_row

LONGEST_NOTE = 5_000
MOST_ATTACHMENTS = 50
MOST_NOTES_SHOWN = 200


@dataclass(frozen=True, slots=True)
class AnnotationSubject:
    """What an annotation is about, who leaves it, and the key with which a repeat comes again."""

    entity_type: AnnotatedType
    entity_id: str
    author_id: str
    author_name: str
    key: str


async def write_note(session: AsyncSession, about: AnnotationSubject, body: str) -> InternalNote:
    """Write a note; a repeat writes nothing. Raises NotFound, and ValidationFailed for an empty or endless one."""
    text = body.strip()
    if not text:
        raise ValidationFailed.of("body", "must not be empty")
    if len(text) > LONGEST_NOTE:
        raise ValidationFailed.of("body", f"must have at most {LONGEST_NOTE:,} characters")
    note = InternalNote(
        id=new_id(Kind.INTERNAL_NOTE),
        entity_type=about.entity_type,
        entity_id=about.entity_id,
        customer_id=await _customer_of(session, about),
        body=text,
        author_id=about.author_id,
        author_name=about.author_name,
        idempotency_key=_key(about, text),
    )
    await insert_if_new(session, note)
    return note


async def attach_file(session: AsyncSession, about: AnnotationSubject, file_name: str, content: bytes) -> None:
    """Store a file beside an entity; a repeat stores nothing.

    Raises NotFound, ValidationFailed for a file of another kind or size, and InvalidOperation for too many.
    """
    name = clean_name(file_name)
    kind = require_kind(name, content)
    customer_id = await _customer_of(session, about)
    await lock_row(session, Customer, customer_id)  # so that files are counted one after the other
    sha256 = hashlib.sha256(content).hexdigest()
    attachment = AttachmentRow(
        id=new_id(Kind.ATTACHMENT),
        entity_type=about.entity_type,
        entity_id=about.entity_id,
        customer_id=customer_id,
        file_name=name,
        media_type=kind.media_type,
        size_bytes=len(content),
        sha256=sha256,
        author_id=about.author_id,
        author_name=about.author_name,
        idempotency_key=_key(about, f"{name} {sha256}"),
    )
    if not await insert_if_new(session, attachment):
        return
    query = select(func.count()).select_from(AttachmentRow).where(AttachmentRow.entity_id == about.entity_id)
    if (await session.scalar(query) or 0) > MOST_ATTACHMENTS:
        raise InvalidOperation(f"at most {MOST_ATTACHMENTS} files can be attached", {"entity_id": about.entity_id})
    row = AttachmentContent(
        attachment_id=attachment.id, content=content, environment_id=scope_of(session).environment_id
    )
    session.add(row)
    await session.flush()


async def notes_of(session: AsyncSession, entity_id: str) -> Sequence[InternalNote]:
    """The newest notes about an entity."""
    query = select(InternalNote).where(InternalNote.entity_id == entity_id)
    order = (InternalNote.created_at.desc(), InternalNote.id.desc())
    return (await session.scalars(query.order_by(*order).limit(MOST_NOTES_SHOWN))).all()


async def attachments_of(session: AsyncSession, entity_id: str) -> Sequence[AttachmentRow]:
    """The files beside an entity, newest first."""
    query = select(AttachmentRow).where(AttachmentRow.entity_id == entity_id)
    return (await session.scalars(query.order_by(AttachmentRow.created_at.desc(), AttachmentRow.id.desc()))).all()


async def content_of(session: AsyncSession, attachment: AttachmentRow) -> bytes:
    """The bytes of an attachment."""
    query = select(AttachmentContent.content).where(AttachmentContent.attachment_id == attachment.id)
    return (await session.scalars(query)).one()


async def remove_note(session: AsyncSession, note_id: str) -> InternalNote:
    """Take a note away; the activity log keeps that it was there. Raises NotFound."""
    note = await lock_row(session, InternalNote, note_id)
    await session.delete(note)
    await session.flush()
    return note


async def remove_attachment(session: AsyncSession, attachment_id: str) -> AttachmentRow:
    """Take a file away with its content. Raises NotFound."""
    attachment = await lock_row(session, AttachmentRow, attachment_id)
    await session.execute(delete(AttachmentContent).where(AttachmentContent.attachment_id == attachment.id))
    await session.delete(attachment)
    await session.flush()
    return attachment


async def forget_attachments(session: AsyncSession, customer_id: str) -> int:
    """Take away all files about a customer and its invoices; how many there were."""
    ids = list(await session.scalars(select(AttachmentRow.id).where(AttachmentRow.customer_id == customer_id)))
    for attachment_id in ids:
        await remove_attachment(session, attachment_id)
    return len(ids)


def _key(about: AnnotationSubject, left: str) -> str:
    """What a repeat has in common with the first: another text or file with the same key is no repeat."""
    return hashlib.sha256(f"{about.key} {left}".encode()).hexdigest()[:50]


async def _customer_of(session: AsyncSession, about: AnnotationSubject) -> str:
    """The customer of what is annotated. Raises NotFound."""
    if about.entity_type is AnnotatedType.CUSTOMER:
        return (await find(session, Customer, about.entity_id)).id
    return (await find(session, Invoice, about.entity_id)).customer_id
