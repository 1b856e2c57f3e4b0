"""Tables of credit notes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.money import ZERO
from farthing.core.states import StateMachine
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class CreditNoteStatus(StrEnum):
    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    VOIDED = "VOIDED"


CREDIT_NOTE = StateMachine(
    "credit note",
    {
        CreditNoteStatus.DRAFT: (CreditNoteStatus.FINALIZED, CreditNoteStatus.VOIDED),
        CreditNoteStatus.FINALIZED: (CreditNoteStatus.VOIDED,),
    },
)


class CreditNoteType(StrEnum):
    """ADJUSTMENT lowers what is unpaid; REFUND gives back what was paid."""

    ADJUSTMENT = "ADJUSTMENT"
    REFUND = "REFUND"


class CreditNoteReason(StrEnum):
    DUPLICATE = "DUPLICATE"
    FRAUDULENT = "FRAUDULENT"
    ORDER_CHANGE = "ORDER_CHANGE"
    UNSATISFACTORY = "UNSATISFACTORY"
    SERVICE_ISSUE = "SERVICE_ISSUE"
    BILLING_ERROR = "BILLING_ERROR"
    SUBSCRIPTION_CANCELLATION = "SUBSCRIPTION_CANCELLATION"


class CreditNote(Scoped, Tracked, Base):
    """A correction of one invoice; amounts are gross, in the invoice's currency."""

    __tablename__ = "credit_notes"
    label = "Credit note"
    audit = Audited(
        "credit_note",
        named_by=("credit_note_number",),
        bookkeeping=frozenset({"request_hash", "derived_key", "settlement_key", "invoice_version", "split_is_exact"}),
    )

    credit_note_number: Mapped[str] = mapped_column(String(100))
    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoices.id"))
    customer_id: Mapped[str] = mapped_column(String(50))
    subscription_id: Mapped[str | None] = mapped_column(String(50))
    credit_note_status: Mapped[CreditNoteStatus] = mapped_column(enum_column(CreditNoteStatus))
    credit_note_type: Mapped[CreditNoteType] = mapped_column(enum_column(CreditNoteType))
    reason: Mapped[CreditNoteReason] = mapped_column(enum_column(CreditNoteReason))
    memo: Mapped[str] = mapped_column(Text, default="")
    currency: Mapped[str] = mapped_column(String(3))
    total_amount: Mapped[Decimal]
    net_amount: Mapped[Decimal]
    tax_amount: Mapped[Decimal]
    to_wallet: Mapped[Decimal] = mapped_column(default=ZERO)
    to_source: Mapped[Decimal] = mapped_column(default=ZERO)
    to_next_invoice: Mapped[Decimal] = mapped_column(default=ZERO)
    """How a refund is to be split."""
    split_is_exact: Mapped[bool] = mapped_column(default=False)
    """Whether a caller stated the split, so that what no payment can take back is refused and not left to a wallet."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    idempotency_key: Mapped[str] = mapped_column(String(255))
    derived_key: Mapped[bool] = mapped_column(default=False)
    """Whether the key was derived from what was asked, not chosen by a caller; a voided note frees such a key."""
    request_hash: Mapped[str] = mapped_column(String(64))
    """Tells a repeat of the request from another one."""
    invoice_version: Mapped[int | None]
    """The version of its invoice right after it took effect: with any other, something else has changed it since."""
    settlement_key: Mapped[str | None] = mapped_column(String(100))
    """The settlement of a subscription's change that made it; None for what somebody asked for."""
    correction_id: Mapped[str | None] = mapped_column(String(50))
    """The correction of usage that made it; None for what somebody asked for."""
    finalized_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "total_amount > 0 AND net_amount >= 0 AND tax_amount >= 0 AND total_amount = net_amount + tax_amount",
            name="net_and_tax",
        ),
        CheckConstraint(
            "to_wallet >= 0 AND to_source >= 0 AND to_next_invoice >= 0 AND to_wallet + to_source + to_next_invoice "
            "= CASE credit_note_type WHEN 'REFUND' THEN total_amount ELSE 0 END",
            name="split_is_whole",
        ),
        CheckConstraint("(credit_note_status = 'FINALIZED') <= (finalized_at IS NOT NULL)", name="finalized_has_time"),
        CheckConstraint("(credit_note_status = 'VOIDED') = (voided_at IS NOT NULL)", name="voided_has_time"),
        lower_case(),
        Index("uq_credit_notes_number", "environment_id", "credit_note_number", unique=True),
        Index(
            "uq_credit_notes_idempotency_key",
            "environment_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("NOT derived_key OR credit_note_status <> 'VOIDED'"),
        ),
        # the notes of an invoice
        Index("ix_credit_notes_invoice", "environment_id", "invoice_id"),
        # what a settlement took back
        Index(
            "ix_credit_notes_settlement",
            "environment_id",
            "settlement_key",
            postgresql_where=text("settlement_key IS NOT NULL"),
        ),
        # the notes of a correction
        Index(
            "ix_credit_notes_correction",
            "environment_id",
            "correction_id",
            postgresql_where=text("correction_id IS NOT NULL"),
        ),
        # lists: newest first
        Index("ix_credit_notes_newest", "environment_id", "status", "created_at", "id"),
    )


class CreditNoteLine(Scoped, Tracked, Base):
    """What a note takes back of one line of the invoice: gross, and of that net and tax."""

    __tablename__ = "credit_note_line_items"
    label = "Credit note line item"

    credit_note_id: Mapped[str] = mapped_column(String(50), ForeignKey("credit_notes.id"))
    invoice_line_item_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoice_line_items.id"))
    display_name: Mapped[str] = mapped_column(Text, default="")
    amount: Mapped[Decimal]
    net_amount: Mapped[Decimal]
    tax_amount: Mapped[Decimal]
    source_net_amount: Mapped[Decimal | None]
    """The net in the currency of the line's charges, where its invoice was converted."""
    taxes: Mapped[list[Any]] = mapped_column(default=list)
    """The tax by rate: `tax_rate_id`, `name`, `code`, `rate` and `amount`, as text."""
    currency: Mapped[str] = mapped_column(String(3))
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    position: Mapped[int]

    @hybrid_property
    def charge_net(self) -> Decimal:
        """What it takes back, net, in the currency of the line's charges."""
        return self.net_amount if self.source_net_amount is None else self.source_net_amount

    @charge_net.inplace.expression
    @classmethod
    def _charge_net(cls) -> ColumnElement[Decimal]:
        return func.coalesce(cls.source_net_amount, cls.net_amount)

    __table_args__ = (
        CheckConstraint(
            "amount > 0 AND net_amount >= 0 AND tax_amount >= 0 AND amount = net_amount + tax_amount",
            name="net_and_tax",
        ),
        CheckConstraint("source_net_amount >= 0", name="source_not_negative"),
        lower_case(),
        # the lines of a note in their order
        Index("uq_credit_note_line_items_position", "credit_note_id", "position", unique=True),
        # what was credited of a line
        Index("ix_credit_note_line_items_line", "environment_id", "invoice_line_item_id"),
    )


class CreditNoteSequence(Scoped, Base):
    """The last number given out in one bucket of dates; `id` is the bucket within its environment."""

    __tablename__ = "credit_note_sequences"
    label = "Credit note sequence"

    id: Mapped[str] = mapped_column(String(50))
    environment_id: Mapped[str] = mapped_column(String(50))
    last_value: Mapped[int]

    __table_args__ = (PrimaryKeyConstraint("environment_id", "id"),)
