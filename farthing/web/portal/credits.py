"""What a customer sees of its credits, and how it buys more.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Controller, Response, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.credits.enums import TransactionReason
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.reads.ledger import active_wallets, find_purchase_invoice
from farthing.credits.schemas import TopUpWalletRequest
from farthing.credits.wallets import movements
from farthing.invoices.receivable import is_unpaid
from farthing.storage.queries.rows import not_found
from farthing.web.access.visitors import form_of
from farthing.web.dashboard.accounts.wallets import ledger_page, read_form
from farthing.web.portal.paying import can_be_paid, lead_to_payment
from farthing.web.portal.visit.session import PortalVisit, in_path, payable_invoice, visit_of
from farthing.web.portal.visit.showing import go_on, refused_here
from farthing.web.portal.visit.typed_numbers import typed_number
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.listing import Listing

_MOVEMENTS = 20


class PortalCredits(Controller):
    """Credits of one customer; the address is the credential."""

    path = "/portal"
    include_in_schema = False

    @post("/{token:str}/wallets/{wallet_id:str}/buy", guards=[in_path("buy_credits", read_only=False)])
    async def buy(
        self,
        token: str,
        wallet_id: str,
        request: HttpRequest,
        session: AsyncSession,
        clock: Clock,
        services: Composition,
    ) -> Response[str]:
        """Buy credits: the invoice that asks for their price is made, and the customer is sent to pay it."""
        visit, form = visit_of(request), form_of(request)
        try:
            if not await can_be_paid(session):
                raise InvalidOperation("Nobody can be paid through here at the moment")
            await _require_own(session, visit, wallet_id)
            body = {
                "transaction_reason": TransactionReason.PURCHASED_CREDIT_INVOICED,
                "credits_to_add": typed_number(visit.words, "credits", form.get("credits", "")),
                "idempotency_key": f"portal-{visit.customer_id}-{form.get('once', '')[:100]}",
            }
            _, purchase = await movements.top_up(session, wallet_id, read_form(body, TopUpWalletRequest), clock.now())
            invoice = await payable_invoice(session, visit, await find_purchase_invoice(session, purchase.id) or "")
            if not is_unpaid(invoice):
                return go_on(f"/portal/{token}/invoices/{invoice.id}")
            return await lead_to_payment(session, services, token, invoice, clock)
        except FarthingError as error:
            return await refused_here(request, "", error)


async def _require_own(session: AsyncSession, visit: PortalVisit, wallet_id: str) -> None:
    """Raises NotFound for anybody else's wallet."""
    own = select(Wallet.id).where(Wallet.id == wallet_id, Wallet.customer_id == visit.customer_id)
    if await session.scalar(own) is None:
        raise not_found(Wallet, wallet_id)


async def credits_of(session: AsyncSession, customer_id: str) -> list[tuple[Wallet, Sequence[WalletTransaction]]]:
    """The customer's active wallets, each with its newest movements."""
    wallets = await active_wallets(session, customer_id)
    newest = Listing(page=1, sort="created", descending=True, per_page=_MOVEMENTS)
    return [(wallet, await ledger_page(session, wallet.id, newest)) for wallet in wallets]
