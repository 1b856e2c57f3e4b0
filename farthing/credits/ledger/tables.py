"""Tables of wallets and their ledger."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.products.alerts import AlertState
from farthing.core.money import ZERO
from farthing.credits.enums import (
    CooldownUnit,
    CreditClass,
    ReferenceType,
    TransactionReason,
    TransactionStatus,
    TransactionType,
    WalletStatus,
    WalletType,
)
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, InEnvironment, Scoped, Tracked, enum_column, lower_case

Rate = Numeric(20, 5)
Credits = Numeric(29, 9)


class Wallet(Scoped, Tracked, Base):
    """Credits of one customer in one currency. Its balances follow from its completed transactions."""

    __tablename__ = "wallets"
    label = "Wallet"
    audit = Audited(
        "wallet",
        bookkeeping=frozenset(
            {
                "credit_balance",
                "balance",
                "last_seq",
                "alert_state",
                "credit_alert_state",
                "evaluate_at",
                "sent_real_time_credits",
            }
        ),
    )

    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    currency: Mapped[str] = mapped_column(String(3))
    wallet_type: Mapped[WalletType] = mapped_column(enum_column(WalletType))
    wallet_status: Mapped[WalletStatus] = mapped_column(enum_column(WalletStatus), default=WalletStatus.ACTIVE)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    allowed_price_types: Mapped[list[str]]
    conversion_rate: Mapped[Decimal] = mapped_column(Rate)
    """Currency per credit when it is consumed."""
    topup_conversion_rate: Mapped[Decimal] = mapped_column(Rate)
    """Currency per credit when it is bought."""
    credit_balance: Mapped[Decimal] = mapped_column(Credits, default=ZERO)
    balance: Mapped[Decimal] = mapped_column(Credits, default=ZERO)
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    """The place of the newest completed transaction in the chain; 0 while there is none."""
    converted_from: Mapped[str | None] = mapped_column(String(50), ForeignKey("wallets.id"))
    auto_topup_enabled: Mapped[bool] = mapped_column(default=False)
    auto_topup_invoicing: Mapped[bool] = mapped_column(default=False)
    auto_topup_threshold: Mapped[Decimal | None] = mapped_column(Credits)
    auto_topup_amount: Mapped[Decimal | None] = mapped_column(Credits)
    auto_topup_monthly_limit: Mapped[Decimal | None] = mapped_column(Credits)
    """The most credits that automatic top-ups may add in a calendar month (UTC); None for no limit."""
    auto_topup_cooldown_value: Mapped[int | None] = mapped_column(Integer)
    auto_topup_cooldown_unit: Mapped[CooldownUnit | None] = mapped_column(enum_column(CooldownUnit))
    alert_settings: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """None where the settings of the environment apply."""
    alert_state: Mapped[AlertState] = mapped_column(enum_column(AlertState), default=AlertState.OK)
    """That of the real-time balance, as it was last looked at: the last row of its stream in the log of alerts."""
    credit_alert_state: Mapped[AlertState] = mapped_column(enum_column(AlertState), default=AlertState.OK)
    """That of the balance itself after its last movement, likewise."""
    sent_real_time_credits: Mapped[Decimal | None] = mapped_column(Credits)
    """The real-time balance that `wallet.ongoing_balance.updated` said last; None while it has said none."""
    evaluate_at: Mapped[datetime | None]
    """When the real-time balance is looked at next; None where nothing would follow from it."""

    __table_args__ = (
        # one open wallet per customer, currency and type; also answers "the wallets of this customer"
        Index(
            "uq_wallets_open",
            "environment_id",
            "customer_id",
            "currency",
            "wallet_type",
            unique=True,
            postgresql_where=text("wallet_status <> 'closed'"),
        ),
        # lists: newest first
        Index("ix_wallets_newest", "environment_id", "created_at", "id"),
        # wallets whose real-time balance is to be looked at
        Index("ix_wallets_evaluate", "environment_id", "evaluate_at", postgresql_where=text("evaluate_at IS NOT NULL")),
        lower_case(),
        CheckConstraint("conversion_rate > 0 AND topup_conversion_rate > 0", name="rates_positive"),
        CheckConstraint("balance = round(credit_balance * conversion_rate, 9)", name="balance_is_value"),
        CheckConstraint("wallet_status <> 'closed' OR credit_balance <= 0", name="closed_is_empty"),
        CheckConstraint("jsonb_typeof(allowed_price_types) = 'array'", name="price_types_listed"),
        CheckConstraint(
            "NOT auto_topup_enabled OR (auto_topup_threshold IS NOT NULL AND auto_topup_amount IS NOT NULL)",
            name="auto_topup_is_whole",
        ),
        CheckConstraint(
            "auto_topup_amount > 0 AND auto_topup_threshold >= 0 AND auto_topup_monthly_limit > 0",
            name="auto_topup_adds",
        ),
        CheckConstraint(
            "(auto_topup_cooldown_value IS NULL) = (auto_topup_cooldown_unit IS NULL) "
            "AND auto_topup_cooldown_value > 0",
            name="cooldown_is_whole",
        ),
    )


class WalletTransaction(Scoped, Tracked, Base):
    """One movement of one wallet, or a purchase that waits to be paid, which takes its place in the chain then.

    A trigger refuses every change but the end of that wait, and that of what is left of a lot, downwards. `created_at`
    is when it was asked for, or what its caller said; `updated_at` when it took its place in the chain.
    """

    __tablename__ = "wallet_transactions"
    label = "Wallet transaction"
    audit = Audited(
        "wallet_transaction",
        named_by=(),
        named_after=("wallet_id",),
        bookkeeping=frozenset({"credits_available", "request_hash", "caller_key", "system_key", "taxed_at_purchase"}),
    )

    wallet_id: Mapped[str] = mapped_column(String(50), ForeignKey("wallets.id"))
    customer_id: Mapped[str] = mapped_column(String(50))
    currency: Mapped[str] = mapped_column(String(3))
    transaction_status: Mapped[TransactionStatus] = mapped_column(
        enum_column(TransactionStatus), default=TransactionStatus.COMPLETED
    )
    seq: Mapped[int | None] = mapped_column(BigInteger)
    """Its place in the chain; None for what is not in it."""
    type: Mapped[TransactionType] = mapped_column(enum_column(TransactionType))
    transaction_reason: Mapped[TransactionReason] = mapped_column(enum_column(TransactionReason))
    credit_class: Mapped[CreditClass | None] = mapped_column(enum_column(CreditClass))
    amount: Mapped[Decimal] = mapped_column(Credits)
    """The value of the credits: at the purchase rate for a purchase, at the rate of consumption otherwise."""
    credit_amount: Mapped[Decimal] = mapped_column(Credits)
    credit_balance_before: Mapped[Decimal] = mapped_column(Credits)
    credit_balance_after: Mapped[Decimal] = mapped_column(Credits)
    credits_available: Mapped[Decimal] = mapped_column(Credits)
    expiry_date: Mapped[datetime | None]
    valid_from: Mapped[datetime | None]
    priority: Mapped[int | None] = mapped_column(Integer)
    conversion_rate: Mapped[Decimal | None] = mapped_column(Rate)
    topup_conversion_rate: Mapped[Decimal | None] = mapped_column(Rate)
    reference_type: Mapped[ReferenceType] = mapped_column(enum_column(ReferenceType))
    reference_id: Mapped[str] = mapped_column(String(255))
    parent_transaction_id: Mapped[str | None] = mapped_column(String(50))
    description: Mapped[str] = mapped_column(default="")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    caller_key: Mapped[str | None] = mapped_column(String(255))
    system_key: Mapped[str | None] = mapped_column(String(255))
    """The service's own key; no caller's key can meet it."""
    request_hash: Mapped[str | None] = mapped_column(String(64))
    taxed_at_purchase: Mapped[bool] = mapped_column(default=False)
    """Whether the invoice that sold the credits carries their tax, so that what they pay for is not taxed again."""
    automatic: Mapped[bool] = mapped_column(default=False)
    """Whether the wallet was topped up by itself."""

    __table_args__ = (
        # the chain has no fork and no gap is hidden by a twin; also reads a wallet's movements in order
        Index("uq_wallet_transactions_seq", "wallet_id", "seq", unique=True),
        # a key names at most one transaction
        Index("uq_wallet_transactions_caller_key", "environment_id", "caller_key", unique=True),
        Index("uq_wallet_transactions_system_key", "environment_id", "system_key", unique=True),
        # the lots of a wallet that a debit may consume
        Index("ix_wallet_transactions_open", "wallet_id", postgresql_where=text("credits_available > 0")),
        # the lots that the expiry sweep looks for
        Index(
            "ix_wallet_transactions_expiring",
            "environment_id",
            "expiry_date",
            postgresql_where=text("credits_available > 0 AND expiry_date IS NOT NULL"),
        ),
        # what belongs to a lot: its bonus, what a void gave back
        Index(
            "ix_wallet_transactions_parent",
            "parent_transaction_id",
            postgresql_where=text("parent_transaction_id IS NOT NULL"),
        ),
        # what an invoice or a payment moved
        Index("ix_wallet_transactions_reference", "environment_id", "reference_id"),
        # lists: newest first
        Index("ix_wallet_transactions_newest", "environment_id", "created_at", "id"),
        # the last automatic top-ups of a wallet, and how many credits they added this month
        Index("ix_wallet_transactions_automatic", "wallet_id", "created_at", postgresql_where=text("automatic")),
        lower_case(),
        CheckConstraint("seq > 0 AND credit_amount > 0 AND amount >= 0", name="moves_something"),
        CheckConstraint("credits_available BETWEEN 0 AND credit_amount", name="lot_within_credits"),
        CheckConstraint("(transaction_status = 'completed') = (seq IS NOT NULL)", name="completed_has_place"),
        CheckConstraint(
            "CASE WHEN seq IS NULL THEN credit_balance_before = 0 AND credit_balance_after = 0 "
            "AND credits_available = 0 ELSE credit_balance_after = credit_balance_before "
            "+ CASE type WHEN 'credit' THEN credit_amount ELSE -credit_amount END END",
            name="balances_chain",
        ),
        CheckConstraint(
            "seq IS NOT NULL OR transaction_reason IN ('PURCHASED_CREDIT_INVOICED', 'PURCHASED_CREDIT_BONUS')",
            name="only_purchases_wait",
        ),
        CheckConstraint(
            "type = 'credit' OR transaction_reason = 'MANUAL_BALANCE_DEBIT' OR credit_balance_after >= 0",
            name="only_manual_debits_overdraw",
        ),
        CheckConstraint(
            "CASE type WHEN 'debit' THEN credits_available = 0 AND credit_class IS NULL "
            "AND conversion_rate IS NOT NULL AND topup_conversion_rate IS NULL "
            "ELSE credit_class IS NOT NULL AND topup_conversion_rate IS NOT NULL AND conversion_rate IS NULL END",
            name="kinds_differ",
        ),
        CheckConstraint("(caller_key IS NULL) = (request_hash IS NULL)", name="key_has_request"),
        CheckConstraint("caller_key IS NULL OR system_key IS NULL", name="one_key"),
        CheckConstraint("NOT taxed_at_purchase OR credit_class = 'purchased'", name="only_purchases_are_taxed"),
    )

    @property
    def idempotency_key(self) -> str:
        return self.caller_key or self.system_key or ""


class WalletConsumption(InEnvironment, Base):
    """How much of one lot one debit consumed. Nothing changes it."""

    __tablename__ = "wallet_consumptions"
    label = "Wallet consumption"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    """The debit's id and the lot's, so that a debit names a lot once."""
    debit_id: Mapped[str] = mapped_column(String(50), ForeignKey("wallet_transactions.id"))
    credit_id: Mapped[str] = mapped_column(String(50), ForeignKey("wallet_transactions.id"))
    position: Mapped[int] = mapped_column(Integer)
    credits: Mapped[Decimal] = mapped_column(Credits)

    __table_args__ = (
        # a debit's breakdown, in order
        Index("uq_wallet_consumptions_position", "debit_id", "position", unique=True),
        # what consumed a lot
        Index("ix_wallet_consumptions_credit", "credit_id"),
        CheckConstraint("credits > 0", name="consumes_something"),
    )
