"""Endpoints of wallets and their ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from litestar import Controller, Request, Response, get, post, put
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.calendar.period import Period
from farthing.core.clock import Clock, instant
from farthing.core.composition import Composition
from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE
from farthing.core.encoding.file_names import content_disposition
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, plain
from farthing.credits.enums import CreditClass, TransactionType
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.ports import CreditPorts
from farthing.credits.reads import ledger
from farthing.credits.reads.real_time import real_time_balances
from farthing.credits.reads.shapes import WALLETS, read_transactions
from farthing.credits.reads.statement import WalletStatement, as_csv, statement_of
from farthing.credits.reads.statement_pdf import as_pdf
from farthing.credits.rules.conversion import value_of
from farthing.credits.rules.lots import Consumption
from farthing.credits.schemas import (
    AutoTopupResponse,
    ConsumptionResponse,
    CooldownResponse,
    CreateWalletRequest,
    CreditBreakdown,
    DebitPreviewResponse,
    DebitWalletRequest,
    ListWalletsResponse,
    ListWalletTransactionsResponse,
    ModifyWalletRequest,
    PreviewDebitRequest,
    StatementQuery,
    StatementResponse,
    TopUpWalletRequest,
    TopUpWalletResponse,
    UpdateWalletRequest,
    VoidTransactionRequest,
    WalletBalanceResponse,
    WalletConfigResponse,
    WalletListQuery,
    WalletModificationResponse,
    WalletResponse,
    WalletTransactionQuery,
    WalletTransactionResponse,
)
from farthing.credits.wallets import lifecycle, movements
from farthing.credits.wallets.conversion import convert_to_postpaid
from farthing.credits.wallets.voiding import void_credit
from farthing.customers.lookup import by_external_id
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.identity.schemas import UserResponse
from farthing.identity.tables import User
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import by_id, select_entities
from farthing.storage.queries.pages import read_answers, rows_of
from farthing.storage.queries.rows import find, in_array

READ, WRITE = needs("wallet", "read"), needs("wallet", "write")
EXPANDABLE = {"credits_available_breakdown": frozenset[str]()}
EXPANDABLE_OF_TRANSACTIONS = dict.fromkeys(("customer", "created_by_user", "wallet"), frozenset[str]())
HttpRequest = Request[Any, Any, Any]


class Wallets(Controller):
    """Wallets."""

    path = "/wallets"
    tags = ("Wallets",)

    @post("/", operation_id="createWallet", guards=[WRITE], status_code=200)
    async def create(self, data: CreateWalletRequest, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Create a wallet."""
        return wallet_answer(await lifecycle.create(session, data, clock.now()))

    @get("/", operation_id="listWallets", guards=[READ], opt={"query": WalletListQuery})
    async def browse(self, request: HttpRequest) -> ListWalletsResponse:
        """List wallets."""
        return await _wallets_page(unit_of_work(request), read_query(request, WalletListQuery))

    @post("/search", operation_id="queryWallet", guards=[READ], status_code=200)
    async def search(self, request: HttpRequest, data: WalletListQuery | None = None) -> ListWalletsResponse:
        """Search wallets."""
        return await _wallets_page(unit_of_work(request), data or WalletListQuery())

    @post("/transactions/search", operation_id="queryWalletTransaction", guards=[READ], status_code=200)
    async def search_transactions(
        self, request: HttpRequest, data: WalletTransactionQuery | None = None
    ) -> ListWalletTransactionsResponse:
        """Search the transactions of all wallets."""
        return await _transactions_page(unit_of_work(request), data or WalletTransactionQuery())

    @get("/{id:str}", operation_id="getWallet", guards=[READ])
    async def read(self, id: str, session: AsyncSession, expand: str | None = None) -> WalletResponse:
        """Get a wallet."""
        return (await _wallet_answers(session, [await find(session, Wallet, id)], expand))[0]

    @put("/{id:str}", operation_id="updateWallet", guards=[WRITE])
    async def update(self, id: str, data: UpdateWalletRequest, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Change a wallet's names, what it is for, and what it does by itself."""
        return wallet_answer(await lifecycle.update(session, id, data, clock.now()))

    @post("/{id:str}/top-up", operation_id="topUpWallet", guards=[WRITE], status_code=200)
    async def top_up(
        self, id: str, data: TopUpWalletRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> TopUpWalletResponse:
        """Add credits to a wallet; those that a checkout pays for wait for it."""
        if data.checkout is not None:
            return await ports_of(session, CreditPorts).buy_by_checkout(session, services, id, data, clock)
        wallet, transaction = await movements.top_up(session, id, data, clock.now())
        return await top_up_answer(session, wallet, transaction)

    @post("/{id:str}/debit", operation_id="debitWallet", guards=[WRITE], status_code=200)
    async def debit(self, id: str, data: DebitWalletRequest, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Take credits by hand."""
        return wallet_answer(await movements.debit(session, id, data, clock.now()))

    @post("/{id:str}/debit/preview", operation_id="previewWalletDebit", guards=[READ], status_code=200)
    async def preview(
        self, id: str, data: PreviewDebitRequest, session: AsyncSession, clock: Clock
    ) -> DebitPreviewResponse:
        """See what a debit by hand would consume; nothing is taken."""
        wallet, plan = await movements.preview_debit(session, id, data.credits, clock.now())
        return DebitPreviewResponse(
            credits=plain(data.credits),
            amount=plain(value_of(data.credits, wallet.conversion_rate)),
            credit_balance_before=plain(wallet.credit_balance),
            credit_balance_after=plain(EXACT.subtract(wallet.credit_balance, data.credits)),
            overdraft=plain(plan.uncovered),
            consumption_breakdown=_breakdown(plan.consumptions),
        )

    @post("/{id:str}/terminate", operation_id="terminateWallet", guards=[WRITE], status_code=200)
    async def terminate(self, id: str, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Take what is left and close a wallet."""
        wallet = await lifecycle.terminate(session, id, clock.now())
        return wallet_answer(wallet, message="wallet terminated successfully")

    @post("/{id:str}/freeze", operation_id="freezeWallet", guards=[WRITE], status_code=200)
    async def freeze(self, id: str, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Refuse credits and debits of a wallet until it is unfrozen."""
        return wallet_answer(await lifecycle.freeze(session, id, clock.now()))

    @post("/{id:str}/unfreeze", operation_id="unfreezeWallet", guards=[WRITE], status_code=200)
    async def unfreeze(self, id: str, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Make a frozen wallet active."""
        return wallet_answer(await lifecycle.unfreeze(session, id, clock.now()))

    @post("/{id:str}/modify", operation_id="modifyWallet", guards=[WRITE], status_code=200)
    async def modify(
        self, id: str, data: ModifyWalletRequest, session: AsyncSession, clock: Clock
    ) -> WalletModificationResponse:
        """Make a prepaid wallet a postpaid one, which keeps its lots."""
        old, new = await convert_to_postpaid(session, id, clock.now())
        return WalletModificationResponse(original_wallet=wallet_answer(old), new_wallet=wallet_answer(new))

    @post("/transactions/{id:str}/void", operation_id="voidWalletTransaction", guards=[WRITE], status_code=200)
    async def void(
        self, id: str, session: AsyncSession, clock: Clock, data: VoidTransactionRequest | None = None
    ) -> TopUpWalletResponse:
        """Take credits that were added out of a wallet again."""
        asked = data or VoidTransactionRequest()
        wallet, debit = await void_credit(session, id, asked.description or "", clock.now(), force=asked.force)
        (answer,) = await _transaction_answers(session, [debit])
        return TopUpWalletResponse(wallet_transaction=answer, wallet=wallet_answer(wallet))

    @get("/{id:str}/balance/real-time", operation_id="getWalletBalance", guards=[READ])
    async def balance(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        expand: str | None = None,
        from_cache: bool = False,
    ) -> WalletBalanceResponse:
        """What a wallet has less what is owed, worked out now."""
        del from_cache  # nothing is cached, so an answer from a cache would be the same
        return await _balance_answer(session, await find(session, Wallet, id), expand, clock)

    @get("/{id:str}/balance/real-time-cached", operation_id="getCachedWalletBalance", guards=[READ])
    async def cached_balance(
        self, id: str, session: AsyncSession, clock: Clock, expand: str | None = None
    ) -> WalletBalanceResponse:
        """The same: nothing is cached."""
        return await _balance_answer(session, await find(session, Wallet, id), expand, clock)

    @get("/{id:str}/statement", operation_id="getWalletStatement", guards=[READ], opt={"query": StatementQuery})
    async def statement(self, id: str, request: HttpRequest, session: AsyncSession) -> StatementResponse:
        """The movements of a wallet in a period, between its balances before and after."""
        statement = await _statement(session, id, request)
        return StatementResponse(
            wallet=wallet_answer(statement.wallet),
            start_time=instant(statement.period.start),
            end_time=instant(statement.period.end),
            opening_credit_balance=plain(statement.opening),
            opening_balance=plain(statement.value(statement.opening)),
            closing_credit_balance=plain(statement.closing),
            closing_balance=plain(statement.value(statement.closing)),
            credits_added=plain(statement.added),
            credits_taken=plain(statement.taken),
            transactions=await _transaction_answers(session, statement.movements),
        )

    @get("/{id:str}/statement/csv", operation_id="getWalletStatementCsv", guards=[READ], opt={"query": StatementQuery})
    async def statement_csv(self, id: str, request: HttpRequest, session: AsyncSession) -> Response[bytes]:
        """The same as a table for spreadsheets."""
        content = as_csv(await _statement(session, id, request))
        return Response(content, media_type=CSV_MEDIA_TYPE, headers=_file(id, "csv"))

    @get("/{id:str}/statement/pdf", operation_id="getWalletStatementPdf", guards=[READ], opt={"query": StatementQuery})
    async def statement_pdf(self, id: str, request: HttpRequest, session: AsyncSession) -> Response[bytes]:
        """The same as a document."""
        content = await as_pdf(session, await _statement(session, id, request))
        return Response(content, media_type="application/pdf", headers=_file(id, "pdf"))

    @get(
        "/{id:str}/transactions",
        operation_id="getWalletTransactions",
        guards=[READ],
        opt={"query": WalletTransactionQuery},
    )
    async def transactions(self, id: str, request: HttpRequest) -> ListWalletTransactionsResponse:
        """List the transactions of a wallet, newest first."""
        query = read_query(request, WalletTransactionQuery)
        query.id, work = id, unit_of_work(request)
        found = await _transactions_page(work, query)
        if not found.pagination.total:  # one that has a transaction is there
            await find(await work.admitted_session(), Wallet, id)
        return found


class CustomerWallets(Controller):
    """The wallets of one customer."""

    path = "/customers"
    tags = ("Wallets",)

    @get("/wallets", operation_id="getCustomerWallets", guards=[READ])
    async def by_key(
        self,
        session: AsyncSession,
        id: str | None = None,
        lookup_key: str | None = None,
        *,
        clock: Clock,
        include_real_time_balance: bool = False,
        from_cache: bool = False,
        expand: str | None = None,
    ) -> list[WalletResponse]:
        """List the active wallets of the customer with this id or this external id."""
        del from_cache  # nothing is cached, so an answer from a cache would be the same
        if bool(id) == bool(lookup_key):
            raise ValidationFailed.of("id", "or lookup_key is required, and only one of them")
        customer = await find(session, Customer, id) if id else await by_external_id(session, lookup_key or "")
        wallets = await ledger.active_wallets(session, customer.id)
        answers = await _wallet_answers(session, wallets, expand)
        if include_real_time_balance:
            balances = await real_time_balances(session, wallets, clock.now())
            for answer in answers:
                answer.real_time_balance = plain(balances[answer.id].balance)
                answer.real_time_credit_balance = plain(balances[answer.id].credits)
        return answers

    @get("/{id:str}/wallets", operation_id="getWalletsByCustomerId", guards=[READ])
    async def by_id(self, id: str, session: AsyncSession, expand: str | None = None) -> list[WalletResponse]:
        """List the active wallets of a customer."""
        customer = await find(session, Customer, id)
        return await _wallet_answers(session, await ledger.active_wallets(session, customer.id), expand)


async def _wallets_page(work: UnitOfWork, query: WalletListQuery) -> ListWalletsResponse:
    asked, statements = query.list_query(), ledger.page_of_wallets(query)
    if expansions(query.expand, EXPANDABLE):
        session = await work.admitted_session()
        wallets, total = await select_entities(session, Wallet, statements)
        answers = await _wallet_answers(session, wallets, query.expand)
    else:
        answers, total = await read_answers(await reader(work, asked), WALLETS, statements)
    answer: ListWalletsResponse = page(answers, total, asked, next_offset=True)
    return answer


async def _transactions_page(work: UnitOfWork, query: WalletTransactionQuery) -> ListWalletTransactionsResponse:
    wanted = expansions(query.expand, EXPANDABLE_OF_TRANSACTIONS)
    statements = ledger.page_of_transactions(query)
    if wanted:
        session = await work.admitted_session()
        answers, total = await read_transactions(rows_of(session), statements)
        await _expand(session, answers, wanted)
    else:
        answers, total = await read_transactions(await reader(work, query), statements)
    answer: ListWalletTransactionsResponse = page(answers, total, query, next_offset=True)
    return answer


async def _expand(
    session: AsyncSession, answers: Sequence[WalletTransactionResponse], wanted: Mapping[str, set[str]]
) -> None:
    """Add what transactions are to carry; a user or customer of another scope is left out."""
    if "customer" in wanted:
        ids = {answer.customer_id for answer in answers}
        customers = by_id((await session.scalars(select(Customer).where(in_array(Customer.id, ids)))).all())
        for answer in answers:
            answer.customer = CustomerResponse.of(customers[answer.customer_id])
    if "wallet" in wanted:
        ids = {answer.wallet_id for answer in answers}
        wallets = by_id((await session.scalars(select(Wallet).where(in_array(Wallet.id, ids)))).all())
        for answer in answers:
            answer.wallet = wallet_answer(wallets[answer.wallet_id])
    if "created_by_user" in wanted:
        ids = {answer.created_by for answer in answers}
        users = by_id((await session.scalars(select(User).where(in_array(User.id, ids)))).all())
        for answer in answers:
            user = users.get(answer.created_by)
            answer.created_by_user = None if user is None else UserResponse.of(user)


async def _balance_answer(
    session: AsyncSession, wallet: Wallet, expand: str | None, clock: Clock
) -> WalletBalanceResponse:
    (answer,) = await _wallet_answers(session, [wallet], expand)
    balance = (await real_time_balances(session, [wallet], clock.now()))[wallet.id]
    fields = {name: getattr(answer, name) for name in answer.__struct_fields__}
    fields |= {"real_time_balance": plain(balance.balance), "real_time_credit_balance": plain(balance.credits)}
    return WalletBalanceResponse(
        **fields,
        balance_updated_at=answer.updated_at,
        current_period_usage=plain(balance.charges),
        unpaid_invoices_amount=None if balance.unpaid_usage is None else plain(balance.unpaid_usage),
        is_cached_fallback=False,
    )


async def _statement(session: AsyncSession, wallet_id: str, request: HttpRequest) -> WalletStatement:
    query = read_query(request, StatementQuery)
    return await statement_of(session, wallet_id, Period(query.start_time, query.end_time))


def _file(wallet_id: str, extension: str) -> dict[str, str]:
    name = content_disposition("inline", f"statement-{wallet_id}.{extension}")
    return {"Content-Disposition": name, "Cache-Control": "no-store"}


def wallet_answer(wallet: Wallet, **given: Any) -> WalletResponse:
    return WalletResponse.of(
        wallet,
        config=WalletConfigResponse(allowed_price_types=wallet.allowed_price_types),
        auto_topup=_auto_topup_answer(wallet),
        **given,
    )


def _auto_topup_answer(wallet: Wallet) -> AutoTopupResponse | None:
    if wallet.auto_topup_threshold is None and wallet.auto_topup_amount is None:
        return None
    value, unit = wallet.auto_topup_cooldown_value, wallet.auto_topup_cooldown_unit
    return AutoTopupResponse(
        enabled=wallet.auto_topup_enabled,
        threshold=_plain_or_none(wallet.auto_topup_threshold),
        amount=_plain_or_none(wallet.auto_topup_amount),
        invoicing=wallet.auto_topup_invoicing,
        cooldown=None if value is None or unit is None else CooldownResponse(value=value, unit=unit.value),
        monthly_limit=_plain_or_none(wallet.auto_topup_monthly_limit),
    )


def _plain_or_none(credits: Decimal | None) -> str | None:
    return None if credits is None else plain(credits)


async def _wallet_answers(session: AsyncSession, wallets: Sequence[Wallet], expand: str | None) -> list[WalletResponse]:
    if "credits_available_breakdown" not in expansions(expand, EXPANDABLE):
        return [wallet_answer(wallet) for wallet in wallets]
    sums = await ledger.available_by_class(session, [wallet.id for wallet in wallets])
    breakdowns = {
        wallet_id: CreditBreakdown(purchased=plain(by[CreditClass.PURCHASED]), free=plain(by[CreditClass.FREE]))
        for wallet_id, by in sums.items()
    }
    nothing = CreditBreakdown(purchased="0", free="0")
    return [wallet_answer(wallet, credits_available_breakdown=breakdowns.get(wallet.id, nothing)) for wallet in wallets]


async def top_up_answer(session: AsyncSession, wallet: Wallet, transaction: WalletTransaction) -> TopUpWalletResponse:
    """What a top-up came to."""
    (answer,) = await _transaction_answers(session, [transaction])
    invoice_id = await ledger.find_purchase_invoice(session, transaction.id)
    return TopUpWalletResponse(wallet_transaction=answer, wallet=wallet_answer(wallet), invoice_id=invoice_id)


async def _transaction_answers(
    session: AsyncSession, transactions: Sequence[WalletTransaction]
) -> list[WalletTransactionResponse]:
    debits = [row.id for row in transactions if row.type is TransactionType.DEBIT]
    consumptions = await ledger.consumptions_of(session, debits) if debits else {}
    return [
        WalletTransactionResponse.of(
            row,
            consumption_breakdown=_breakdown(consumptions.get(row.id, ()))
            if row.type is TransactionType.DEBIT
            else None,
        )
        for row in transactions
    ]


def _breakdown(consumptions: Sequence[Consumption]) -> list[ConsumptionResponse]:
    return [
        ConsumptionResponse(credit_transaction_id=part.lot_id, credits=plain(part.credits)) for part in consumptions
    ]
