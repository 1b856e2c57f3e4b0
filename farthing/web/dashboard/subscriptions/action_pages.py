"""The pages of every change of a subscription that exists: its form, what it would come to, and doing it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal
from farthing.billing.changes.in_two_steps import change_and_collect
from farthing.catalogue.plans.tables import Plan
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, NotFound
from farthing.core.ids import new_ulid
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import provide_gateways
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import changes, form_of, prepares, visitor_of
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.subscriptions.changes.attachments import ADD_ADDON, ADD_COUPON, REMOVE_ADDON, REMOVE_COUPON
from farthing.web.dashboard.subscriptions.changes.boundaries import ACTIVATE, CANCEL, END_TRIAL, KEEP, TAKE_BACK
from farthing.web.dashboard.subscriptions.changes.charges import CHANGE_CHARGES
from farthing.web.dashboard.subscriptions.changes.commitments import COMMIT
from farthing.web.dashboard.subscriptions.changes.families import SHARE
from farthing.web.dashboard.subscriptions.changes.grouped_invoicing import INVOICE_TOGETHER
from farthing.web.dashboard.subscriptions.changes.pausing import PAUSE, RESUME
from farthing.web.dashboard.subscriptions.changes.plan_change import CHANGE_PLAN
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences, settlements_before, with_settlements
from farthing.web.dashboard.subscriptions.forms.two_steps import Carry, Change, FormStep, MakeOnce, carry_out, look
from farthing.web.dashboard.subscriptions.forms.typed_form import OF_THE_STEPS, TypedForm
from farthing.web.rendering.answers import HttpRequest, render

ACTIONS: Mapping[str, SubscriptionAction] = MappingProxyType(
    {
        "plan": CHANGE_PLAN,
        "charges": CHANGE_CHARGES,
        "commitment": COMMIT,
        "share": SHARE,
        "invoice-together": INVOICE_TOGETHER,
        "add-addon": ADD_ADDON,
        "remove-addon": REMOVE_ADDON,
        "add-coupon": ADD_COUPON,
        "remove-coupon": REMOVE_COUPON,
        "pause": PAUSE,
        "resume": RESUME,
        "cancel": CANCEL,
        "keep": KEEP,
        "take-back": TAKE_BACK,
        "trial": END_TRIAL,
        "activate": ACTIVATE,
    }
)
"""Every change by its name in the address."""


class SubscriptionActionPages(Controller):
    """Changes of subscriptions."""

    path = "/subscriptions/{subscription_id:str}/actions/{name:str}"
    include_in_schema = False

    @get("/", guards=[prepares("subscription")])
    async def begin(
        self, subscription_id: str, name: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """The form."""
        step = FormStep(TypedForm(dict(request.query_params), clock.now()))
        return await _page(request, session, subscription_id, name, step)

    @post("/preview", guards=[changes("subscription")], status_code=200)
    async def preview(
        self, subscription_id: str, name: str, request: HttpRequest, clock: Clock, services: Composition
    ) -> Response[str]:
        """The form, and what would happen."""
        form = TypedForm(form_of(request), clock.now())
        change = change_of(
            _action(name),
            subscription_id,
            form,
            clock,
            provide_gateways(services),
            sees_invoices=_sees_invoices(request),
        )
        step = await look(request, change, clock)
        async with rehearsal(request) as undone:
            return await _page(request, undone, subscription_id, name, step)

    @post("/", guards=[changes("subscription")], status_code=200)
    async def carry_out(
        self, subscription_id: str, name: str, request: HttpRequest, clock: Clock, services: Composition
    ) -> Response[str] | Redirect:
        """Do what was looked at."""
        action, gateways = _action(name), provide_gateways(services)

        try:
            form = TypedForm.confirmed(form_of(request))
        except FarthingError as error:
            outcome: Redirect | FormStep = FormStep.refused(TypedForm(form_of(request), clock.now()), error)
        else:
            change = change_of(action, subscription_id, form, clock, gateways, sees_invoices=_sees_invoices(request))
            outcome = await carry_out(request, change, clock, carrying(gateways, clock), action.said)
        if isinstance(outcome, Redirect):
            return outcome
        async with rehearsal(request) as undone:
            return await _page(request, undone, subscription_id, name, outcome)


def _action(name: str) -> SubscriptionAction:
    """Raises NotFound."""
    if name not in ACTIONS:
        raise NotFound("There is no such page")
    return ACTIONS[name]


def _sees_invoices(request: HttpRequest) -> bool:
    return visitor_of(request).may(READ, "invoice")


def carrying(gateways: Gateways, clock: Clock) -> Carry:
    """Carries a change out and collects what it has invoiced."""

    async def carry(session: AsyncSession, make_once: MakeOnce) -> str:
        async def make() -> tuple[str, list[str]]:
            consequences = await make_once()
            return consequences.path, list(consequences.to_collect)

        return await change_and_collect(session, gateways, clock, make)

    return carry


def change_of(
    action: SubscriptionAction,
    subscription_id: str,
    form: TypedForm,
    clock: Clock,
    gateways: Gateways,
    *,
    sees_invoices: bool,
) -> Change:
    """An action on a subscription that exists, to be looked at and carried out under its lock."""

    async def version(session: AsyncSession) -> int:
        return (await lock_row(session, Subscription, subscription_id)).version

    async def make(session: AsyncSession, form: TypedForm) -> Consequences:
        subscription = await lock_row(session, Subscription, subscription_id)
        before = await settlements_before(session, subscription_id)
        consequences = await action.make(session, subscription, form, clock.now(), gateways.effects)
        return await with_settlements(session, consequences, subscription_id, before)

    return Change(form, subscription_id, version, make, sees_invoices)


async def _page(
    request: HttpRequest, session: AsyncSession, subscription_id: str, name: str, step: FormStep
) -> Response[str]:
    action = _action(name)
    subscription = await find(session, Subscription, subscription_id)
    return render(
        request,
        "subscriptions/action.html",
        action=action,
        address=f"/subscriptions/{subscription_id}/actions/{name}",
        subscription=subscription,
        plan=await session.get(Plan, subscription.plan_id),
        names=await names_of(session, {subscription.customer_id}),
        zone=subscription.timezone,
        step=step,
        given=step.form.fields,
        typed={key: text for key, text in step.form.fields.items() if key not in OF_THE_STEPS and text},
        once=new_ulid(),
        **await action.options(session, subscription, step.form),
    )
