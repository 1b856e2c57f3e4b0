"""In which rows and columns a customer can be named: those of every table that hang on it, by a rule and not by a list.

Rule: docs/rules/erasure.md#where-it-is-looked-for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Enum, String, Table, or_, select, union
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.ledger.tables import Wallet
from farthing.credits.notes.tables import CreditNote
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import in_array
from farthing.storage.tables import Base
from farthing.subscriptions.tables import Subscription

SHORTEST_TEXT = 100
"""Columns of fewer characters hold codes, ids and hashes."""
LINKS = (
    "customer_id",
    "subscription_customer_id",
    "invoicing_customer_id",
    "payer_id",
    "invoice_id",
    "subscription_id",
    "wallet_id",
    "payment_id",
    "credit_note_id",
    "destination_id",
    "entity_id",
    "scope_id",
)
"""Columns by which a row belongs to a customer, or to what is the customer's."""
OF_DOCUMENTS = frozenset(
    {
        "invoices",
        "invoice_line_items",
        "credit_notes",
        "credit_note_line_items",
        "coupon_applications",
        "taxes_applied",
    }
)
"""What issued documents are made of: kept with them."""
READ_OTHERWISE = frozenset(
    {
        "customers",
        "customer_search_terms",
        "system_events",
        "party_versions",
        "webhook_attempts",
        "events",
        "event_versions",
        "events_withdrawn",
        "meter_usage",
        "external_id_tenures",
    }
)
"""What is looked through by a way of its own."""
OF_EVERYBODY = frozenset(
    {
        "analytics_views",
        "migrated_records",
        "provider_events",
        "saved_list_views",
        "scheduled_tasks",
        "stored_files",
        "task_problems",
        "tasks",
        "test_gateway_events",
    }
)
"""What may name any customer without belonging to it: all rows of the environment are looked through."""
_NOT_ISSUED = frozenset({"idempotency_key", "settlement_key", "write_off_reason"})
"""Columns of documents that no document shows."""
_OF_CATALOGUE = frozenset({"plan_display_name", "meter_display_name"})
"""Columns that repeat a name of the catalogue."""


class Stage(StrEnum):
    """What is erased together."""

    BOOKS = "books"
    DOCUMENTS = "documents"


@dataclass(frozen=True, slots=True)
class PersonalTable:
    """A table whose rows may name a customer: by which columns they belong to it, and what may name it.

    Without links every row of the environment may.
    """

    name: str
    links: tuple[str, ...]
    texts: tuple[str, ...]
    documents: tuple[str, ...]
    keys: tuple[str, ...] = ("id",)
    """By which columns a row is known in its environment."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read and written over."""
        return (*self.texts, *self.documents)


def personal_tables(stage: Stage) -> Sequence[PersonalTable]:
    """The tables of a stage, by name."""
    tables = [table for table in environment_tables() if stage is Stage.BOOKS or table.name in OF_DOCUMENTS]
    described = (_described(table, stage) for table in tables if table.name not in READ_OTHERWISE)
    return [table for table in described if table.columns and (table.links or table.name in OF_EVERYBODY)]


def environment_tables() -> Sequence[Table]:
    """Every table whose rows belong to an environment, by name."""
    tables = sorted(Base.metadata.tables.values(), key=lambda table: table.name)
    return [table for table in tables if "environment_id" in table.columns]


def _described(table: Table, stage: Stage) -> PersonalTable:
    columns = [column for column in table.columns if _is_of_stage(table, column, stage)]
    return PersonalTable(
        name=table.name,
        links=() if table.name in OF_EVERYBODY else tuple(name for name in LINKS if name in table.columns),
        texts=tuple(
            column.name
            for column in columns
            if isinstance(column.type, String)
            and not isinstance(column.type, Enum)
            and (column.type.length is None or column.type.length >= SHORTEST_TEXT)
            and column.name not in _OF_CATALOGUE
            and column.name != "id"
            and not column.name.endswith("_id")
        ),
        documents=tuple(column.name for column in columns if isinstance(column.type, JSONB)),
        keys=tuple(column.name for column in table.primary_key if column.name != "environment_id"),
    )


def _is_of_stage(table: Table, column: Column[Any], stage: Stage) -> bool:
    """Whether a column is erased in a stage: what a document shows is kept with it."""
    is_shown = table.name in OF_DOCUMENTS and column.name not in _NOT_ISSUED
    return is_shown == (stage is Stage.DOCUMENTS)


async def owned_ids(session: AsyncSession, customer_id: str) -> list[str]:
    """The ids of the customer and of what is its own: invoices, subscriptions, wallets, payments, credit notes."""
    invoices = select(Invoice.id).where(
        or_(Invoice.customer_id == customer_id, Invoice.subscription_customer_id == customer_id)
    )
    direct = await session.scalars(
        union(
            invoices,
            select(Subscription.id).where(
                or_(Subscription.customer_id == customer_id, Subscription.payer_id == customer_id)
            ),
            select(Wallet.id).where(Wallet.customer_id == customer_id),
            select(CreditNote.id).where(CreditNote.customer_id == customer_id),
        )
    )
    owned = [customer_id, *direct]
    owned += await session.scalars(select(Payment.id).where(in_array(Payment.destination_id, owned)))
    return owned
