"""Wallets: what one has and why, its lots, its ledger, and adding, taking and closing by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Controller, Response, get, post
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.file_names import content_disposition
from farthing.core.encoding.wire import BadField
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.credits.enums import TransactionReason, WalletStatus
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.reads.real_time import real_time_balances
from farthing.credits.reads.statement import statement_of
from farthing.credits.reads.statement_pdf import as_pdf
from farthing.credits.rules.real_time import RealTimeBalance
from farthing.credits.schemas import CreateWalletRequest, DebitWalletRequest, TopUpWalletRequest
from farthing.credits.wallets import lifecycle, movements
from farthing.credits.wallets.thresholds import effective_settings
from farthing.customers.tables import Customer
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, in_array
from farthing.web.access.visitors import changes, form_of, shows, visitor_of
from farthing.web.dashboard.alerts import latest_alerts, wallet_sentence
from farthing.web.rendering.answers import HEADERS, HttpRequest, done, refused, render
from farthing.web.rendering.listing import Listing, listing
from farthing.web.rendering.typed_fields import number_in

MOST_LOTS = 100
REASONS = {
    TransactionReason.PURCHASED_CREDIT_INVOICED: "Sell them by invoice",
    TransactionReason.PURCHASED_CREDIT_DIRECT: "They were paid for elsewhere",
    TransactionReason.FREE_CREDIT_GRANT: "Give them for free",
}
"""Why somebody adds credits by hand, in the words of the form."""
REASON_WORDS = {
    TransactionReason.INVOICE_PAYMENT: "Paid an invoice",
    TransactionReason.FREE_CREDIT_GRANT: "Given for free",
    TransactionReason.SUBSCRIPTION_CREDIT_GRANT: "Granted by a subscription",
    TransactionReason.PURCHASED_CREDIT_INVOICED: "Sold by invoice",
    TransactionReason.PURCHASED_CREDIT_DIRECT: "Sold, paid for elsewhere",
    TransactionReason.CREDIT_NOTE: "Credit note",
    TransactionReason.CREDIT_EXPIRED: "Expired",
    TransactionReason.WALLET_TERMINATION: "The wallet was closed",
    TransactionReason.MANUAL_BALANCE_DEBIT: "Taken by hand",
    TransactionReason.CREDIT_ADJUSTMENT: "Taken off an invoice",
    TransactionReason.INVOICE_VOID_REFUND: "Back from a voided invoice",
    TransactionReason.PURCHASED_CREDIT_BONUS: "Bonus on what was sold",
}
"""How a movement of credits reads in the ledger."""


async def wallets_of(
    session: AsyncSession, customer_id: str, now: datetime
) -> Sequence[tuple[Wallet, RealTimeBalance]]:
    """A customer's wallets with their real-time balances: open ones first, then the newest."""
    rows = await session.scalars(
        select(Wallet)
        .where(Wallet.customer_id == customer_id)
        .order_by((Wallet.wallet_status == WalletStatus.CLOSED), Wallet.created_at.desc(), Wallet.id.desc())
        .limit(MOST_LOTS)
    )
    wallets = rows.all()
    balances = await real_time_balances(session, wallets, now)
    return [(wallet, balances[wallet.id]) for wallet in wallets]


async def open_lots(session: AsyncSession, wallet_id: str) -> Sequence[WalletTransaction]:
    """What is left of credits, the first to expire first."""
    lot = WalletTransaction
    rows = await session.scalars(
        select(lot)
        .where(lot.wallet_id == wallet_id, lot.credits_available > 0)
        .order_by(lot.expiry_date.asc().nulls_last(), lot.priority.asc().nulls_last(), lot.seq)
        .limit(MOST_LOTS)
    )
    return rows.all()


async def ledger_page(session: AsyncSession, wallet_id: str, at: Listing) -> Sequence[WalletTransaction]:
    """A page of movements, the newest first, after purchases that wait; fills `at.total`."""
    row = WalletTransaction
    own = select(row).where(row.wallet_id == wallet_id)
    at.total = await session.scalar(select(func.count()).select_from(own.subquery())) or 0
    newest = own.order_by(row.seq.desc().nulls_first(), row.created_at.desc(), row.id)
    return (await session.scalars(newest.limit(at.per_page).offset(at.offset))).all()


async def invoices_that_sold(session: AsyncSession, movements: Sequence[WalletTransaction]) -> dict[str | None, str]:
    """The invoices by which credits were sold, by the movement."""
    sold = [row.id for row in movements if row.transaction_reason is TransactionReason.PURCHASED_CREDIT_INVOICED]
    query = select(Invoice.wallet_transaction_id, Invoice.id).where(in_array(Invoice.wallet_transaction_id, sold))
    return {row[0]: row[1] for row in await session.execute(query)} if sold else {}


class WalletPages(Controller):
    """Wallets."""

    path = "/wallets"
    include_in_schema = False

    @get("/{wallet_id:str}", guards=[shows("wallet")])
    async def one(self, wallet_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One wallet: what it has and why, its lots, its ledger."""
        now = clock.now()
        wallet = await find(session, Wallet, wallet_id)
        at = listing(request, ("created",), "created")
        thresholds = await effective_settings(session, wallet)
        shown = await ledger_page(session, wallet.id, at)
        return render(
            request,
            "wallet.html",
            wallet=wallet,
            customer=await session.get_one(Customer, wallet.customer_id),
            balance=(await real_time_balances(session, [wallet], now))[wallet.id],
            lots=await open_lots(session, wallet.id),
            movements=shown,
            sold_by=await invoices_that_sold(session, shown) if visitor_of(request).may(READ, "invoice") else {},
            reason_words=REASON_WORDS,
            listing=at,
            now=now,
            zone=(await current.read(session, InvoiceConfig)).timezone,
            reasons=REASONS,
            once=new_ulid(),
            statement_from=now.date().replace(day=1).isoformat(),
            statement_until=now.date().isoformat(),
            thresholds=thresholds,
            threshold_sentence=wallet_sentence(thresholds),
            alerts=await latest_alerts(session, wallet.id),
            is_active=wallet.wallet_status is WalletStatus.ACTIVE,
            is_open=wallet.wallet_status is not WalletStatus.CLOSED,
        )

    @get("/{wallet_id:str}/statement", guards=[shows("wallet")])
    async def statement(self, wallet_id: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """The movements of some days as a document; the last day belongs to them."""
        given = request.query_params
        try:
            start = _day("from", str(given.get("from", "")))
            end = _day("until", str(given.get("until", ""))) + timedelta(days=1)
            if end <= start:
                raise ValidationFailed.of("until", "must not be before the first day")
            content = await as_pdf(session, await statement_of(session, wallet_id, Period(start, end)))
        except ValidationFailed as error:
            return await refused(request, f"/wallets/{wallet_id}", error)
        name = content_disposition("attachment", f"statement-{start:%Y-%m-%d}.pdf")
        return Response(content, media_type="application/pdf", headers={**HEADERS, "Content-Disposition": name})

    @post("/", guards=[changes("wallet")])
    async def create(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Open a prepaid wallet."""
        given = form_of(request)
        customer_id = given.get("customer_id", "")
        try:
            customer = await find(session, Customer, customer_id)
            body = {"customer_id": customer.id, "currency": given.get("currency", "")}
            asked = read_form(
                {**body, "conversion_rate": number_in("rate", given.get("rate", ""))}, CreateWalletRequest
            )
            wallet = await lifecycle.create(session, asked, clock.now())
        except FarthingError as error:
            return await refused(request, f"/customers/{customer_id}" if customer_id else "/customers", error)
        return done(request, f"/wallets/{wallet.id}", "The wallet is open.")

    @post("/{wallet_id:str}/top-up", guards=[changes("wallet")])
    async def top_up(self, wallet_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Add credits."""
        given = form_of(request)
        try:
            asked = read_form(_top_up(given), TopUpWalletRequest)
            _, row = await movements.top_up(session, wallet_id, asked, clock.now())
        except FarthingError as error:
            return await refused(request, f"/wallets/{wallet_id}", error)
        words = "The credits are added." if row.seq is not None else "The credits come once their invoice is paid."
        return done(request, f"/wallets/{wallet_id}", words)

    @post("/{wallet_id:str}/debit", guards=[changes("wallet")])
    async def debit(self, wallet_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Take credits."""
        given = form_of(request)
        try:
            body = {
                "credits": number_in("credits", given.get("credits", "")),
                "transaction_reason": TransactionReason.MANUAL_BALANCE_DEBIT,
                "idempotency_key": f"page-{given.get('once', '')[:50]}",
                "description": given.get("note", "")[:500],
            }
            await movements.debit(session, wallet_id, read_form(body, DebitWalletRequest), clock.now())
        except FarthingError as error:
            return await refused(request, f"/wallets/{wallet_id}", error)
        return done(request, f"/wallets/{wallet_id}", "The credits are taken.")

    @post("/{wallet_id:str}/terminate", guards=[changes("wallet")])
    async def terminate(
        self, wallet_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Close a wallet."""
        try:
            await lifecycle.terminate(session, wallet_id, clock.now())
        except FarthingError as error:
            return await refused(request, f"/wallets/{wallet_id}", error)
        return done(request, f"/wallets/{wallet_id}", "The wallet is closed.")


def _top_up(given: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "transaction_reason": given.get("reason", ""),
        "credits_to_add": number_in("credits", given.get("credits", "")),
        "description": given.get("note", "")[:500],
        "idempotency_key": f"page-{given.get('once', '')[:50]}",
    }
    if given.get("bonus"):
        body["bonus_credits_to_add"] = number_in("bonus", given["bonus"])
    if given.get("expiry"):
        body["expiry_date_utc"] = f"{given['expiry']}T00:00:00Z"
    return body


def read_form(body: Mapping[str, Any], kind: type[Any]) -> Any:
    try:
        return convert(body, kind)
    except BadField as error:
        raise ValidationFailed.of(error.field, error.reason) from error


def _day(field: str, text: str) -> datetime:
    """The start of a day in UTC. Raises ValidationFailed."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValidationFailed.of(field, "must be a day") from error
