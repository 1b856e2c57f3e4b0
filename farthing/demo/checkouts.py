"""The demo's checkouts: workshops that are paid for first, one in each state, through the built-in provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from farthing.checkout.conclusion import ending
from farthing.checkout.conclusion.expiry import expire_due
from farthing.checkout.flows import create_invoice
from farthing.checkout.tables import CheckoutSession
from farthing.core.clock import FixedClock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.demo.books import Ledger
from farthing.demo.company import DemoCustomer
from farthing.identity.tables import Environment, EnvironmentType
from farthing.invoices.requests import CreateInvoiceRequest
from farthing.payments.integration_schemas import CreateConnectionRequest
from farthing.payments.integrations import connections
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.tables import Payment
from farthing.payments.testing_provider import pages
from farthing.payments.testing_provider.pages import Delivery
from farthing.settings import Settings
from farthing.storage.scope import SYSTEM

PROVIDER = "stripe"
ENDS = ("pending", "completed", "declined", "cancelled", "expired", "completed")
"""What becomes of each: open, paid, declined once and still open, cancelled, out of time, paid."""
_PRICE = "250"


@dataclass(frozen=True, kw_only=True)
class DemoServices(Composition):
    """What opening a checkout asks for."""

    settings: Settings
    gateways: Gateways


async def load_checkouts(ledger: Ledger, settings: Settings, story: Sequence[DemoCustomer], now: datetime) -> int:
    """Open the checkouts that are not there yet and let each come to its end; how many there were.

    There are none in a production environment, where nothing is simulated.
    """
    async with ledger.database.transaction(SYSTEM, read_only=True) as rows:
        environment = await rows.get_one(Environment, ledger.scope.environment_id)
    if environment.type is EnvironmentType.PRODUCTION:
        return 0
    ids, _ = await ledger.present()
    buyers = [customer for customer in story[1::7] if customer.external_id in ids][: len(ENDS)]
    async with ledger.database.transaction(ledger.scope) as session:
        if await connection_to(session, PROVIDER) is None:
            asked = {"name": "Test payments", "provider_type": PROVIDER, "metadata": {"mode": "test"}}
            await connections.create(session, ledger.gateways.safe, convert(asked, CreateConnectionRequest))
        known = set(await session.scalars(select(CheckoutSession.idempotency_key)))
    services = DemoServices(settings=settings, gateways=ledger.gateways)
    opened = 0
    for number, (customer, end) in enumerate(zip(buyers, ENDS, strict=False)):
        key = f"demo-checkout-{number}"
        if key not in known:
            await _load_checkout(ledger, services, ids[customer.external_id], customer, key, end, now)
            opened += 1
    return opened


async def _load_checkout(
    ledger: Ledger,
    services: DemoServices,
    customer_id: str,
    customer: DemoCustomer,
    key: str,
    end: str,
    now: datetime,
) -> None:
    opened_at = now - timedelta(hours=2) if end == "expired" else now
    clock = FixedClock(opened_at)
    asked = {
        "customer_id": customer_id,
        "currency": customer.billing_currency,
        **dict.fromkeys(("amount_due", "subtotal", "total"), _PRICE),
        "line_items": [{"display_name": "Workshop", "price_type": "FIXED", "quantity": "1", "amount": _PRICE}],
        "checkout": {"payment_provider": PROVIDER, "idempotency_key": key, "metadata": {"source": "demo"}},
    }
    async with ledger.database.session(ledger.scope, clock=clock) as session:
        answer = await create_invoice(session, services, convert(asked, CreateInvoiceRequest), clock)
        await session.commit()
    checkout = answer.checkout_session
    assert checkout is not None, "a workshop has a price"
    if end in {"completed", "declined"}:
        await _visit(ledger, checkout.checkout_payment_id or "", "succeed" if end == "completed" else "fail")
    elif end in {"cancelled", "expired"}:
        async with ledger.database.session(ledger.scope, clock=FixedClock(now)) as session:
            if end == "cancelled":
                await ending.cancel(session, checkout.id, now)
            else:
                await expire_due(session, now)
            await session.commit()


async def _visit(ledger: Ledger, payment_id: str, action: str) -> None:
    """What the payer does on the provider's page."""
    async with ledger.database.transaction(ledger.scope, read_only=True) as session:
        page_id = (await session.get_one(Payment, payment_id)).gateway_tracking_id or ""
    visit = await pages.open_page(ledger.gateways, page_id)
    await pages.act(ledger.gateways, visit, action, Delivery.NOW)
