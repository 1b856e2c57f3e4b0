"""Tables of dunning: the case of each invoice whose charge failed, and what customers get of their own."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column


class DunningStatus(StrEnum):
    """Where a case is. The first two are open: a step is still to come."""

    RETRYING = "retrying"
    WAITING_FOR_METHOD = "waiting_for_method"
    """The payer's method will never work: nothing is tried until there is another."""
    RECOVERED = "recovered"
    ENDED = "ended"
    """The invoice was voided or written off by somebody, or is left to a marketplace."""
    STOPPED = "stopped"
    """Somebody stopped it."""
    EXHAUSTED = "exhausted"
    """Nothing helped, and the final action was taken."""


OPEN_CASES = (DunningStatus.RETRYING, DunningStatus.WAITING_FOR_METHOD)


class FinalAction(StrEnum):
    """What is done when nothing helped."""

    NONE = "none"
    MARK_UNCOLLECTIBLE = "mark_uncollectible"
    PAUSE = "pause"
    CANCEL = "cancel"


class DunningCase(Scoped, Tracked, Base):
    """An invoice whose automatic charge failed. The terms are those of the customer when it first did."""

    __tablename__ = "dunning_cases"
    label = "Dunning case"
    audit = Audited(
        "dunning_case",
        named_by=(),
        named_after=("invoice_id",),
        bookkeeping=frozenset({"payment_id", "next_at"}),
    )

    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoices.id"))
    customer_id: Mapped[str] = mapped_column(String(50))
    subscription_id: Mapped[str] = mapped_column(String(50))
    case_status: Mapped[DunningStatus] = mapped_column(enum_column(DunningStatus))
    first_failed_at: Mapped[datetime]
    retry_days: Mapped[list[Any]]
    """Days after the first failure, ascending."""
    final_action: Mapped[FinalAction] = mapped_column(enum_column(FinalAction))
    retries_made: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None]
    """When the next step falls due; while one is in hand, when somebody else may take it up. NULL when it is over."""
    payment_id: Mapped[str | None] = mapped_column(String(50))
    """The payment of the latest retry: its failure moves the case on."""
    last_error: Mapped[str | None] = mapped_column(Text)
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "(next_at IS NOT NULL) = (case_status IN ('retrying', 'waiting_for_method')) "
            "AND (closed_at IS NULL) = (next_at IS NOT NULL)",
            name="open_has_next_step",
        ),
        CheckConstraint(
            "jsonb_array_length(retry_days) > 0 AND retries_made BETWEEN 0 AND jsonb_array_length(retry_days)",
            name="retries_within_schedule",
        ),
        # an invoice has one case, whoever reports its failure
        Index("uq_dunning_cases_invoice", "environment_id", "invoice_id", unique=True),
        # what is due, soonest first: few of all cases are open
        Index("ix_dunning_cases_due", "environment_id", "next_at", postgresql_where=text("next_at IS NOT NULL")),
        # is a retry still to come for this subscription, what of a payer to start again
        Index(
            "ix_dunning_cases_subscription",
            "environment_id",
            "subscription_id",
            postgresql_where=text("next_at IS NOT NULL"),
        ),
        Index("ix_dunning_cases_customer", "environment_id", "customer_id"),
        # lists: newest first
        Index("ix_dunning_cases_newest", "environment_id", "created_at", "id"),
    )


class CustomerDunning(Scoped, Tracked, Base):
    """What a customer gets of its own; what is NULL is as the environment's setting says. `id` is the customer's."""

    __tablename__ = "customer_dunning"
    label = "Dunning of a customer"
    audit = Audited("customer", named_by=(), named_after=("id",), action_prefix="customer_dunning")

    is_enabled: Mapped[bool | None]
    retry_days: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    final_action: Mapped[FinalAction | None] = mapped_column(enum_column(FinalAction))
