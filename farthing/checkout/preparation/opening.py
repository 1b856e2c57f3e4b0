"""Opening a checkout: what it is for is stored with its payment, then the provider is asked for a page.

A request that dies in between is gone on with by its repeat; without one the session ends when its time is over.
Rule: docs/rules/checkout.md#opening
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.conclusion.ending import give_up
from farthing.checkout.purposes import Purpose
from farthing.checkout.tables import CheckoutSession
from farthing.core.checkout import CheckoutAction, CheckoutParams, CheckoutPaymentProvider, CheckoutStatus
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import AlreadyExists, FarthingError, InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.processing.creation import create_for_checkout
from farthing.payments.processing.execution import NotStartable, carry_on
from farthing.payments.processing.reconciliation import close_page
from farthing.payments.providers.interface import Capability
from farthing.payments.providers.registry import require_capability
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.tables import DestinationType, Gateway, Payment, PaymentMethodType
from farthing.settings import Settings
from farthing.storage import documents
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find, unique

LIFE = timedelta(minutes=30)
SHORT_LIFE = timedelta(minutes=15)
"""How long a checkout may be paid; the second is that of providers whose pages do not stay open longer."""
_SHORT_LIVED = frozenset({CheckoutPaymentProvider.RAZORPAY})


class CheckoutPoint(msgspec.Struct):
    """Where a repeated request goes on: with the checkout that it has stored."""

    checkout_session_id: str


@dataclass(frozen=True, slots=True)
class PreparedCheckout:
    """What a checkout is for, and the locked or new invoice that asks for its money."""

    id: str
    action: CheckoutAction
    purpose: Purpose
    invoice: Invoice
    subject_id: str
    entity_id: str
    subscription_id: str | None = None
    holds_draft: bool = True


async def open_checkout(
    session: AsyncSession,
    services: Composition,
    params: CheckoutParams,
    clock: Clock,
    prepare: Callable[[str], Awaitable[PreparedCheckout | None]],
) -> CheckoutSession | None:
    """Open what `prepare` has prepared under the id that it is given, and commit; None when it costs nothing.

    Raises InvalidOperation when the provider is not connected or cannot make a page, in which case nothing stays;
    AlreadyExists while another checkout is about the same, or has the same key.
    """
    gateways = services.part(Gateways)
    point = resume_point(session, CheckoutPoint)
    if point is not None:
        checkout = await find(session, CheckoutSession, point.checkout_session_id)
        return await lead_to_page(session, gateways, checkout, clock)
    await _require_provider(session, gateways, params)
    prepared = await prepare(new_id(Kind.CHECKOUT_SESSION))
    if prepared is None:
        return None
    checkout = await _store(session, services, prepared, params, clock.now())
    await commit_midway(session, CheckoutPoint(checkout.id))  # the provider is asked next
    return await lead_to_page(session, gateways, checkout, clock)


async def _require_provider(session: AsyncSession, gateways: Gateways, params: CheckoutParams) -> None:
    name = params.payment_provider.value
    connection = await connection_to(session, name)
    if connection is None:
        raise InvalidOperation(f"'{name}' is not connected", {"payment_provider": name})
    require_capability(gateways.behind(connection), Capability.LINKS, name)


def page_url(base_url: str, environment_id: str, page_key: str) -> str:
    """The address of a checkout's own page."""
    return f"{base_url}/checkout/{environment_id}.{page_key}"


async def _store(
    session: AsyncSession, services: Composition, prepared: PreparedCheckout, params: CheckoutParams, now: datetime
) -> CheckoutSession:
    invoice, environment_id = prepared.invoice, scope_of(session).environment_id
    page_key = secrets.token_hex(16)
    page = page_url(services.part(Settings).base_url, environment_id, page_key)
    config = params.payment_provider_config
    asked = CreatePaymentRequest(
        destination_type=DestinationType.INVOICE,
        destination_id=invoice.id,
        payment_method_type=PaymentMethodType.PAYMENT_LINK,
        payment_gateway=Gateway(params.payment_provider.value),
        amount=invoice.amount_remaining,
        currency=invoice.currency,
        success_url=params.success_url or page,
        cancel_url=params.cancel_url or page,
        metadata={"payment_source": "checkout"},
        process_payment=True,
        save_card_and_make_default=config is not None and config.collection_method == "charge_automatically",
    )
    payment = await create_for_checkout(session, asked, invoice, prepared.id)
    life = SHORT_LIFE if params.payment_provider in _SHORT_LIVED else LIFE
    checkout = CheckoutSession(
        id=prepared.id,
        customer_id=invoice.customer_id,
        action=prepared.action,
        checkout_status=CheckoutStatus.INITIATED,
        subject_id=prepared.subject_id,
        subscription_id=prepared.subscription_id,
        invoice_id=invoice.id,
        holds_draft=prepared.holds_draft,
        payment_id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        configuration=documents.encode(prepared.purpose),
        payment_provider=params.payment_provider,
        payment_provider_config=None if config is None else msgspec.to_builtins(config),
        success_url=params.success_url,
        failure_url=params.failure_url,
        cancel_url=params.cancel_url,
        idempotency_key=params.idempotency_key or None,
        page_key=page_key,
        meta=dict(params.metadata or {}),
        opened_at=now,
        expires_at=now + life,
        heard_at=now,
        entity_id=prepared.entity_id,
    )
    async with unique(
        session,
        uq_checkout_sessions_subject=AlreadyExists(
            "Another checkout about the same is open; let it be paid, or cancel it", {"entity_id": prepared.subject_id}
        ),
        uq_checkout_sessions_key=AlreadyExists(
            "The idempotency_key belongs to a checkout that is open", {"idempotency_key": params.idempotency_key}
        ),
    ):
        session.add(checkout)
    return checkout


async def lead_to_page(
    session: AsyncSession, gateways: Gateways, checkout: CheckoutSession, clock: Clock
) -> CheckoutSession:
    """Ask the provider for the page; if there is none, nothing of the checkout stays. Raises what the provider said."""
    checkout_id, payment_id = checkout.id, checkout.payment_id
    try:
        await carry_on(session, gateways, await find(session, Payment, payment_id), clock)
    except NotStartable:
        pass  # somebody has ended it meanwhile, which the answer shows
    except FarthingError as error:
        await session.rollback()
        await give_up(session, checkout_id, error.message, clock.now())
        await commit_midway(session)  # nothing of it stays, although the answer is an error
        await close_page(session, gateways, payment_id, clock.now())
        raise
    return await session.get_one(CheckoutSession, checkout_id, populate_existing=True)
