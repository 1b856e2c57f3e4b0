"""Tables of invoices. What the database can promise is promised here; code does not check it again."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Computed,
    ForeignKey,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.fx.tables import RateNumber
from farthing.core.money import plain
from farthing.invoices.receivable import (
    COUNTED,
    LISTED_UNCOUNTED,
    UNPAID,
    BillingReason,
    InvoiceStatus,
    InvoiceType,
    PaymentStatus,
)
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case

_ZERO = Decimal(0)


CONVERSION = (
    "charged_in, fx_rate, fx_rate_id, fx_scope, converted_at, source_subtotal, source_total_discount, "
    "source_total_prepaid_credits_applied"
)
"""The columns that say how an invoice was converted."""


class Invoice(Scoped, Tracked, Base):
    """One invoice; all amounts in its currency's major unit.

    `customer_id` is who pays; `subscription_customer_id` who owns the subscription billed, when there is one.
    """

    __tablename__ = "invoices"
    label = "Invoice"
    audit = Audited(
        "invoice",
        named_by=("invoice_number",),
        is_created_by_event=True,
        bookkeeping=frozenset(
            {
                "version",
                "collect_at",
                "recompute_at",
                "overdue_notified_at",
                "usage_watermark",
                "last_computed_at",
                "derived_key",
                "settles_at_zero",
                "coupon_terms",
                "tax_terms",
                "latest_attempt_failed",
                "opening_credit",
                "opening_credit_terms",
                "due_date_at_issue",
                "due_date_moved",
                "seller_version_id",
                "buyer_version_id",
                "net_total",
                "net_usage",
                "usage_remaining",
                "scale_arrears",
                "owner_id",
            }
        ),
    )

    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    subscription_id: Mapped[str | None] = mapped_column(String(50))
    subscription_customer_id: Mapped[str | None] = mapped_column(String(50))
    owner_id: Mapped[str] = mapped_column(
        String(50), Computed("coalesce(subscription_customer_id, customer_id)", persisted=True)
    )
    """Who incurred the charges; the payer when no subscription is billed."""
    currency: Mapped[str] = mapped_column(String(3))
    invoice_type: Mapped[InvoiceType] = mapped_column(enum_column(InvoiceType))
    invoice_status: Mapped[InvoiceStatus] = mapped_column(enum_column(InvoiceStatus), default=InvoiceStatus.DRAFT)
    payment_status: Mapped[PaymentStatus] = mapped_column(enum_column(PaymentStatus), default=PaymentStatus.PENDING)
    billing_reason: Mapped[BillingReason | None] = mapped_column(enum_column(BillingReason))

    subtotal: Mapped[Decimal] = mapped_column(default=_ZERO)
    total_discount: Mapped[Decimal] = mapped_column(default=_ZERO)
    total_prepaid_credits_applied: Mapped[Decimal] = mapped_column(default=_ZERO)
    total_tax: Mapped[Decimal] = mapped_column(default=_ZERO)
    total: Mapped[Decimal] = mapped_column(default=_ZERO)
    adjustment_amount: Mapped[Decimal] = mapped_column(default=_ZERO)
    amount_due: Mapped[Decimal] = mapped_column(default=_ZERO)
    amount_paid: Mapped[Decimal] = mapped_column(default=_ZERO)
    amount_remaining: Mapped[Decimal] = mapped_column(default=_ZERO)
    refunded_amount: Mapped[Decimal] = mapped_column(default=_ZERO)
    net_total: Mapped[Decimal] = mapped_column(default=_ZERO)
    """Sum of what each published line still stands for after discounts and credits."""
    net_usage: Mapped[Decimal] = mapped_column(default=_ZERO)
    """The part of `net_total` on usage lines."""
    usage_remaining: Mapped[Decimal] = mapped_column(default=_ZERO)
    """The part of `amount_remaining` that is usage: its share of the net, rounded once."""

    checkout_session_id: Mapped[str | None] = mapped_column(String(50))
    """The checkout that it was made for: no credits and no money of its payer are taken for it, so that it asks for
    what the checkout asks for."""
    awaits_checkout: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Whether its checkout is open: until that ends nobody else changes, finalizes, pays or voids it.

    Rule: docs/rules/checkout.md#the-held-invoice
    """
    invoice_number: Mapped[str | None] = mapped_column(String(100))
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    derived_key: Mapped[bool] = mapped_column(default=False)
    """Whether billing derived the key from the period, rather than a caller choosing it."""
    billing_sequence: Mapped[int | None]
    description: Mapped[str] = mapped_column(Text, default="")
    reference_date: Mapped[datetime]
    """The instant at which what it charges became payable; terms of payment and tax points count from it."""
    due_date: Mapped[datetime | None]
    due_date_at_issue: Mapped[datetime | None]
    """The due date that the issued document names, where it was moved since; else that is `due_date`."""
    due_date_moved: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Whether the due date was moved after the invoice was issued."""
    derives_due_date: Mapped[bool] = mapped_column(default=False)
    """Whether the due date follows from the reference date and the terms of payment; else a caller decides it."""
    issue_date: Mapped[datetime | None]
    paid_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    written_off_at: Mapped[datetime | None]
    """When what remained was given up; NULL unless it is given up still."""
    written_off_amount: Mapped[Decimal | None]
    """What is lost of an invoice that is written off: what remains on it."""
    write_off_reason: Mapped[str | None] = mapped_column(String(500))
    finalized_at: Mapped[datetime | None]
    last_computed_at: Mapped[datetime | None]
    usage_watermark: Mapped[int | None] = mapped_column(BigInteger)
    """The highest arrival sequence that the usage on it surely includes; None where no usage was read."""
    period_start: Mapped[datetime | None]
    period_end: Mapped[datetime | None]
    billing_period: Mapped[str | None] = mapped_column(String(20))
    invoice_pdf_url: Mapped[str | None] = mapped_column(Text)
    recalculated_invoice_id: Mapped[str | None] = mapped_column(String(50))
    source_type: Mapped[str | None] = mapped_column(String(20))
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    version: Mapped[int] = mapped_column(default=1)
    is_manually_edited: Mapped[bool] = mapped_column(default=False)
    latest_attempt_failed: Mapped[bool] = mapped_column(default=False)
    """Whether the last payment attempt, or a manual mark, failed; it decides FAILED against PENDING."""
    settles_at_zero: Mapped[bool] = mapped_column(default=True)
    """Whether owing nothing counts as paid; not so for a trial's opening invoice that is only sent."""
    coupon_terms: Mapped[list[Any]] = mapped_column(default=list)
    """The coupons of this invoice in the order they apply, as they stood when it took them; text decimals."""
    tax_terms: Mapped[list[Any]] = mapped_column(default=list)
    """The tax rates of this invoice as they stood when it took them; text decimals."""
    tax_exempt: Mapped[bool] = mapped_column(default=False)
    """Whether its payer was exempt from taxes when it was last computed: then its rates charge nothing."""
    scale_arrears: Mapped[bool] = mapped_column(default=False)
    """Whether fees in arrear are charged for the share of their period that was lived, as a prorated end asks for."""
    opening_credit: Mapped[Decimal] = mapped_column(default=_ZERO)
    """What the credit of a replaced subscription takes off the fees of this opening invoice, as far as they go."""
    opening_credit_terms: Mapped[list[Any]] = mapped_column(default=list)
    """The parts of that credit by the tax rates that it carries: each lowers fees of the same rates alone."""
    wallet_transaction_id: Mapped[str | None] = mapped_column(String(50))
    """The transaction that puts the credits this invoice sells into their wallet."""
    auto_completed: Mapped[bool] = mapped_column(default=False)
    """Whether it counts as paid by being issued, as credits that were given do."""
    collect_at: Mapped[datetime | None]
    """When somebody tries to collect what is owed on it; NULL when nobody need."""
    seller_version_id: Mapped[str | None] = mapped_column(String(50))
    buyer_version_id: Mapped[str | None] = mapped_column(String(50))
    """What the document says of the seller and of the payer, as they stood when it became final; NULL for the first
    that was kept of each."""
    recompute_at: Mapped[datetime | None]
    """When it is computed once more, because it came to nothing while usage could still arrive; NULL otherwise."""
    charged_in: Mapped[str | None] = mapped_column(String(3))
    """The currency of its charges, where it was converted from that into its own; NULL where it was not."""
    fx_rate: Mapped[Decimal | None] = mapped_column(RateNumber)
    """Units of its own currency for one of that of its charges, as frozen when it was converted."""
    fx_rate_id: Mapped[str | None] = mapped_column(String(50))
    fx_scope: Mapped[FxScope | None] = mapped_column(enum_column(FxScope))
    converted_at: Mapped[datetime | None]
    source_subtotal: Mapped[Decimal | None]
    source_total_discount: Mapped[Decimal | None]
    source_total_prepaid_credits_applied: Mapped[Decimal | None]
    """Its figures before it was converted, in the currency of its charges."""
    overdue_notified_at: Mapped[datetime | None]
    """When the overdue event of the present due date was recorded; cleared when the due date moves."""

    # what the database computes is read when it is needed: writing many rows is several times faster without answers
    __mapper_args__ = {"eager_defaults": False}
    __table_args__ = (
        CheckConstraint(
            "subtotal >= 0 AND total_discount >= 0 AND total_prepaid_credits_applied >= 0 AND total_tax >= 0 "
            "AND total >= 0 AND adjustment_amount >= 0 AND amount_due >= 0 AND amount_paid >= 0 "
            "AND amount_remaining >= 0 AND refunded_amount >= 0",
            name="amounts_not_negative",
        ),
        CheckConstraint("amount_remaining <= amount_due", name="remaining_within_due"),
        CheckConstraint("usage_remaining BETWEEN 0 AND amount_remaining", name="usage_within_remaining"),
        CheckConstraint("opening_credit >= 0", name="opening_credit_not_negative"),
        CheckConstraint(
            "NOT awaits_checkout OR checkout_session_id IS NOT NULL AND invoice_status = 'DRAFT'",
            name="only_drafts_await_checkout",
        ),
        # an invoice was converted with all that says how, once it was final, or not at all
        CheckConstraint(f"num_nonnulls({CONVERSION}) IN (0, 8)", name="converted_wholly"),
        CheckConstraint(
            "fx_rate IS NULL OR (fx_rate > 0 AND charged_in <> currency AND finalized_at IS NOT NULL)",
            name="converted_when_final",
        ),
        # what is lost is what remains, as long as it is given up
        CheckConstraint(
            "(written_off_at IS NULL) = (written_off_amount IS NULL) "
            "AND (written_off_at IS NULL) = (write_off_reason IS NULL)",
            name="write_off_whole",
        ),
        CheckConstraint("coalesce(written_off_amount, amount_remaining) = amount_remaining", name="loss_is_remainder"),
        CheckConstraint("written_off_at IS NULL OR invoice_status = 'FINALIZED'", name="written_off_when_final"),
        # only what is final is collected, only what came to nothing is looked at again
        CheckConstraint("collect_at IS NULL OR invoice_status = 'FINALIZED'", name="collected_when_final"),
        CheckConstraint("recompute_at IS NULL OR invoice_status = 'SKIPPED'", name="recomputed_when_skipped"),
        CheckConstraint("(invoice_status = 'FINALIZED') <= (invoice_number IS NOT NULL)", name="finalized_has_number"),
        CheckConstraint("(invoice_status = 'FINALIZED') <= (finalized_at IS NOT NULL)", name="finalized_has_time"),
        lower_case(),
        Index(
            "uq_invoices_number",
            "environment_id",
            "invoice_number",
            unique=True,
            postgresql_where=text("invoice_number IS NOT NULL AND status = 'published'"),
        ),
        # what begins so, whatever order the database sorts texts in
        Index(
            "ix_invoices_number_prefix",
            "environment_id",
            "invoice_number",
            postgresql_ops={"invoice_number": "text_pattern_ops"},
        ),
        # what asks for an amount, or still does: amounts cannot be looked up beneath a policy, and are read from here
        Index("ix_invoices_amounts", "environment_id", "total", "amount_remaining", "id"),
        # a voided invoice frees its key
        Index(
            "uq_invoices_idempotency_key",
            "environment_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text(
                "idempotency_key IS NOT NULL AND status = 'published' AND invoice_status <> 'VOIDED'"
            ),
        ),
        # one invoice per subscription, period and reason; the billing run relies on the conflict
        Index(
            "uq_invoices_period",
            "environment_id",
            "subscription_id",
            "period_start",
            "period_end",
            "billing_reason",
            unique=True,
            postgresql_where=text(
                "status = 'published' AND invoice_status <> 'VOIDED' AND invoice_type = 'SUBSCRIPTION' AND derived_key"
            ),
        ),
        # what a customer owes: only its unpaid invoices are ever read, however many are paid
        Index(
            "ix_invoices_unpaid_payer",
            "environment_id",
            "customer_id",
            postgresql_where=text(UNPAID),
            postgresql_include=["owner_id", "currency", "amount_remaining", "usage_remaining", "due_date"],
        ),
        Index(
            "ix_invoices_unpaid_owner",
            "environment_id",
            "owner_id",
            postgresql_where=text(UNPAID),
            postgresql_include=["customer_id", "currency", "amount_remaining", "usage_remaining", "due_date"],
        ),
        # the currency of the newest invoice, and a customer's invoices newest first
        Index(
            "ix_invoices_latest_payer",
            "environment_id",
            "customer_id",
            "finalized_at",
            "id",
            postgresql_where=text(COUNTED),
        ),
        Index(
            "ix_invoices_latest_owner",
            "environment_id",
            "owner_id",
            "finalized_at",
            "id",
            postgresql_where=text(COUNTED),
        ),
        # the overdue scan takes those that were not announced
        Index(
            "ix_invoices_overdue",
            "environment_id",
            "due_date",
            postgresql_where=text(f"{UNPAID} AND due_date IS NOT NULL AND overdue_notified_at IS NULL"),
        ),
        # drafts whose time to be finalized may have come
        Index(
            "ix_invoices_drafts",
            "environment_id",
            "last_computed_at",
            postgresql_where=text("invoice_status = 'DRAFT' AND status = 'published'"),
        ),
        # credits are sold once, and the invoice that sells them is found by their transaction
        Index(
            "uq_invoices_wallet_transaction",
            "environment_id",
            "wallet_transaction_id",
            unique=True,
            postgresql_where=text("wallet_transaction_id IS NOT NULL"),
        ),
        # what waits to be collected, and what waits for a last look, each soonest first: few of all invoices do
        Index("ix_invoices_collect", "environment_id", "collect_at", postgresql_where=text("collect_at IS NOT NULL")),
        Index(
            "ix_invoices_recompute", "environment_id", "recompute_at", postgresql_where=text("recompute_at IS NOT NULL")
        ),
        # how many are listed besides those that `invoice_totals` counts: few of all invoices
        Index(
            "ix_invoices_listed_uncounted",
            "environment_id",
            "customer_id",
            postgresql_where=text(LISTED_UNCOUNTED),
        ),
        # lists: newest first, all or of one customer or subscription
        Index("ix_invoices_created", "environment_id", "created_at", "id"),
        Index("ix_invoices_customer", "environment_id", "customer_id", "created_at", "id"),
        Index(
            "ix_invoices_subscription",
            "environment_id",
            "subscription_id",
            "created_at",
            postgresql_where=text("subscription_id IS NOT NULL"),
        ),
    )

    @hybrid_property
    def charge_currency(self) -> str:
        """The currency in which its charges were worked out."""
        return self.charged_in or self.currency

    @charge_currency.inplace.expression
    @classmethod
    def _charge_currency(cls) -> ColumnElement[str]:
        return func.coalesce(cls.charged_in, cls.currency)

    @property
    def shown_metadata(self) -> dict[str, str]:
        """The caller's metadata under what the columns say, which nobody can overwrite."""
        return {**self.meta, **self.composed_metadata()}

    def composed_metadata(self) -> dict[str, str]:
        """The metadata keys that the wire shows for columns."""
        opening_credit = plain(self.opening_credit) if self.opening_credit else None
        return invoice_entries(self.scale_arrears, opening_credit, self.wallet_transaction_id, self.auto_completed)


def invoice_entries(
    scale_arrears: bool, opening_credit: str | None, wallet_transaction_id: str | None, auto_completed: bool
) -> dict[str, str]:
    """The metadata of an invoice that stands in its columns; `opening_credit` as it travels, None for none."""
    composed = {}
    if scale_arrears:
        composed["proration_behavior"] = "create_prorations"
    if opening_credit is not None:
        composed["opening_credit"] = opening_credit
    if wallet_transaction_id is not None:
        composed["wallet_transaction_id"] = wallet_transaction_id
    if auto_completed:
        composed["auto_completed"] = "true"
    return composed


class InvoiceSequence(Scoped, Base):
    """The last number given out in one bucket of dates; `id` is the bucket within its environment."""

    __tablename__ = "invoice_sequences"
    label = "Invoice sequence"

    id: Mapped[str] = mapped_column(String(20))
    environment_id: Mapped[str] = mapped_column(String(50))
    last_value: Mapped[int]

    __table_args__ = (PrimaryKeyConstraint("environment_id", "id"),)


class InvoiceTotal(Scoped, Base):
    """How many invoices a customer was issued in a currency and what they came to; kept by triggers on invoices.

    `relation` is how the customer stands to them: `self` (owner and payer), `payer` (of another's), `owner` (paid by
    another). Each counted invoice is in one `self` row, or in one `payer` and one `owner` row.
    """

    __tablename__ = "invoice_totals"
    label = "Invoice total"

    id: Mapped[str] = mapped_column("customer_id", String(50))
    environment_id: Mapped[str] = mapped_column(String(50))
    currency: Mapped[str] = mapped_column(String(3))
    relation: Mapped[str] = mapped_column(String(5))
    invoice_count: Mapped[int]
    revenue: Mapped[Decimal] = mapped_column(Numeric(38, 8))
    """A sum of any number of invoices."""

    __table_args__ = (PrimaryKeyConstraint("environment_id", "customer_id", "currency", "relation"),)
