"""Subscribing a customer: who, which plan and rhythm, the terms, and what the first and the next invoice will be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal
from farthing.billing.changes import answers
from farthing.billing.changes.in_two_steps import OpenedSubscription, open_and_collect
from farthing.billing.changes.opening import open_subscription
from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.customers.tables import Customer
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import provide_gateways
from farthing.storage.queries.rows import find
from farthing.subscriptions.reads.late_prices import warn_of_late_prices
from farthing.web.access.visitors import changes, form_of, prepares, visitor_of
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.dashboard.subscriptions.changes.attachments import coupon_in_words, offered_addons, offered_coupons
from farthing.web.dashboard.subscriptions.changes.commitments import COMMITTED_PERIODS
from farthing.web.dashboard.subscriptions.changes.families import external_ids_of
from farthing.web.dashboard.subscriptions.changes.plan_change import PlanTerms
from farthing.web.dashboard.subscriptions.forms.action import fee_choices, made_invoices, page_of, period_in_words
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.terms_form import LATER_PHASES, PAYMENT_TERMS, creation_request
from farthing.web.dashboard.subscriptions.forms.two_steps import Change, FormStep, MakeOnce, carry_out, look
from farthing.web.dashboard.subscriptions.forms.typed_form import OF_THE_STEPS, TypedForm
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.words import wording

PAGE = "/subscriptions/new"
MOST_PLANS = 500


class SubscribePages(Controller):
    """Subscribing a customer."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[prepares("subscription")])
    async def begin(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Choose the customer and the plan, then the terms."""
        given = {name: text.replace("\x00", "")[:255] for name, text in request.query_params.items()}
        form = TypedForm(await _with_the_only_ones(session, given), clock.now())
        given = dict(form.fields)
        try:
            customer_id = await customer_id_of(session, form.text("customer"), "customer")
            form = TypedForm({**given, "customer_id": customer_id}, form.as_of)
            step = FormStep(form)
        except FarthingError as error:
            step = FormStep.refused(form, error)
        return await _page(request, session, step)

    @post("/preview", guards=[changes("subscription")], status_code=200)
    async def preview(self, request: HttpRequest, clock: Clock, services: Composition) -> Response[str]:
        """What the first and the next invoice will be."""
        form = TypedForm(form_of(request), clock.now())
        step = await look(request, _change(request, form, clock, provide_gateways(services)), clock)
        async with rehearsal(request) as undone:
            return await _page(request, undone, step)

    @post("/", guards=[changes("subscription")], status_code=200)
    async def subscribe(self, request: HttpRequest, clock: Clock, services: Composition) -> Response[str] | Redirect:
        """Subscribe as it was looked at."""
        gateways = provide_gateways(services)

        async def carry(session: AsyncSession, make_once: MakeOnce) -> str:
            async def open_once() -> OpenedSubscription:
                opened = await make_once()
                return OpenedSubscription(opened.following_id, None, list(opened.to_collect))

            subscription = await open_and_collect(session, gateways, clock, open_once, must_be_paid=True)
            return f"/subscriptions/{subscription.id}"

        try:
            form = TypedForm.confirmed(form_of(request))
        except FarthingError as error:
            outcome: Redirect | FormStep = FormStep.refused(TypedForm(form_of(request), clock.now()), error)
        else:
            change = _change(request, form, clock, gateways)
            outcome = await carry_out(request, change, clock, carry, "The subscription is made as shown.")
        if isinstance(outcome, Redirect):
            return outcome
        async with rehearsal(request) as undone:
            return await _page(request, undone, outcome)


def _change(request: HttpRequest, form: TypedForm, clock: Clock, gateways: Gateways) -> Change:
    async def version(session: AsyncSession) -> int:
        del session
        return 0

    async def make(session: AsyncSession, form: TypedForm) -> Consequences:
        customer = await find(session, Customer, form.text("customer_id"))
        asked = creation_request(
            await _with_payer(session, form),
            customer,
            await external_ids_of(session, form.text("sharing"), "sharing"),
        )
        outcome, performed = await open_subscription(session, asked, clock.now(), gateways.effects)
        made = outcome.subscription
        changed = await answers.changed_invoices(session, performed)
        zone = made.timezone
        facts: list[tuple[str, object]] = [("Begins", wording.moment(made.start_date, zone))]
        if made.trial_end is not None:
            facts.append(("Trial until", wording.moment(made.trial_end, zone)))
        else:
            facts.append(("First period", wording.period(made.current_period_start, made.current_period_end, zone)))
        if made.end_date is not None:
            facts.append(("Ends", wording.moment(made.end_date, zone)))
        return Consequences(
            page_of(made),
            made_invoices(changed),
            (),
            performed.to_collect,
            facts,
            await warn_of_late_prices(session, made, clock.now()),
            following_id=made.id,
        )

    return Change(form, None, version, make, sees_invoices=visitor_of(request).may(READ, "invoice"))


async def _page(request: HttpRequest, session: AsyncSession, step: FormStep) -> Response[str]:
    form = step.form
    customer_id = form.text("customer_id")
    customer = await session.get(Customer, customer_id) if customer_id else None
    plans = await _plans(session)
    plan_id = form.text("plan_id") if form.text("plan_id") in dict(plans) else ""
    rhythms = await _rhythms(session, plan_id, form) if plan_id else []
    chosen = form.text("rhythm") if form.text("rhythm") in dict(rhythms) else (rhythms[0][0] if rhythms else "")
    values = await _choices(session, plan_id, chosen, form) if chosen else {}
    return render(
        request,
        "subscriptions/new.html",
        step=step,
        address=PAGE,
        customer=customer,
        customer_words=_customer_words(form, customer),
        zone=customer.timezone if customer is not None else "UTC",
        plans=plans,
        plan_id=plan_id,
        rhythms=rhythms,
        rhythm=chosen,
        currency=chosen.partition(":")[0],
        payment_terms=PAYMENT_TERMS,
        committed_periods=COMMITTED_PERIODS,
        later_phases=LATER_PHASES,
        typed={name: text for name, text in form.fields.items() if name not in OF_THE_STEPS and text},
        once=new_ulid(),
        choices=values,
    )


async def _with_the_only_ones(session: AsyncSession, given: dict[str, str]) -> dict[str, str]:
    """What was typed; where there is one customer or one plan alone, that is the one that is meant."""
    alone = dict(given)
    for name, table in (("customer", Customer), ("plan_id", Plan)):
        if not given.get(name):
            ids = (await session.scalars(select(table.id).where(table.status == Status.PUBLISHED).limit(2))).all()
            if len(ids) == 1:
                alone[name] = ids[0]
    return alone


async def _with_payer(session: AsyncSession, form: TypedForm) -> TypedForm:
    """The form with the external id of who pays, whatever name of theirs was typed. Raises ValidationFailed."""
    payer = await external_ids_of(session, form.text("payer"), "payer")
    if len(payer) > 1:
        raise ValidationFailed.of("payer", "one customer pays a subscription")
    form.fields = {**form.fields, "payer": payer[0] if payer else ""}
    return form


def _customer_words(form: TypedForm, customer: Customer | None) -> str:
    """What names the customer on the form: what was typed, unless that is an id that nobody reads."""
    typed = form.text("customer")
    if customer is None or (typed and typed != customer.id):
        return typed
    return customer.external_id or customer.name


async def _plans(session: AsyncSession) -> Sequence[tuple[str, str]]:
    rows = await session.execute(
        select(Plan.id, Plan.name).where(Plan.status == Status.PUBLISHED).order_by(Plan.name, Plan.id).limit(MOST_PLANS)
    )
    return [(plan_id, name) for plan_id, name in rows]


async def _rhythms(session: AsyncSession, plan_id: str, form: TypedForm) -> list[tuple[str, str]]:
    """The currencies and periods in which a plan is sold: "USD, monthly"."""
    rows = await session.execute(
        select(Price.currency, Price.billing_period, Price.billing_period_count)
        .where(
            Price.entity_type == PriceEntityType.PLAN,
            Price.entity_id == plan_id,
            Price.status == Status.PUBLISHED,
            Price.billing_period != BillingPeriod.ONETIME,
            Price.end_date.is_(None) | (Price.end_date > form.as_of),
        )
        .distinct()
    )
    ordered = sorted(rows, key=lambda row: (row[0], row[2], list(BillingPeriod).index(row[1])))
    return [
        (f"{code}:{period.value}:{count}", f"{code.upper()}, {period_in_words(period, count)}")
        for code, period, count in ordered
    ]


async def _choices(session: AsyncSession, plan_id: str, rhythm: str, form: TypedForm) -> dict[str, Any]:
    """What the form offers in this plan, currency and period."""
    code, _, terms = rhythm.partition(":")
    billed = PlanTerms.read(f"{plan_id}:{terms}")
    in_terms = (billed.period.value, billed.count)
    return {
        "fees": await fee_choices(session, PriceEntityType.PLAN, plan_id, code, form.as_of, in_terms),
        "addons": await offered_addons(session, code, form.as_of),
        "coupons": [(coupon.id, coupon_in_words(coupon)) for coupon in await offered_coupons(session, code)],
    }
