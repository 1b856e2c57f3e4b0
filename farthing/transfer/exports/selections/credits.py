"""Movements of wallets in the window, oldest first: what was added, and what was taken."""

from __future__ import annotations

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.parquet_table import ColumnKind
from farthing.credits.enums import ReferenceType, TransactionStatus, TransactionType
from farthing.credits.ledger.tables import WalletTransaction
from farthing.customers.tables import Customer
from farthing.storage.postgres import scope_of
from farthing.transfer.exports.selections.selection import Column, ExportRequest, ExportSelection, streamed, texts

_MOVEMENT = [
    *texts("external_id", "name", "wallet_id"),
    *(Column(name, ColumnKind.DECIMAL) for name in ("amount", "credit_balance_before", "credit_balance_after")),
    *texts("reference_id", "transaction_reason"),
    Column("created_at", ColumnKind.MOMENT),
]
_TOPUPS = [Column("topup_id"), *_MOVEMENT]
_DEBITS = [Column("debit_id"), *_MOVEMENT, Column("credit_amount", ColumnKind.DECIMAL), Column("invoice_id")]


def select_topups(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-movements-of-wallets"""
    return _select(session, request, TransactionType.CREDIT, _TOPUPS)


def select_debits(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-movements-of-wallets"""
    return _select(session, request, TransactionType.DEBIT, _DEBITS)


def _select(
    session: AsyncSession, request: ExportRequest, type: TransactionType, columns: list[Column]
) -> ExportSelection:
    movement = WalletTransaction
    invoice_id = case((movement.reference_type == ReferenceType.INVOICE, movement.reference_id), else_="")
    attributes = (
        movement.id,
        Customer.external_id,
        Customer.name,
        movement.wallet_id,
        movement.amount,
        movement.credit_balance_before,
        movement.credit_balance_after,
        movement.reference_id,
        movement.transaction_reason,
        movement.created_at,
        movement.credit_amount,
        invoice_id,
    )
    query = (
        select(*attributes[: len(columns)])
        .join(Customer, Customer.id == movement.customer_id)
        .where(
            movement.environment_id == scope_of(session).environment_id,
            movement.type == type,
            movement.transaction_status == TransactionStatus.COMPLETED,
            movement.created_at >= request.window.start,
            movement.created_at < request.window.end,
        )
        .order_by(movement.created_at, movement.id)
    )
    return ExportSelection(columns, streamed(session, query))
