"""Both sides compared: what each customer owes, what its wallets hold, and which invoices are open.

Rule: docs/rules/migration.md#comparing
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.credits.enums import WalletStatus
from farthing.credits.ledger.tables import Wallet
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.receivables.summary import summarise
from farthing.invoices.tables import Invoice
from farthing.migration.copying.customers import CUSTOMERS
from farthing.migration.copying.target import MigrationTarget
from farthing.migration.source.api import SourceApi
from farthing.migration.source.fields import SourceRecord, decimal_of
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

_FIGURES = (
    "total_revenue_amount",
    "total_unpaid_amount",
    "total_overdue_amount",
    "total_invoice_count",
    "unpaid_invoice_count",
    "overdue_invoice_count",
    "unpaid_usage_charges",
    "unpaid_fixed_charges",
)


@dataclass(frozen=True, slots=True)
class SideDifference:
    """A figure that is not the same on both sides."""

    subject: str
    figure: str
    source: str
    target: str


@dataclass(slots=True)
class SideComparison:
    """How many customers, open invoices and next invoices were compared, and what differs."""

    customers: int = 0
    open_invoices: int = 0
    next_invoices: int = 0
    differences: list[SideDifference] = field(default_factory=list)

    def compare(self, subject: str, figure: str, source: Decimal, target: Decimal) -> None:
        """Note a figure that differs."""
        if source != target:
            self.differences.append(SideDifference(subject, figure, plain(source), plain(target)))


async def compare_sides(
    database: Database, scope: Scope, source: SourceApi, now: datetime, known: dict[tuple[str, str], str]
) -> SideComparison:
    """Compare every customer of the source with ours at `now`. Raises SourceFailed, NotOffered."""
    found = SideComparison()
    async for page in source.search("/customers/search"):
        async with database.transaction(scope, read_only=True) as session:
            target = MigrationTarget(session, now, known)
            pairs = [(record, await target.find(CUSTOMERS, record["id"])) for record in page]
        for record, customer_id in pairs:
            found.customers += 1
            name = f"customer {record.get('external_id') or record['id']}"
            if customer_id is None:
                found.differences.append(SideDifference(name, "copied", "yes", "no"))
                continue
            await _compare_summary(database, scope, source, now, found, record, customer_id)
            await _compare_wallets(database, scope, source, found, record, customer_id)
    await _compare_open_invoices(database, scope, source, found)
    return found


async def _compare_summary(
    database: Database,
    scope: Scope,
    source: SourceApi,
    now: datetime,
    found: SideComparison,
    record: SourceRecord,
    customer_id: str,
) -> None:
    theirs = await source.get(f"/customers/{record['id']}/invoices/summary")
    ours = await summarise(database, scope, customer_id, now)
    by_currency = {str(row.get("currency", "")).lower(): row for row in theirs.get("summaries") or ()}
    mine = {row.currency: row for row in ours.summaries}
    name = f"customer {record.get('external_id') or record['id']}"
    for code in sorted(by_currency.keys() | mine.keys()):
        for figure in _FIGURES:
            own = Decimal(str(getattr(mine[code], figure))) if code in mine else Decimal(0)
            found.compare(name, f"{figure} {code}", decimal_of(by_currency.get(code, {}), figure), own)


async def _compare_wallets(
    database: Database, scope: Scope, source: SourceApi, found: SideComparison, record: SourceRecord, customer_id: str
) -> None:
    theirs: dict[tuple[str, str], Decimal] = {}
    answer = await source.get(f"/customers/{record['id']}/wallets")
    for wallet in answer if isinstance(answer, list) else answer.get("items") or ():
        if str(wallet.get("wallet_status", "active")).lower() != "closed":
            key = (str(wallet.get("currency", "")).lower(), str(wallet.get("wallet_type", "PRE_PAID")))
            theirs[key] = decimal_of(wallet, "credit_balance")
    async with database.transaction(scope, read_only=True) as session:
        query = select(Wallet).where(Wallet.customer_id == customer_id, Wallet.wallet_status != WalletStatus.CLOSED)
        ours = {(row.currency, row.wallet_type.value): row.credit_balance for row in await session.scalars(query)}
    name = f"customer {record.get('external_id') or record['id']}"
    for key in sorted(theirs.keys() | ours.keys()):
        zero = Decimal(0)
        found.compare(name, f"credits of the {' '.join(key)} wallet", theirs.get(key, zero), ours.get(key, zero))


async def _compare_open_invoices(database: Database, scope: Scope, source: SourceApi, found: SideComparison) -> None:
    theirs: dict[str, Decimal] = {}
    async for page in source.search("/invoices/search", invoice_status=["FINALIZED"], skip_line_items=True):
        for record in page:
            if decimal_of(record, "amount_remaining"):
                theirs[str(record.get("invoice_number") or record["id"])] = decimal_of(record, "amount_remaining")
    async with database.transaction(scope, read_only=True) as session:
        ours = {number: remaining async for number, remaining in _open_invoices(session)}
    found.open_invoices = len(theirs.keys() | ours.keys())
    for number in sorted(theirs.keys() | ours.keys()):
        zero = Decimal(0)
        found.compare(f"invoice {number}", "amount_remaining", theirs.get(number, zero), ours.get(number, zero))


async def _open_invoices(session: AsyncSession) -> AsyncIterator[tuple[str, Decimal]]:
    query = select(Invoice.invoice_number, Invoice.amount_remaining).where(
        Invoice.invoice_status == InvoiceStatus.FINALIZED, Invoice.amount_remaining > 0
    )
    for number, remaining in (await session.execute(query)).all():
        yield number or "", remaining
