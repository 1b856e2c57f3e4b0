"""What every customer's wallets hold when the export runs: their credits, and those that open charges leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.parquet_table import ColumnKind
from farthing.core.enums import Status
from farthing.core.money import exact_sum
from farthing.credits.enums import WalletStatus
from farthing.credits.ledger.tables import Wallet
from farthing.credits.reads.real_time import real_time_balances
from farthing.customers.tables import Customer
from farthing.storage.queries.rows import in_array
from farthing.transfer.enums import MetadataOwner
from farthing.transfer.exports.selections.customer_pages import customer_pages
from farthing.transfer.exports.selections.selection import Column, ExportRequest, ExportSelection, Rows, texts

CUSTOMERS_AT_ONCE = 500

_COLUMNS = [
    *texts("name", "customer_external_id", "customer_id"),
    Column("current_balance", ColumnKind.DECIMAL),
    Column("real_time_balance", ColumnKind.DECIMAL),
    Column("number_of_wallets", ColumnKind.INTEGER),
]


def select_balances(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-balances"""
    columns = [*_COLUMNS, *(Column(column.name) for column in request.metadata)]
    return ExportSelection(columns, _portions(session, request))


async def _portions(session: AsyncSession, request: ExportRequest) -> AsyncIterator[Rows]:
    async for customers in customer_pages(session, CUSTOMERS_AT_ONCE, Customer.status == Status.PUBLISHED):
        yield await _rows(session, request, customers)


async def _rows(session: AsyncSession, request: ExportRequest, customers: Sequence[Customer]) -> Rows:
    query = (
        select(Wallet)
        .where(
            in_array(Wallet.customer_id, [customer.id for customer in customers]),
            Wallet.status == Status.PUBLISHED,
            Wallet.wallet_status == WalletStatus.ACTIVE,
        )
        .order_by(Wallet.created_at, Wallet.id)
    )
    by_customer: defaultdict[str, list[Wallet]] = defaultdict(list)
    wallets = (await session.scalars(query)).all()
    for wallet in wallets:
        by_customer[wallet.customer_id].append(wallet)
    balances = await real_time_balances(session, wallets, request.now)
    return [
        [
            customer.name,
            customer.external_id,
            customer.id,
            exact_sum([wallet.credit_balance for wallet in by_customer[customer.id]]),
            exact_sum([balances[wallet.id].credits for wallet in by_customer[customer.id]]),
            len(by_customer[customer.id]),
            *_metadata(request, customer, by_customer[customer.id]),
        ]
        for customer in customers
    ]


def _metadata(request: ExportRequest, customer: Customer, wallets: Sequence[Wallet]) -> list[Any]:
    """The metadata that was asked for; of wallets, that of the first which has it."""
    values: list[Any] = []
    for column in request.metadata:
        owners = wallets if column.owner == MetadataOwner.WALLET else [customer]
        values.append(next((owner.meta[column.key] for owner in owners if column.key in owner.meta), ""))
    return values
