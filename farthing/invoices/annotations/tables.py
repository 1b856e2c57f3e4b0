"""Tables of notes and attachments."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, InEnvironment, Scoped, Tracked, enum_column


class AnnotatedType(StrEnum):
    """What can be annotated."""

    CUSTOMER = "customer"
    INVOICE = "invoice"


class Annotation(Scoped, Tracked):
    """What every annotation says: what it is about, and who left it. A form sent twice leaves one."""

    entity_type: Mapped[AnnotatedType] = mapped_column(enum_column(AnnotatedType))
    entity_id: Mapped[str] = mapped_column(String(50))
    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    author_id: Mapped[str] = mapped_column(String(50))
    author_name: Mapped[str] = mapped_column(String(320))
    """What the author was called then."""
    idempotency_key: Mapped[str] = mapped_column(String(50))


class InternalNote(Annotation, Base):
    """What somebody of the staff wrote; the customer is the one it is about, or whom the invoice asks."""

    __tablename__ = "internal_notes"
    label = "Note"
    audit = Audited(
        "internal_note", named_by=(), named_after=("entity_id",), bookkeeping=frozenset({"idempotency_key"})
    )

    body: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("body <> ''", name="body_written"),
        # a form sent twice writes one note
        Index("uq_internal_notes_idempotency_key", "environment_id", "idempotency_key", unique=True),
        # the notes of a page, newest first
        Index("ix_internal_notes_entity", "environment_id", "entity_id", "created_at", "id"),
    )


class AttachmentRow(Annotation, Base):
    """A file beside a customer or an invoice; its content is a row of its own."""

    __tablename__ = "attachments"
    label = "Attachment"
    audit = Audited("attachment", named_by=("file_name",), bookkeeping=frozenset({"idempotency_key", "sha256"}))

    file_name: Mapped[str] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(99))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))

    __table_args__ = (
        CheckConstraint("size_bytes > 0", name="size_positive"),
        Index("uq_attachments_idempotency_key", "environment_id", "idempotency_key", unique=True),
        Index("ix_attachments_entity", "environment_id", "entity_id", "created_at", "id"),
        # what erasing a customer takes away
        Index("ix_attachments_customer", "environment_id", "customer_id"),
    )


class AttachmentContent(InEnvironment, Base):
    """The bytes of an attachment."""

    __tablename__ = "attachment_contents"
    label = "Content of an attachment"

    id = None  # type: ignore[assignment]  # it is its attachment's
    attachment_id: Mapped[str] = mapped_column(String(50))
    content: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (PrimaryKeyConstraint("attachment_id"),)
