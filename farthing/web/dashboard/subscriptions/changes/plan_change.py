"""Another plan for a subscription: in place, or by a new subscription where it is billed in other periods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import plan_change
from farthing.billing.plan_change_schemas import (
    SubscriptionChangeRequest,
    SubscriptionChangeV2Request,
    SubscriptionChangeV2Response,
)
from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.enums import BillingCadence
from farthing.catalogue.prices.tables import Price
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.times import read_time
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.reads.presentation import all_shown
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.enums import ChangeAt, ProrationBehavior
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.subscriptions.forms.action import (
    SubscriptionAction,
    credits_of,
    fee_choices,
    made_invoices,
    page_of,
    period_in_words,
)
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm, body_without_nothing
from farthing.web.rendering.words import wording

TARGET = "target_plan_id"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """A plan as it is billed in one rhythm."""

    plan_id: str
    period: BillingPeriod
    count: int

    @property
    def value(self) -> str:
        return f"{self.plan_id}:{self.period.value}:{self.count}"

    @classmethod
    def read(cls, written: str) -> PlanTerms:
        """Raises ValidationFailed."""
        plan_id, _, terms = written.partition(":")
        period, _, count = terms.partition(":")
        if not plan_id or period not in set(BillingPeriod) or not (count.isascii() and count.isdigit()):
            raise ValidationFailed.of(TARGET, "must be chosen")
        return cls(plan_id, BillingPeriod(period), int(count[:6]))


async def _options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    own = PlanTerms(subscription.plan_id, subscription.billing_period, subscription.billing_period_count)
    offered = await offered_terms(session, subscription.currency, form.as_of)
    chosen = form.text(TARGET)
    fees = []
    if chosen in {terms.value for terms, _ in offered}:
        terms = PlanTerms.read(chosen)
        in_terms = (terms.period.value, terms.count)
        fees = await fee_choices(
            session, PriceEntityType.PLAN, terms.plan_id, subscription.currency, form.as_of, in_terms
        )
    return {
        "plans": [
            (terms.value, f"{name}, {period_in_words(terms.period, terms.count)}")
            for terms, name in offered
            if terms != own
        ],
        "fees": [fee for fee in fees if not fee.once],
        "period_ends": subscription.current_period_end,
    }


async def offered_terms(session: AsyncSession, currency: str, at: datetime) -> list[tuple[PlanTerms, str]]:
    """The plans that are sold in a currency, in each rhythm in which they are, with their names."""
    rows = await session.execute(
        select(Plan.id, Plan.name, Price.billing_period, Price.billing_period_count)
        .join(Price, (Price.entity_id == Plan.id) & (Price.entity_type == PriceEntityType.PLAN))
        .where(
            Plan.status == Status.PUBLISHED,
            Price.status == Status.PUBLISHED,
            Price.currency == currency,
            Price.billing_period != BillingPeriod.ONETIME,
            Price.end_date.is_(None) | (Price.end_date > at),
        )
        .distinct()
        .order_by(Plan.name, Plan.id, Price.billing_period_count, Price.billing_period)
        .limit(500)
    )
    return [(PlanTerms(plan_id, period, count), name) for plan_id, name, period, count in rows]


async def _make(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    terms = PlanTerms.read(form.text(TARGET))
    later = form.text("change_at") == ChangeAt.END_OF_PERIOD
    body = body_without_nothing(
        target_plan_id=terms.plan_id,
        change_at=form.text("change_at") or ChangeAt.IMMEDIATE.value,
        # at the end of a period no time is unused
        proration_behavior=ProrationBehavior.NONE.value if later else form.text("proration_behavior"),
        proration_date=None if later else instant(form.as_of),
        line_items=_quantities(form),
    )
    if (terms.period, terms.count) == (subscription.billing_period, subscription.billing_period_count):
        return await _in_place(session, subscription, form, body, now, effects)
    return await _by_replacement(session, subscription, terms, body, now, effects)


def _quantities(form: TypedForm) -> list[dict[str, Any]]:
    items = []
    for place, price_id in enumerate(form.of_lines("quantity")):
        form.places[f"line_items[{place}]"] = price_id
        items.append({"price_id": price_id, "quantity": form.number(f"quantity:{price_id}")})
    return items


async def _in_place(
    session: AsyncSession,
    subscription: Subscription,
    form: TypedForm,
    body: Mapping[str, Any],
    now: datetime,
    effects: InvoiceHooks,
) -> Consequences:
    policies = body_without_nothing(default_behaviour=form.text("addons"))
    instead = {"on_conflict_policies": {"on_pending_schedule": "supersede"}, "entity_policies": {"addons": policies}}
    asked = convert({**body, **instead}, SubscriptionChangeV2Request)
    answer, to_collect = await plan_change.change_plan(session, subscription.id, asked, now, effects)
    assert isinstance(answer, SubscriptionChangeV2Response), "only a key has an answer from before"
    changed = answer.changed_resources.invoices
    facts: list[tuple[str, object]] = [
        ("Plan", f"{answer.from_plan.name} → {answer.to_plan.name}"),
        ("Kind of change", wording.words(answer.change_type)),
        ("When", wording.moment(read_time(answer.effective_at), subscription.timezone)),
    ]
    if answer.superseded_schedules:
        facts.append(("Instead of", "the plan change that is scheduled"))
    return Consequences(
        page_of(subscription), made_invoices(changed), credits_of(changed), to_collect, facts, answer.warnings
    )


async def _by_replacement(
    session: AsyncSession,
    subscription: Subscription,
    terms: PlanTerms,
    body: Mapping[str, Any],
    now: datetime,
    effects: InvoiceHooks,
) -> Consequences:
    rhythm = {
        "billing_cadence": BillingCadence.RECURRING.value,
        "billing_period": terms.period.value,
        "billing_period_count": terms.count,
        "billing_cycle": subscription.billing_cycle.value,
    }
    before, target = await find(session, Plan, subscription.plan_id), await find(session, Plan, terms.plan_id)
    was = period_in_words(subscription.billing_period, subscription.billing_period_count)
    asked = convert({**body, **rhythm}, SubscriptionChangeRequest)
    answer, to_collect = await plan_change.replace_plan(session, subscription.id, asked, now, effects)
    facts: list[tuple[str, object]] = [
        ("Plan", f"{before.name}, {was} → {target.name}, {period_in_words(terms.period, terms.count)}"),
        ("Kind of change", wording.words(answer.change_type)),
        ("When", wording.moment(read_time(answer.effective_date), subscription.timezone)),
        ("How", "A new subscription takes the place of this one"),
    ]
    if answer.proration_applied is not None:
        applied = answer.proration_applied
        facts += [
            (applied.charge_description, wording.money(applied.charge_amount, applied.currency)),
            ("Less", f"{wording.money(applied.credit_amount, applied.currency)} for unused time of the old plan"),
        ]
    goes_on = answer.new_subscription.id if answer.new_subscription is not None else subscription.id
    invoices = await _invoices(session, to_collect, answer.invoice)
    path = f"/subscriptions/{goes_on}"
    return Consequences(path, invoices, (), to_collect, facts, answer.warnings, following_id=goes_on)


async def _invoices(session: AsyncSession, ids: list[str], opening: InvoiceResponse | None) -> list[InvoiceResponse]:
    """The last invoice of the subscription before and the first of the one that takes its place."""
    others = [invoice_id for invoice_id in ids if opening is None or invoice_id != opening.id]
    rows = (await session.scalars(select(Invoice).where(in_array(Invoice.id, others)).order_by(Invoice.id))).all()
    return [*await all_shown(session, rows), *([] if opening is None else [opening])]


CHANGE_PLAN = SubscriptionAction(
    title="Change plan",
    template="subscriptions/forms/plan.html",
    confirm="Change the plan",
    said="The change of plan is set as shown.",
    options=_options,
    make=_make,
)
