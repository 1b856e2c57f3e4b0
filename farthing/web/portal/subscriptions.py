"""What a customer does with its subscriptions: another plan, an end, and taking either back while it is scheduled.

Each is shown before it is done, and what was shown is what is done; the changes are those of the dashboard's pages,
with the choices that the merchant leaves to customers.
Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from babel.units import format_unit
from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal
from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.plans.tables import Plan
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, NotFound, PermissionDenied, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.identity.settings.portal_sections import Ending
from farthing.payments.shared_by_routes import provide_gateways
from farthing.storage.postgres import clock_of
from farthing.storage.queries.rows import not_found
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.enums import CancellationType, ChangeAt, ScheduleStatus, ScheduleType, SubscriptionType
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import form_of
from farthing.web.dashboard.subscriptions.action_pages import carrying, change_of
from farthing.web.dashboard.subscriptions.changes.boundaries import CANCEL, KEEP, TAKE_BACK
from farthing.web.dashboard.subscriptions.changes.plan_change import CHANGE_PLAN, TARGET, offered_terms
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.two_steps import Change, FormStep, carry_out, look
from farthing.web.dashboard.subscriptions.forms.typed_form import AGREED, AS_OF, ONCE, TypedForm
from farthing.web.portal.visit.session import PortalVisit, in_path, visit_of
from farthing.web.portal.visit.showing import address, portal_page, problem_text, require_offered
from farthing.web.rendering.answers import HttpRequest, private
from farthing.web.rendering.languages import LocalWords

_OWN_TYPES = (SubscriptionType.STANDALONE, SubscriptionType.PARENT)
_MOST_REASON = 500
_UNITS = {
    BillingPeriod.DAILY: ("day", 1),
    BillingPeriod.WEEKLY: ("week", 1),
    BillingPeriod.MONTHLY: ("month", 1),
    BillingPeriod.QUARTERLY: ("month", 3),
    BillingPeriod.HALF_YEARLY: ("month", 6),
    BillingPeriod.ANNUAL: ("year", 1),
}

Fields = Callable[[AsyncSession, PortalVisit, Subscription, Mapping[str, str]], Awaitable[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class OwnChange:
    """A change that customers may make: the switch it hangs on, and the fields of the shared action that it sends.

    `fields` takes what the customer chose and refuses what the merchant does not leave to it.
    """

    action: SubscriptionAction
    item: str
    fields: Fields
    is_end: bool = False


async def _plan_fields(
    session: AsyncSession, visit: PortalVisit, subscription: Subscription, given: Mapping[str, str]
) -> dict[str, str]:
    offered = await offered_plans(session, visit, subscription)
    if given.get(TARGET) not in dict(offered):
        raise ValidationFailed.of(TARGET, "must be one of the plans on offer")
    when = _chosen_time(visit.items.change_plan, given, "change_at", ChangeAt.END_OF_PERIOD, ChangeAt.IMMEDIATE)
    return {
        TARGET: given[TARGET],
        "change_at": when,
        "proration_behavior": "create_prorations",
        "addons": "carry",
    }


async def _cancel_fields(
    session: AsyncSession, visit: PortalVisit, subscription: Subscription, given: Mapping[str, str]
) -> dict[str, str]:
    del session, subscription
    kinds = CancellationType.END_OF_PERIOD, CancellationType.IMMEDIATE
    return {
        "cancellation_type": _chosen_time(visit.items.cancel, given, "cancellation_type", *kinds),
        "proration_behavior": "none",
        "cancel_immediately_invoice_policy": "generate_invoice",
        "reason": given.get("reason", "")[:_MOST_REASON],
    }


async def _keep_fields(
    session: AsyncSession, visit: PortalVisit, subscription: Subscription, given: Mapping[str, str]
) -> dict[str, str]:
    del given
    await _own_schedule(session, visit, subscription, ScheduleType.CANCELLATION)
    return {}


async def _take_back_fields(
    session: AsyncSession, visit: PortalVisit, subscription: Subscription, given: Mapping[str, str]
) -> dict[str, str]:
    del given
    return {"schedule_id": (await _own_schedule(session, visit, subscription, ScheduleType.PLAN_CHANGE)).id}


CHANGES: Mapping[str, OwnChange] = MappingProxyType(
    {
        "plan": OwnChange(CHANGE_PLAN, "change_plan", _plan_fields),
        "cancel": OwnChange(CANCEL, "cancel", _cancel_fields, is_end=True),
        "keep": OwnChange(KEEP, "cancel", _keep_fields),
        "take-back": OwnChange(TAKE_BACK, "change_plan", _take_back_fields),
    }
)
"""Every change by its name in the address, which is also that of its texts."""


class PortalSubscriptionPages(Controller):
    """Changes of one customer's subscriptions; the address is the credential."""

    path = "/portal/{token:str}/subscriptions/{subscription_id:str}/{name:str}"
    include_in_schema = False

    @get("/", guards=[in_path(None)])
    async def begin(
        self, subscription_id: str, name: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """What can be chosen; where nothing can, what would happen."""
        visit, change = visit_of(request), _offered(visit_of(request), name)
        subscription = await own_subscription(session, visit, subscription_id)
        step = FormStep(TypedForm(dict(request.query_params), clock.now()))
        if name in {"keep", "take-back"}:
            await change.fields(session, visit, subscription, {})
        return await _page(request, session, subscription, name, step)

    @post("/preview", guards=[in_path(None, read_only=False)], status_code=200)
    async def preview(
        self, subscription_id: str, name: str, request: HttpRequest, clock: Clock, services: Composition
    ) -> Response[str]:
        """What would happen; nothing is done."""
        return await _answer(request, subscription_id, name, clock, services, confirmed=False)

    @post("/", guards=[in_path(None, read_only=False)], status_code=200)
    async def carry_out(
        self, subscription_id: str, name: str, request: HttpRequest, clock: Clock, services: Composition
    ) -> Response[str]:
        """Do what was looked at."""
        return await _answer(request, subscription_id, name, clock, services, confirmed=True)


async def _answer(
    request: HttpRequest, subscription_id: str, name: str, clock: Clock, services: Composition, *, confirmed: bool
) -> Response[str]:
    visit, gateways, given = visit_of(request), provide_gateways(services), form_of(request)
    own = _offered(visit, name)
    step: FormStep | Redirect
    async with rehearsal(request) as undone:
        subscription = await own_subscription(undone, visit, subscription_id)
    try:
        form = TypedForm.confirmed(given) if confirmed else TypedForm(given, clock.now())
    except FarthingError as error:
        step = FormStep.refused(TypedForm(given, clock.now()), error)
    else:
        change = change_of(own.action, subscription_id, form, clock, gateways, sees_invoices=True)
        change = replace(change, make=_made_by_customer(own, visit, change), address_of=lambda _: address(request))
        if confirmed:
            step = await carry_out(
                request, change, clock, carrying(gateways, clock), visit.words.texts[f"{_key(name)}_done"]
            )
        else:
            step = await look(request, change, clock)
    if isinstance(step, Redirect):
        return private(step)
    async with rehearsal(request) as undone:
        subscription = await own_subscription(undone, visit, subscription_id)
        return await _page(request, undone, subscription, name, step)


def _made_by_customer(
    own: OwnChange, visit: PortalVisit, change: Change
) -> Callable[[AsyncSession, TypedForm], Awaitable[Consequences]]:
    """The shared change, with the fields that the merchant leaves to customers and no others."""

    async def make(session: AsyncSession, form: TypedForm) -> Consequences:
        subscription = await own_subscription(session, visit, change.subscription_id or "")
        fields = await own.fields(session, visit, subscription, form.fields)
        # the address is a secret, and is not kept with what was done
        return replace(await change.make(session, TypedForm(fields, form.as_of)), path="portal")

    return make


def _offered(visit: PortalVisit, name: str) -> OwnChange:
    """Raises NotFound for what there is not, PermissionDenied for what is switched off."""
    if name not in CHANGES:
        raise NotFound("There is no such page")
    require_offered(visit, CHANGES[name].item)
    return CHANGES[name]


async def own_subscription(session: AsyncSession, visit: PortalVisit, subscription_id: str) -> Subscription:
    """A subscription that the customer itself has and pays for. Raises NotFound for any other."""
    table = Subscription
    row = await session.scalar(select(table).where(table.id == subscription_id, *is_own(visit)))
    if row is None:
        raise not_found(Subscription, subscription_id)
    return row


def is_own(visit: PortalVisit) -> tuple[Any, ...]:
    """Whether the customer itself has and pays for a subscription."""
    table = Subscription
    return (
        table.customer_id == visit.customer_id,
        table.payer_id == visit.customer_id,
        table.subscription_type.in_(_OWN_TYPES),
        table.status == Status.PUBLISHED,
    )


async def _own_schedule(
    session: AsyncSession, visit: PortalVisit, subscription: Subscription, type: ScheduleType
) -> SubscriptionSchedule:
    """What the customer itself has scheduled. Raises PermissionDenied for what the merchant has."""
    schedule = (await waiting(session, [subscription.id])).get((subscription.id, type))
    if schedule is None:
        raise NotFound("Nothing is scheduled")
    if schedule.created_by != visit.customer_id:
        raise PermissionDenied("The seller has scheduled this")
    return schedule


async def waiting(
    session: AsyncSession, subscription_ids: list[str]
) -> dict[tuple[str, ScheduleType], SubscriptionSchedule]:
    """What is scheduled for subscriptions, by subscription and kind, of which there is one at most."""
    table = SubscriptionSchedule
    rows = await session.scalars(
        select(table).where(
            table.subscription_id.in_(subscription_ids),
            table.schedule_status == ScheduleStatus.PENDING,
            table.status == Status.PUBLISHED,
        )
    )
    return {(row.subscription_id, row.schedule_type): row for row in rows}


async def offered_plans(session: AsyncSession, visit: PortalVisit, subscription: Subscription) -> list[tuple[str, str]]:
    """The plans that the merchant offers, in each rhythm in which they are sold, but for the one that runs.

    None for a subscription with children, whose plan cannot be changed.
    """
    if subscription.subscription_type is not SubscriptionType.STANDALONE:
        return []
    return [
        (terms.value, f"{name}, {rhythm(visit.words, terms.period, terms.count)}")
        for terms, name in await offered_terms(session, subscription.currency, clock_of(session).now())
        if terms.plan_id in visit.items.plans and terms.plan_id != subscription.plan_id
    ]


def rhythm(words: LocalWords, period: BillingPeriod, count: int) -> str:
    """How often a plan is billed: "monthly", "every 3 years"."""
    if period not in _UNITS:
        return words.texts["rhythm_once"]
    if count == 1:
        return words.texts[f"rhythm_{period.value.lower()}"]
    unit, times = _UNITS[period]
    return words.text("rhythm_several", unit=format_unit(count * times, f"duration-{unit}", locale=words.language))


def _chosen_time(allowed: Ending, given: Mapping[str, str], name: str, later: str, now: str) -> str:
    """At the period's end, or at once where the merchant allows that. Raises ValidationFailed."""
    times = [later, now] if allowed == "immediate" else [later]
    if given.get(name) not in times:
        raise ValidationFailed.of(name, "must be one of the choices on offer")
    return given[name]


def _key(name: str) -> str:
    return name.replace("-", "_")


async def _page(
    request: HttpRequest, session: AsyncSession, subscription: Subscription, name: str, step: FormStep
) -> Response[str]:
    visit, own = visit_of(request), CHANGES[name]
    plan = await session.get(Plan, subscription.plan_id)
    own_terms = rhythm(visit.words, subscription.billing_period, subscription.billing_period_count)
    chosen = {key: step.form.text(key) for key in (TARGET, "change_at", "cancellation_type", "reason")}
    return portal_page(
        request,
        "portal/change.html",
        name=_key(name),
        here=address(request, f"/subscriptions/{subscription.id}/{name}"),
        subscription=subscription,
        plan_name=plan.name if plan is not None else "",
        own_terms=own_terms,
        plans=await offered_plans(session, visit, subscription) if name == "plan" else [],
        allowed=getattr(visit.items, own.item),
        is_end=own.is_end,
        chosen=chosen,
        at_once="immediate" in {chosen["change_at"], chosen["cancellation_type"]},
        step=step,
        problem="" if step.error is None else problem_text(visit.words, step.error),
        hidden={AS_OF: step.form.moment, AGREED: step.preview.agreed if step.preview else "", ONCE: new_ulid()},
    )
