"""What the books of an office hold and what a model says, in the same words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text

from farthing.billing.tables import ProrationSettlement
from farthing.core.money import plain
from farthing.credits.ledger.tables import Wallet as WalletRow
from farthing.credits.ledger.tables import WalletConsumption, WalletTransaction
from farthing.invoices.line_tables import InvoiceLineItem, TaxAppliedRow
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.subscriptions.usage_windows import EntitlementGrant
from tests.billing.lives.arithmetic import rounded
from tests.billing.lives.charges.quotas import Quotas
from tests.billing.lives.charges.records import Document, Line
from tests.billing.lives.ledger.books import Books
from tests.billing.lives.ledger.grants import Grant
from tests.billing.lives.ledger.top_ups import RealTimeBalance
from tests.billing.lives.ledger.wallets import Movement, Wallet
from tests.billing.office import Office


def differing(actual: Sequence[Any], expected: Sequence[Any]) -> str:
    """What only one of two lists has."""
    stored = [f"  stored {row}" for row in actual if row not in expected]
    return "\n".join([*stored, *(f"  due    {row}" for row in expected if row not in actual)])


def written(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%m-%d %H:%M:%S}"


def modelled_line(line: Line) -> tuple[str, ...]:
    start = "" if line.item is None else written(line.start)
    return (line.name, start, plain(line.gross - line.credit), plain(line.discount), plain(line.prepaid))


def modelled_document(document: Document) -> tuple[Any, ...]:
    lines = sorted(modelled_line(line) for line in document.lines if line.gross - line.credit)
    taxes = sorted((code, plain(base), plain(tax)) for code, (base, tax) in document.taxes.items() if tax)
    figures = (document.total, document.adjusted, document.paid, document.remaining, document.refunded)
    head = written(document.reference), document.reason, document.name
    return (*head, lines, taxes, [plain(figure) for figure in figures], document.status)


def modelled(documents: Sequence[Document]) -> list[Any]:
    """The invoices with something on them."""
    charging = [document for document in documents if any(line.gross - line.credit for line in document.lines)]
    return sorted(modelled_document(document) for document in charging)


async def invoiced(office: Office) -> list[Any]:
    """All invoices with something on them, as the books have them."""
    codes = {rate["id"]: rate["code"] for rate in (await office.account.get("/taxes/rates"))["items"]}
    invoices = []
    async with office.account.transaction(read_only=True) as session:
        for invoice in await session.scalars(select(Invoice)):
            row = InvoiceLineItem
            lines = sorted(
                (
                    line.display_name or "",
                    written(line.period_start),
                    plain(line.amount),
                    plain(line.line_item_discount + line.invoice_level_discount),
                    plain(line.prepaid_credits_applied),
                )
                for line in await session.scalars(
                    select(row).where(row.invoice_id == invoice.id, row.status == "published")
                )
                if line.amount
            )
            taxes = await session.scalars(select(TaxAppliedRow).where(TaxAppliedRow.entity_id == invoice.id))
            charged = sorted(
                (codes[tax.tax_rate_id], plain(tax.taxable_amount), plain(tax.tax_amount))
                for tax in taxes
                if tax.tax_amount
            )
            if lines:
                head = written(invoice.reference_date), _reason_of(invoice), invoice.description or ""
                invoices.append((*head, lines, charged, _figures_of(invoice), invoice.payment_status.value))
    return sorted(invoices)


def _reason_of(invoice: Invoice) -> str:
    return str(invoice.billing_reason).removeprefix("SUBSCRIPTION_")


def _figures_of(invoice: Invoice) -> list[str]:
    remaining = invoice.amount_remaining
    if invoice.invoice_status is InvoiceStatus.VOIDED:
        remaining = max(invoice.amount_due - invoice.amount_paid, Decimal(0))
    figures = (invoice.total, invoice.adjustment_amount, invoice.amount_paid, remaining, invoice.refunded_amount)
    return [plain(figure) for figure in figures]


async def given_back(office: Office) -> list[tuple[str, str, str]]:
    """What was owed to the payer, net and tax, by the moment of the change."""
    row = ProrationSettlement
    totals: dict[datetime, tuple[Decimal, Decimal]] = {}
    async with office.account.transaction(read_only=True) as session:
        for moment, amount, tax in await session.execute(
            select(row.effective_at, row.credited_to_payer, row.tax_credited)
        ):
            net, taxes = totals.get(moment, (Decimal(0), Decimal(0)))
            totals[moment] = net + amount, taxes + tax
    return [returned(moment, net, tax) for moment, (net, tax) in sorted(totals.items()) if net]


def returned(moment: datetime, net: Decimal, tax: Decimal) -> tuple[str, str, str]:
    return written(moment), plain(net), plain(tax)


def modelled_wallets(books: Books) -> list[Any]:
    """Every wallet, and every movement of its chain."""
    rows: list[Any] = []
    for number, wallet in enumerate(books.wallets, start=1):
        kind, status = "PRE_PAID" if wallet.is_prepaid else "POST_PAID", _status_of(wallet)
        rows.append((number, kind, status, plain(wallet.balance), plain(wallet.signed_worth(wallet.balance))))
        chain = enumerate(wallet.movements, start=1)
        rows += [(number, place, *_modelled_movement(movement, wallet)) for place, movement in chain]
    return rows


def _status_of(wallet: Wallet) -> str:
    if wallet.is_closed:
        return "closed"
    return "frozen" if wallet.is_frozen else "active"


def _modelled_movement(movement: Movement, wallet: Wallet) -> tuple[Any, ...]:
    places = {other.lot: place for place, other in enumerate(wallet.movements, start=1) if other.lot is not None}
    taken = [(places[lot], plain(credits)) for lot, credits in movement.taken]
    figures = plain(movement.credits), plain(movement.amount), plain(movement.after)
    lot = movement.lot
    if lot is None:
        return (movement.reason, *figures, taken)
    priority = "" if lot.priority is None else str(lot.priority)
    return (movement.reason, *figures, lot.kind, plain(lot.left), written(lot.expiry), priority)


async def wallets(office: Office) -> list[Any]:
    """Every wallet with its chain, as the books have it."""
    row, part = WalletTransaction, WalletConsumption
    async with office.account.transaction(read_only=True) as session:
        rows = (await session.scalars(select(row).where(row.seq.is_not(None)).order_by(row.seq))).all()
        places = {movement.id: movement.seq for movement in rows}
        taken: dict[str, list[tuple[int | None, str]]] = defaultdict(list)
        for consumption in await session.scalars(select(part).order_by(part.position)):
            taken[consumption.debit_id].append((places[consumption.credit_id], plain(consumption.credits)))
        found: list[Any] = []
        for number, wallet in enumerate(await session.scalars(select(WalletRow).order_by(WalletRow.id)), start=1):
            figures = plain(wallet.credit_balance), plain(wallet.balance)
            found.append((number, wallet.wallet_type.value, wallet.wallet_status.value, *figures))
            chain = [movement for movement in rows if movement.wallet_id == wallet.id]
            found += [(number, movement.seq, *_movement(movement, taken[movement.id])) for movement in chain]
    return found


def _movement(movement: WalletTransaction, taken: Sequence[tuple[int | None, str]]) -> tuple[Any, ...]:
    figures = plain(movement.credit_amount), plain(movement.amount), plain(movement.credit_balance_after)
    reason = movement.transaction_reason.value
    if movement.credit_class is None:
        return (reason, *figures, list(taken))
    left, priority = plain(movement.credits_available), "" if movement.priority is None else str(movement.priority)
    return (reason, *figures, movement.credit_class.value, left, written(movement.expiry_date), priority)


def modelled_grants(grants: Sequence[Grant]) -> list[Any]:
    """Every application of every grant."""
    return sorted(
        (
            written(application.start),
            written(application.end),
            application.became or ("failed" if application.failures else "pending"),
            plain(application.credits),
        )
        for grant in grants
        for application in grant.applications
    )


async def granted(office: Office) -> list[Any]:
    """Every application of every grant, as the books have it."""
    query = "SELECT period_start, period_end, application_status, credits FROM credit_grant_applications"
    async with office.account.transaction(read_only=True) as session:
        rows = await session.execute(text(query))
        return sorted((written(start), written(end), became, plain(credits)) for start, end, became, credits in rows)


async def unapplied(office: Office) -> str:
    """Money that stands on no invoice."""
    async with office.account.transaction(read_only=True) as session:
        left = await session.scalar(text("SELECT coalesce(sum(amount - allocated), 0) FROM unapplied_money"))
    return plain(Decimal(left or 0))


def modelled_balances(balances: Iterable[RealTimeBalance]) -> list[tuple[str, ...]]:
    """Real-time balances as the API shows them."""
    return [
        (
            plain(balance.balance),
            plain(balance.charges),
            "" if balance.unpaid is None else plain(balance.unpaid),
        )
        for balance in balances
    ]


def modelled_windows(quotas: Quotas | None) -> list[tuple[str, ...]]:
    """The windows of quotas that were stored: from, to, what was used, and whether that is all."""
    stored = [] if quotas is None else sorted(quotas.stored, key=lambda window: window.start)
    return [
        (
            written(window.start),
            written(window.end),
            plain(rounded(window.used, 9)),
            "exhausted" if window.is_exhausted else "active",
        )
        for window in stored
    ]


async def windows(office: Office) -> list[tuple[str, ...]]:
    """The same, as the books have it."""
    row = EntitlementGrant
    async with office.account.transaction(read_only=True) as session:
        rows = await session.scalars(select(row).order_by(row.valid_from))
        return [
            (written(window.valid_from), written(window.valid_to), plain(window.usage), window.grant_status.value)
            for window in rows
        ]
