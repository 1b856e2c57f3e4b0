"""In which rows and columns a customer can be named: those of every table that hang on it, by a rule and not by a list.

Rule: docs/rules/erasure.md#where-it-is-looked-for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Enum, String, Table, or_, select, union
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.ledger.tables import Wallet
from farthing.credits.notes.tables import CreditNote
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import in_array
from farthing.storage.tables import Base, InEnvironment, Scoped
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
    {"customers", "system_events", "party_versions", "events", "meter_usage", "events_withdrawn", "external_id_tenures"}
)
"""What is looked through by a way of its own."""


_OF_CATALOGUE = frozenset({"plan_display_name", "meter_display_name"})
"""Columns that repeat a name of the catalogue."""


class Stage(StrEnum):
    """What is erased together."""

    BOOKS = "books"
    DOCUMENTS = "documents"


@dataclass(frozen=True, slots=True)
class PersonalTable:
    """A table whose rows may name a customer: by which columns they belong to it, and what may name it."""

    name: str
    links: tuple[str, ...]
    texts: tuple[str, ...]
    documents: tuple[str, ...]


def personal_tables(stage: Stage) -> Sequence[PersonalTable]:
    """The tables of a stage, by name."""
    tables = [
        mapper.local_table for mapper in Base.registry.mappers if issubclass(mapper.class_, (Scoped, InEnvironment))
    ]
    described = (_described(table) for table in tables if isinstance(table, Table) and table.name not in READ_OTHERWISE)
    naming = (table for table in described if table.links and (table.texts or table.documents))
    is_of_documents = stage is Stage.DOCUMENTS
    wanted = (table for table in naming if (table.name in OF_DOCUMENTS) == is_of_documents)
    return sorted(wanted, key=lambda table: table.name)


def _described(table: Table) -> PersonalTable:
    columns = table.columns
    return PersonalTable(
        name=table.name,
        links=tuple(name for name in LINKS if name in columns),
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
    )


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
