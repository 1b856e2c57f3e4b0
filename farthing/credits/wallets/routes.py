"""Endpoints of wallets and their ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.core.clock import Clock
from farthing.core.errors import NotImplementedHere, ValidationFailed
from farthing.core.money import EXACT, plain
from farthing.credits.enums import CreditClass, TransactionType
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.reads import ledger
from farthing.credits.rules.conversion import value_of
from farthing.credits.rules.lots import Consumption
from farthing.credits.wallets import lifecycle, movements
from farthing.credits.wallets.schemas import (
    ConsumptionResponse,
    CreateWalletRequest,
    CreditBreakdown,
    DebitPreviewResponse,
    DebitWalletRequest,
    ListWalletsResponse,
    ListWalletTransactionsResponse,
    PreviewDebitRequest,
    TopUpWalletRequest,
    TopUpWalletResponse,
    UpdateWalletRequest,
    WalletConfigResponse,
    WalletListQuery,
    WalletResponse,
    WalletTransactionQuery,
    WalletTransactionResponse,
)
from farthing.customers.lookup import by_external_id
from farthing.customers.tables import Customer
from farthing.storage.rows import find

READ, WRITE = needs("wallet", "read"), needs("wallet", "write")
EXPANDABLE = {"credits_available_breakdown": frozenset[str]()}
HttpRequest = Request[Any, Any, Any]


class Wallets(Controller):
    """Wallets."""

    path = "/wallets"
    tags = ("Wallets",)

    @post("/", operation_id="createWallet", guards=[WRITE], status_code=200)
    async def create(self, data: CreateWalletRequest, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Create a wallet."""
        return _wallet_answer(await lifecycle.create(session, data, clock.now()))

    @get("/", operation_id="listWallets", guards=[READ], opt={"query": WalletListQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListWalletsResponse:
        """List wallets."""
        return await _wallets_page(session, read_query(request, WalletListQuery))

    @post("/search", operation_id="queryWallet", guards=[READ], status_code=200)
    async def search(self, session: AsyncSession, data: WalletListQuery | None = None) -> ListWalletsResponse:
        """Search wallets."""
        return await _wallets_page(session, data or WalletListQuery())

    @post("/transactions/search", operation_id="queryWalletTransaction", guards=[READ], status_code=200)
    async def search_transactions(
        self, session: AsyncSession, data: WalletTransactionQuery | None = None
    ) -> ListWalletTransactionsResponse:
        """Search the transactions of all wallets."""
        return await _transactions_page(session, data or WalletTransactionQuery())

    @get("/{id:str}", operation_id="getWallet", guards=[READ])
    async def read(self, id: str, session: AsyncSession, expand: str | None = None) -> WalletResponse:
        """Get a wallet."""
        return (await _wallet_answers(session, [await find(session, Wallet, id)], expand))[0]

    @put("/{id:str}", operation_id="updateWallet", guards=[WRITE])
    async def update(self, id: str, data: UpdateWalletRequest, session: AsyncSession) -> WalletResponse:
        """Change a wallet's names and what it is for."""
        return _wallet_answer(await lifecycle.update(session, id, data))

    @post("/{id:str}/top-up", operation_id="topUpWallet", guards=[WRITE], status_code=200)
    async def top_up(
        self, id: str, data: TopUpWalletRequest, session: AsyncSession, clock: Clock
    ) -> TopUpWalletResponse:
        """Add credits to a wallet."""
        wallet, transaction = await movements.top_up(session, id, data, clock.now())
        (answer,) = await _transaction_answers(session, [transaction])
        invoice_id = await ledger.find_purchase_invoice(session, transaction.id)
        return TopUpWalletResponse(wallet_transaction=answer, wallet=_wallet_answer(wallet), invoice_id=invoice_id)

    @post("/{id:str}/debit", operation_id="debitWallet", guards=[WRITE], status_code=200)
    async def debit(self, id: str, data: DebitWalletRequest, session: AsyncSession, clock: Clock) -> WalletResponse:
        """Take credits by hand."""
        return _wallet_answer(await movements.debit(session, id, data, clock.now()))

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
        return _wallet_answer(wallet, message="wallet terminated successfully")

    @post("/{id:str}/freeze", operation_id="freezeWallet", guards=[WRITE], status_code=200)
    async def freeze(self, id: str, session: AsyncSession) -> WalletResponse:
        """Refuse credits and debits of a wallet until it is unfrozen."""
        return _wallet_answer(await lifecycle.freeze(session, id))

    @post("/{id:str}/unfreeze", operation_id="unfreezeWallet", guards=[WRITE], status_code=200)
    async def unfreeze(self, id: str, session: AsyncSession) -> WalletResponse:
        """Make a frozen wallet active."""
        return _wallet_answer(await lifecycle.unfreeze(session, id))

    @get(
        "/{id:str}/transactions",
        operation_id="getWalletTransactions",
        guards=[READ],
        opt={"query": WalletTransactionQuery},
    )
    async def transactions(
        self, id: str, request: HttpRequest, session: AsyncSession
    ) -> ListWalletTransactionsResponse:
        """List the transactions of a wallet, newest first."""
        query = read_query(request, WalletTransactionQuery)
        query.id = (await find(session, Wallet, id)).id
        return await _transactions_page(session, query)


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
        include_real_time_balance: bool = False,
        from_cache: bool = False,
        expand: str | None = None,
    ) -> list[WalletResponse]:
        """List the active wallets of the customer with this id or this external id."""
        del from_cache  # nothing is cached, so an answer from a cache would be the same
        if include_real_time_balance:
            raise NotImplementedHere("Real-time balances are not available in this deployment")
        if bool(id) == bool(lookup_key):
            raise ValidationFailed.of("id", "or lookup_key is required, and only one of them")
        customer = await find(session, Customer, id) if id else await by_external_id(session, lookup_key or "")
        return await _wallet_answers(session, await ledger.active_wallets(session, customer.id), expand)

    @get("/{id:str}/wallets", operation_id="getWalletsByCustomerId", guards=[READ])
    async def by_id(self, id: str, session: AsyncSession, expand: str | None = None) -> list[WalletResponse]:
        """List the active wallets of a customer."""
        customer = await find(session, Customer, id)
        return await _wallet_answers(session, await ledger.active_wallets(session, customer.id), expand)


async def _wallets_page(session: AsyncSession, query: WalletListQuery) -> ListWalletsResponse:
    wallets, total = await ledger.wallets_page(session, query)
    answers = await _wallet_answers(session, wallets, query.expand)
    answer: ListWalletsResponse = page(answers, total, query.list_query(), next_offset=False)
    return answer


async def _transactions_page(session: AsyncSession, query: WalletTransactionQuery) -> ListWalletTransactionsResponse:
    expansions(query.expand, {})
    transactions, total = await ledger.transactions_page(session, query)
    answers = await _transaction_answers(session, transactions)
    answer: ListWalletTransactionsResponse = page(answers, total, query, next_offset=False)
    return answer


def _wallet_answer(wallet: Wallet, **given: Any) -> WalletResponse:
    return WalletResponse.of(
        wallet, config=WalletConfigResponse(allowed_price_types=wallet.allowed_price_types), **given
    )


async def _wallet_answers(session: AsyncSession, wallets: Sequence[Wallet], expand: str | None) -> list[WalletResponse]:
    if "credits_available_breakdown" not in expansions(expand, EXPANDABLE):
        return [_wallet_answer(wallet) for wallet in wallets]
    sums = await ledger.available_by_class(session, [wallet.id for wallet in wallets])
    breakdowns = {
        wallet_id: CreditBreakdown(purchased=plain(by[CreditClass.PURCHASED]), free=plain(by[CreditClass.FREE]))
        for wallet_id, by in sums.items()
    }
    nothing = CreditBreakdown(purchased="0", free="0")
    return [
        _wallet_answer(wallet, credits_available_breakdown=breakdowns.get(wallet.id, nothing)) for wallet in wallets
    ]


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
