"""Requests of other packages that are paid first: each is prepared, its checkout opened, and answered as usual with it.

What charges nothing is done at once, and answered without a checkout.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import answers, modifications, plan_change
from farthing.billing.changes.apply_outcome import perform
from farthing.billing.plan_change_schemas import (
    ChangedResources,
    SubscriptionChangeV2Request,
    SubscriptionChangeV2Response,
)
from farthing.billing.schemas import (
    AddAddonRequest,
    AddAddonToSubscriptionResponse,
    ExecuteSubscriptionModifyRequest,
    SubscriptionModifyResponse,
)
from farthing.checkout.conclusion.completing import opening_outcome
from farthing.checkout.preparation.opening import PreparedCheckout, open_checkout
from farthing.checkout.preparation.preparing import (
    for_checkout,
    prepare_addon,
    prepare_draft_invoice,
    prepare_modification,
    prepare_plan_change,
    prepare_subscription,
    prepare_top_up,
)
from farthing.checkout.reading import answer_of
from farthing.checkout.tables import CheckoutSession
from farthing.core.clock import Clock, instant
from farthing.core.composition import Composition
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.reads.ledger import find_purchase_invoice
from farthing.credits.routes import top_up_answer
from farthing.credits.schemas import TopUpWalletRequest, TopUpWalletResponse
from farthing.credits.wallets import movements
from farthing.invoices.lifecycle import one_off
from farthing.invoices.reads.presentation import shown
from farthing.invoices.requests import CreateInvoiceRequest
from farthing.invoices.routes import effects_of
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.addons import lifecycle as addons
from farthing.subscriptions.reads.answers import subscription_answer
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.schemas.responses import SubscriptionResponse
from farthing.subscriptions.tables import AddonAssociation, Subscription


async def create_subscription(
    session: AsyncSession, services: Composition, asked: CreateSubscriptionRequest, clock: Clock
) -> SubscriptionResponse:
    """Make a draft that begins when its checkout is paid; one whose opening charges nothing begins at once."""
    params = asked.checkout
    assert params is not None, "the route asks for what is paid first"
    made: list[str] = []

    async def prepare(checkout_id: str) -> PreparedCheckout | None:
        subscription, prepared = await prepare_subscription(
            session, checkout_id, for_checkout(asked, params), clock.now()
        )
        made.append(subscription.id)
        return prepared

    checkout = await open_checkout(session, services, params, clock, prepare)
    if checkout is not None:
        subscription = await find(session, Subscription, checkout.entity_id)
        answer = await subscription_answer(session, subscription, clock.now())
        answer.checkout_session = await answer_of(session, services, checkout, clock.now())
        return answer
    outcome = await opening_outcome(session, made[0], clock.now())
    performed = await perform(session, outcome, clock.now(), effects_of(session))
    latest = performed.issued[-1] if performed.issued else None
    return await answers.describe_opening(session, outcome.subscription, latest, clock.now())


async def add_addon(
    session: AsyncSession, services: Composition, asked: AddAddonRequest, clock: Clock
) -> AddAddonToSubscriptionResponse:
    """Attach an addon that becomes active when its checkout is paid."""
    params, now = asked.checkout, clock.now()
    assert params is not None, "the route asks for what is paid first"

    async def prepare(checkout_id: str) -> PreparedCheckout | None:
        return await prepare_addon(session, checkout_id, asked, now, effects_of(session))

    checkout = await open_checkout(session, services, params, clock, prepare)
    if checkout is None:
        association, outcome = await addons.add(session, asked.subscription_id, asked, now)
        await perform(session, outcome, now, effects_of(session))
        return await answers.describe_attachment(session, association, None)
    association = await find(session, AddonAssociation, checkout.entity_id)
    answer = await answers.describe_attachment(session, association, await find(session, Invoice, checkout.invoice_id))
    answer.checkout_session = await answer_of(session, services, checkout, now)
    return answer


async def modify(
    session: AsyncSession,
    services: Composition,
    subscription_id: str,
    asked: ExecuteSubscriptionModifyRequest,
    clock: Clock,
) -> SubscriptionModifyResponse:
    """Modify a subscription when the checkout is paid; nothing is changed before."""
    params, now = asked.checkout, clock.now()
    assert params is not None, "the route asks for what is paid first"

    async def prepare(checkout_id: str) -> PreparedCheckout | None:
        return await prepare_modification(session, checkout_id, subscription_id, asked, now, effects_of(session))

    checkout = await open_checkout(session, services, params, clock, prepare)
    if checkout is None:
        answer, _ = await modifications.modify(session, subscription_id, asked, now, effects_of(session))
        return answer
    subscription = await find(session, Subscription, subscription_id)
    return SubscriptionModifyResponse(
        subscription=await subscription_answer(session, subscription, now),
        changed_resources=ChangedResources(line_items=[], subscriptions=[], invoices=[]),
        checkout_session=await answer_of(session, services, checkout, now),
    )


async def change_plan(
    session: AsyncSession,
    services: Composition,
    subscription_id: str,
    asked: SubscriptionChangeV2Request,
    clock: Clock,
) -> SubscriptionChangeV2Response:
    """Change the plan in place when the checkout is paid; nothing is changed before."""
    params, now = asked.checkout, clock.now()
    assert params is not None, "the route asks for what is paid first"

    async def prepare(checkout_id: str) -> PreparedCheckout | None:
        return await prepare_plan_change(session, checkout_id, subscription_id, asked, now, effects_of(session))

    checkout = await open_checkout(session, services, params, clock, prepare)
    if checkout is None:
        await lock_row(session, Subscription, subscription_id)
        answer, _ = await plan_change.change_now(session, subscription_id, asked, now, effects_of(session))
        return answer
    answer = await _foreseen_change(session, subscription_id, asked, now)
    answer.checkout_session = await answer_of(session, services, checkout, now)
    return answer


async def _foreseen_change(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeV2Request, now: datetime
) -> SubscriptionChangeV2Response:
    """What a change that waits for its payment will be, with the subscription as it stands."""
    subscription = await find(session, Subscription, subscription_id)
    planned = await plan_change.plan_in_place(session, subscription_id, asked, now)
    return SubscriptionChangeV2Response(
        subscription=await subscription_answer(session, subscription, now),
        changed_resources=ChangedResources(line_items=[], subscriptions=[], invoices=[]),
        change_type=planned.change_type,
        effective_at=instant(asked.proration_date or now),
        from_plan=await answers.plan_summary(session, subscription.plan_id),
        to_plan=await answers.plan_summary(session, asked.target_plan_id),
        entity_changes=[],
        is_scheduled=False,
        warnings=list(planned.warnings),
        metadata=dict(asked.metadata or {}),
    )


async def buy_credits(
    session: AsyncSession, services: Composition, wallet_id: str, asked: TopUpWalletRequest, clock: Clock
) -> TopUpWalletResponse:
    """Buy credits that come when the checkout is paid; a repeated key is answered with the first checkout."""
    params, now = asked.checkout, clock.now()
    assert params is not None, "the route asks for what is paid first"
    bought: list[tuple[Wallet, WalletTransaction]] = []

    async def prepare(checkout_id: str) -> PreparedCheckout | None:
        wallet, purchase = await movements.top_up(session, wallet_id, asked, now)
        bought.append((wallet, purchase))
        invoice = await find(session, Invoice, await find_purchase_invoice(session, purchase.id) or "")
        if invoice.checkout_session_id is not None or invoice.total == 0:
            return None
        return prepare_top_up(checkout_id, purchase, invoice)

    checkout = await open_checkout(session, services, params, clock, prepare)
    if checkout is None:
        wallet, purchase = bought[0]
        answer = await top_up_answer(session, wallet, purchase)
        checkout = await _checkout_of(session, answer.invoice_id)
    else:
        purchase = await find(session, WalletTransaction, checkout.entity_id)
        answer = await top_up_answer(session, await find(session, Wallet, purchase.wallet_id), purchase)
    if checkout is not None:
        answer.checkout_session = await answer_of(session, services, checkout, now)
    return answer


async def _checkout_of(session: AsyncSession, invoice_id: str | None) -> CheckoutSession | None:
    invoice = None if invoice_id is None else await find(session, Invoice, invoice_id)
    if invoice is None or invoice.checkout_session_id is None:
        return None
    return await find(session, CheckoutSession, invoice.checkout_session_id)


async def create_invoice(
    session: AsyncSession, services: Composition, asked: CreateInvoiceRequest, clock: Clock
) -> InvoiceResponse:
    """Draft a one-off that is issued when its checkout is paid; one of nothing is issued at once."""
    params, now = asked.checkout, clock.now()
    assert params is not None, "the route asks for what is paid first"
    made: list[str] = []

    async def prepare(checkout_id: str) -> PreparedCheckout | None:
        invoice, _ = await one_off.create_whole(session, asked, now, effects=effects_of(session))
        made.append(invoice.id)
        if invoice.total == 0:
            return None
        if invoice.checkout_session_id is not None:
            raise InvalidOperation(
                "An invoice with this idempotency key has a checkout already",
                {"invoice_id": invoice.id, "checkout_session_id": invoice.checkout_session_id},
            )
        return prepare_draft_invoice(checkout_id, invoice)

    checkout = await open_checkout(session, services, params, clock, prepare)
    answer = await shown(session, await find(session, Invoice, made[0] if checkout is None else checkout.invoice_id))
    if checkout is not None:
        answer.checkout_session = await answer_of(session, services, checkout, now)
    return answer


def require_charge(prepared: PreparedCheckout | None) -> PreparedCheckout:
    """Refuse a checkout of nothing. Raises ValidationFailed."""
    if prepared is None:
        raise ValidationFailed.of("configuration", "charges nothing now, so that there is nothing to pay")
    return prepared
