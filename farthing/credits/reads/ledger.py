"""Finding wallets and their transactions, with what a wallet has left by class and what a debit consumed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy import Boolean, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import ZERO
from farthing.credits.enums import CreditClass, WalletStatus
from farthing.credits.ledger.tables import Wallet, WalletConsumption, WalletTransaction
from farthing.credits.rules.lots import Consumption
from farthing.credits.schemas import WalletListQuery, WalletTransactionQuery
from farthing.invoices.tables import Invoice
from farthing.storage.queries.listing import PageStatements, one_of, page_statements
from farthing.storage.queries.rows import in_array

WALLET_FIELDS = ("id", "name", "customer_id", "currency", "wallet_type", "balance", "created_at", "updated_at")
TRANSACTION_FIELDS = (
    "id",
    "wallet_id",
    "customer_id",
    "currency",
    "type",
    "transaction_reason",
    "transaction_status",
    "reference_type",
    "reference_id",
    "amount",
    "credit_amount",
    "credits_available",
    "expiry_date",
    "priority",
    "description",
    "parent_transaction_id",
    "created_at",
    "created_by",
)


def page_of_wallets(query: WalletListQuery) -> PageStatements:
    """One page of wallets and how many match."""
    statement = select(Wallet)
    if query.wallet_ids:
        statement = statement.where(one_of(Wallet.id, query.wallet_ids))
    if query.status is not None:
        statement = statement.where(Wallet.wallet_status == query.status)
    if query.alert_enabled is not None:
        enabled = literal_column("coalesce((alert_settings ->> 'alert_enabled')::boolean, false)", Boolean)
        statement = statement.where(enabled.is_(query.alert_enabled))
    return page_statements(Wallet, query.list_query(), WALLET_FIELDS, statement)


async def active_wallets(session: AsyncSession, customer_id: str) -> list[Wallet]:
    """The active wallets of a customer, oldest first."""
    query = select(Wallet).where(Wallet.customer_id == customer_id, Wallet.wallet_status == WalletStatus.ACTIVE)
    return list(await session.scalars(query.order_by(Wallet.created_at, Wallet.id)))


def page_of_transactions(query: WalletTransactionQuery) -> PageStatements:
    """One page of transactions, newest first, and how many match."""
    row = WalletTransaction
    statement = select(row)
    for column, value in (
        (row.wallet_id, query.id),
        (row.type, query.type),
        (row.reference_type, query.reference_type),
        (row.reference_id, query.reference_id),
        (row.transaction_reason, query.transaction_reason),
        (row.transaction_status, query.transaction_status),
        (row.priority, query.priority),
        (row.created_by, query.created_by),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if query.expiry_date_before is not None:
        statement = statement.where(row.expiry_date <= query.expiry_date_before)
    if query.expiry_date_after is not None:
        statement = statement.where(row.expiry_date >= query.expiry_date_after)
    if query.credits_available_gt is not None:
        statement = statement.where(row.credits_available > query.credits_available_gt)
    return page_statements(row, query, TRANSACTION_FIELDS, statement)


async def available_by_class(
    session: AsyncSession, wallet_ids: Sequence[str]
) -> Mapping[str, Mapping[CreditClass, Decimal]]:
    """What each wallet has left of credits that were bought and of free ones, in one query."""
    row = WalletTransaction
    query = (
        select(row.wallet_id, row.credit_class, func.sum(row.credits_available))
        .where(in_array(row.wallet_id, wallet_ids), row.credits_available > 0)
        .group_by(row.wallet_id, row.credit_class)
    )
    sums: defaultdict[str, dict[CreditClass, Decimal]] = defaultdict(
        lambda: {CreditClass.PURCHASED: ZERO, CreditClass.FREE: ZERO}
    )
    for wallet_id, credit_class, available in await session.execute(query):
        assert credit_class is not None, "what has something left is a lot"
        sums[wallet_id][credit_class] = available
    return sums


async def consumptions_of(session: AsyncSession, debit_ids: Sequence[str]) -> Mapping[str, list[Consumption]]:
    """What each debit consumed, in order, in one query."""
    row = WalletConsumption
    query = select(row.debit_id, row.credit_id, row.credits).where(in_array(row.debit_id, debit_ids))
    breakdowns: defaultdict[str, list[Consumption]] = defaultdict(list)
    for debit_id, credit_id, taken in await session.execute(query.order_by(row.debit_id, row.position)):
        breakdowns[debit_id].append(Consumption(credit_id, taken))
    return breakdowns


async def find_purchase_invoice(session: AsyncSession, transaction_id: str) -> str | None:
    """The id of the invoice that sells the credits of a transaction; None where none does."""
    return await session.scalar(select(Invoice.id).where(Invoice.wallet_transaction_id == transaction_id))
