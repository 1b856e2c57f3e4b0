"""How subscriptions come to be.

Rule: docs/rules/subscriptions.md#creation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingCycle, BillingPeriod, Recurrence, calendar_anchor, next_billing_date
from farthing.calendar.period import Period
from farthing.calendar.recurring import trial_days, trial_window
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.fx import rates
from farthing.catalogue.owners import lock_for_use
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.taxes import associations
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.core.enums import PriceType
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers import lookup
from farthing.customers.tables import Customer
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.attachments import attach_coupons, override_entitlements, prorate_entitlements
from farthing.subscriptions.changes.events import record_subscription_event
from farthing.subscriptions.dates import open_at
from farthing.subscriptions.enums import (
    CollectionMethod,
    InvoiceTrigger,
    LineItemOwner,
    PaymentBehavior,
    ProrationBehavior,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.lifecycle import hierarchy
from farthing.subscriptions.line_items.add import extra_item, make_phases, priced_items, require_consistent
from farthing.subscriptions.line_items.rows import ItemOrigin, prices_of
from farthing.subscriptions.outcome import Billable, Outcome
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.schemas.requests import (
    CreateSubscriptionRequest,
    GroupedInvoicingChildRequest,
    OverrideLineItemRequest,
    SubscriptionInheritanceConfig,
    SubscriptionTerms,
)
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_ALLOWED_PAYMENT = {
    CollectionMethod.CHARGE_AUTOMATICALLY: {
        PaymentBehavior.ALLOW_INCOMPLETE,
        PaymentBehavior.ERROR_IF_INCOMPLETE,
        PaymentBehavior.DEFAULT_ACTIVE,
    },
    CollectionMethod.SEND_INVOICE: {PaymentBehavior.DEFAULT_ACTIVE, PaymentBehavior.DEFAULT_INCOMPLETE},
}


@dataclass(frozen=True, slots=True)
class BillingTerms:
    """When a subscription bills: what a request and its customer's zone come to, and what children share."""

    currency: str
    start: datetime
    end: datetime | None
    period: BillingPeriod
    count: int
    cycle: BillingCycle
    anchor: datetime
    timezone: str

    @property
    def recurrence(self) -> Recurrence:
        return Recurrence(self.period, self.anchor, ZoneInfo(self.timezone), self.count)


@dataclass(frozen=True, slots=True)
class InvoiceParties:
    """Who is who: the customer, who pays for it, and the parent it hangs from."""

    customer: Customer
    payer: Customer | None = None
    parent: Subscription | None = None
    type: SubscriptionType = SubscriptionType.STANDALONE


async def create(
    session: AsyncSession,
    request: CreateSubscriptionRequest,
    now: datetime,
    *,
    as_draft: bool = False,
    carried: bool = False,
) -> Outcome:
    """Make a subscription with all that belongs to it, and say what its opening bills.

    `as_draft`: whatever the request says, because a payment must come first. `carried`: it continues another one (a
    plan change that replaces), so it may begin in the past with proration. Raises ValidationFailed, NotFound,
    InvalidOperation.
    """
    family = request.inheritance or SubscriptionInheritanceConfig()
    customer, payer, below, inline = await _people(session, request, family)
    start = _millisecond(request.start_date or now)
    rhythm = _rhythm(request, customer, start)
    _check_terms(request, rhythm, now, carried=carried)
    parent = await _parent(session, family)
    kind = _type(family, payer, parent)
    if kind is not SubscriptionType.INHERITED:
        await hierarchy.require_not_inherited(session, customer.id)
    if kind is not SubscriptionType.STANDALONE and (request.auto_invoice_threshold or 0) > 0:
        raise ValidationFailed.of("auto_invoice_threshold", "is only for standalone subscriptions")
    wanted = SubscriptionStatus.DRAFT if as_draft else request.subscription_status
    if wanted in {SubscriptionStatus.PAUSED, SubscriptionStatus.CANCELLED}:
        raise ValidationFailed.of("subscription_status", f"a subscription cannot be created {wanted.value}")
    bearings = InvoiceParties(customer, payer, parent, kind)
    subscription, items = await _made(session, request, rhythm, bearings, wanted, now)
    await _own_rates(session, subscription, request, payer or customer)
    await make_phases(session, subscription, request, items, now)
    for child, child_customer in zip(family.grouped_invoicing_children_to_create or (), inline, strict=True):
        await _grouped_child(session, subscription, rhythm, child, child_customer, now)
    if below:
        await hierarchy.inherit(session, subscription, below, subscription.start_date)
    if family.subscriptions_ids_for_grouped_invoicing:
        await hierarchy.group(session, subscription, family.subscriptions_ids_for_grouped_invoicing)
    draft = subscription.subscription_status is SubscriptionStatus.DRAFT
    await record_subscription_event(session, subscription, "draft.created" if draft else "created")
    return open_or_wait(subscription, now)


async def _own_rates(
    session: AsyncSession, subscription: Subscription, request: CreateSubscriptionRequest, payer: Customer
) -> None:
    """Give a subscription the exchange rates that were agreed for it. Raises ValidationFailed.

    Rule: docs/rules/currencies.md#rates
    """
    if not request.fx_rates:
        return
    billed_in = payer.billing_currency
    if not billed_in or billed_in == subscription.currency:
        raise ValidationFailed.of("fx_rates", f"nothing is converted: its payer is billed in {subscription.currency}")
    await rates.create_of_subscription(session, subscription.id, (subscription.currency, billed_in), request.fx_rates)


def open_or_wait(subscription: Subscription, now: datetime) -> Outcome:
    """The opening of a subscription that has started; one whose start lies ahead waits for the run.

    Rule: docs/rules/subscriptions.md#starts-in-the-future
    """
    billables = opening(subscription)
    if billables and subscription.start_date > now:
        subscription.opens_at = subscription.start_date
        return Outcome(subscription)
    return Outcome(subscription, billables)


def require_payable_start(behaviour: PaymentBehavior, start: datetime, now: datetime) -> None:
    """Refuse a start that must be paid for before it comes. Raises ValidationFailed."""
    if behaviour is PaymentBehavior.ERROR_IF_INCOMPLETE and start > now:
        raise ValidationFailed.of(
            "payment_behavior", "must not be error_if_incomplete for a start_date that lies in the future"
        )


def opening(subscription: Subscription) -> tuple[Billable, ...]:
    """What the opening of a subscription bills.

    Rule: docs/rules/subscriptions.md#opening
    """
    status = subscription.subscription_status
    if status is SubscriptionStatus.DRAFT or subscription.subscription_type in _UNBILLED:
        return ()
    period = Period(subscription.current_period_start, subscription.current_period_end)
    if status is SubscriptionStatus.TRIALING:
        return (Billable(subscription.id, InvoiceTrigger.TRIAL_START, period),)
    return (
        Billable(subscription.id, InvoiceTrigger.CREATE, period, activating=status is SubscriptionStatus.INCOMPLETE),
    )


_UNBILLED = {SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING}


def opening_status(
    behaviour: PaymentBehavior, trial: Period | None, wanted: SubscriptionStatus | None
) -> SubscriptionStatus:
    """How a subscription begins: as asked, else in its trial, else by its payment behaviour."""
    if wanted is not None:
        return wanted
    if trial is not None:
        return SubscriptionStatus.TRIALING
    active = behaviour is PaymentBehavior.DEFAULT_ACTIVE
    return SubscriptionStatus.ACTIVE if active else SubscriptionStatus.INCOMPLETE


async def _people(
    session: AsyncSession, request: CreateSubscriptionRequest, family: SubscriptionInheritanceConfig
) -> tuple[Customer, Customer | None, list[Customer], list[Customer]]:
    """The customer, the payer, the customers who inherit and those of inline children; all held, in order of id.

    Whoever shall be a child is locked exclusively, so that nobody gives them a subscription of their own meanwhile.
    """
    if request.customer_id:
        customer_id = (await find(session, Customer, request.customer_id)).id
    else:
        customer_id = (await lookup.by_external_id(session, request.external_customer_id or "")).id
    payer_id = None
    if family.invoicing_customer_external_id:
        payer_id = (await lookup.by_external_id(session, family.invoicing_customer_external_id)).id
    inheriting = list(dict.fromkeys(family.external_customer_ids_to_inherit_subscription or ()))
    below = [(await lookup.by_external_id(session, external_id)).id for external_id in inheriting]
    inline = [
        (await lookup.by_external_id(session, child.external_customer_id)).id
        for child in family.grouped_invoicing_children_to_create or ()
    ]
    exclusive = {*below, *inline} | ({customer_id} if family.parent_subscription_id else set())
    rows: dict[str, Customer] = {}
    for id in sorted({customer_id, *filter(None, [payer_id]), *below, *inline}):  # noqa: A001 (a row's id)
        if id in exclusive:
            await lock_row(session, Customer, id)
        rows[id] = await lookup.lock_for_use(session, id)
    return (
        rows[customer_id],
        rows[payer_id] if payer_id else None,
        [rows[customer_id] for customer_id in below],
        [rows[customer_id] for customer_id in inline],
    )


def _millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _rhythm(request: CreateSubscriptionRequest, customer: Customer, start: datetime) -> BillingTerms:
    cycle = request.billing_cycle or BillingCycle.ANNIVERSARY
    zone = ZoneInfo(customer.timezone)
    if cycle is BillingCycle.CALENDAR:
        anchor = calendar_anchor(start, request.billing_period, zone)
    else:
        anchor = request.billing_anchor or start
    return BillingTerms(
        currency=request.currency,
        start=start,
        end=request.end_date,
        period=request.billing_period,
        count=request.billing_period_count or 1,
        cycle=cycle,
        anchor=anchor,
        timezone=customer.timezone,
    )


def _check_terms(request: CreateSubscriptionRequest, rhythm: BillingTerms, now: datetime, *, carried: bool) -> None:
    check_collection(request.collection, request.payment)
    require_payable_start(request.payment, rhythm.start, now)
    if rhythm.end is not None and rhythm.end <= rhythm.start:
        raise ValidationFailed.of("end_date", "must be after start_date")
    if request.proration_behavior is not ProrationBehavior.CREATE_PRORATIONS:
        return
    if rhythm.start.astimezone(UTC).date() < now.astimezone(UTC).date() and not carried:
        raise ValidationFailed.of("start_date", "must not be before today with proration")
    if request.override_entitlements:
        raise ValidationFailed.of("override_entitlements", "cannot be combined with proration")


def check_collection(method: CollectionMethod, behaviour: PaymentBehavior) -> None:
    """Refuse a payment behaviour that does not go with the collection method. Raises ValidationFailed."""
    if behaviour not in _ALLOWED_PAYMENT[method]:
        allowed = ", ".join(sorted(behavior.value for behavior in _ALLOWED_PAYMENT[method]))
        raise ValidationFailed.of("payment_behavior", f"must be one of {allowed} for {method.value}")


async def _parent(session: AsyncSession, family: SubscriptionInheritanceConfig) -> Subscription | None:
    if not family.parent_subscription_id:
        return None
    parent = await lock_row(session, Subscription, family.parent_subscription_id)
    if parent.subscription_type not in {SubscriptionType.STANDALONE, SubscriptionType.PARENT}:
        raise InvalidOperation(
            f"A {parent.subscription_type.value} subscription cannot be a parent", {"subscription_id": parent.id}
        )
    if parent.subscription_status not in {SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING}:
        raise InvalidOperation(
            f"The parent must be active or trialing, not {parent.subscription_status.value}",
            {"subscription_id": parent.id},
        )
    return parent


def _type(
    family: SubscriptionInheritanceConfig, payer: Customer | None, parent: Subscription | None
) -> SubscriptionType:
    if parent is not None:
        return SubscriptionType.INHERITED
    if (
        family.external_customer_ids_to_inherit_subscription
        or family.subscriptions_ids_for_grouped_invoicing
        or family.grouped_invoicing_children_to_create
    ):
        return SubscriptionType.PARENT
    return SubscriptionType.STANDALONE if payer is None else SubscriptionType.DELEGATED_INVOICING


async def _made(
    session: AsyncSession,
    terms: SubscriptionTerms,
    rhythm: BillingTerms,
    bearings: InvoiceParties,
    wanted: SubscriptionStatus | None,
    now: datetime,
) -> tuple[Subscription, dict[str, SubscriptionLineItem]]:
    """The subscription with its items, addons, overrides, taxes and coupons; items by the plan price they stand for."""
    if bearings.type is SubscriptionType.INHERITED and bearings.parent is not None:
        return await _inherited(session, bearings.parent, bearings.customer, rhythm.start), {}
    plan = await lock_for_use(session, Plan, terms.plan_id)
    subscription = _new_row(terms, rhythm, bearings, plan)
    prices = await prices_of(session, PriceEntityType.PLAN, plan.id, subscription, subscription.start_date)
    if not prices:
        raise ValidationFailed.of(
            "plan_id",
            f"the plan has no price in {subscription.currency} for "
            f"{subscription.billing_period_count} {subscription.billing_period.value}",
        )
    subscription.synced_price_sequence = max(price.sequence for price in prices)
    if (terms.auto_invoice_threshold or 0) > 0 and any(price.type is not PriceType.USAGE for price in prices):
        raise ValidationFailed.of("auto_invoice_threshold", "needs a plan with usage prices only")
    trial = _trial(terms, rhythm, prices, wanted)
    _begin(subscription, rhythm, trial, wanted)
    session.add(subscription)
    await session.flush()
    items = await _plan_items(session, subscription, plan, prices, terms, now)
    for addon in terms.addons or ():
        await lifecycle.attach(session, subscription, addon, now, begin=subscription.start_date)
    for extra in terms.line_items or ():
        await extra_item(session, subscription, extra, now)
    await require_consistent(session, subscription)
    if terms.override_entitlements:
        await override_entitlements(session, subscription, terms.override_entitlements)
    await ports_of(session, SubscriptionPorts).credit_grants.give(session, subscription, terms.credit_grants, now)
    payer_taxes = (TaxEntityType.CUSTOMER, (bearings.payer or bearings.customer).id)
    own_taxes = (TaxEntityType.SUBSCRIPTION, subscription.id)
    await associations.inherit(session, payer_taxes, own_taxes, terms.tax_rate_overrides, now)
    await attach_coupons(session, subscription, terms, items, now)
    if trial is None:
        await prorate_entitlements(
            session, subscription, Period(subscription.current_period_start, subscription.current_period_end)
        )
    return subscription, items


def _new_row(terms: SubscriptionTerms, rhythm: BillingTerms, bearings: InvoiceParties, plan: Plan) -> Subscription:
    """The row of a subscription that has not begun yet, not in the session."""
    return Subscription(
        id=new_id(Kind.SUBSCRIPTION),
        customer_id=bearings.customer.id,
        plan_id=plan.id,
        lookup_key=terms.lookup_key or "",
        subscription_type=bearings.type,
        currency=rhythm.currency,
        billing_anchor=rhythm.anchor,
        billing_cycle=rhythm.cycle,
        billing_period=rhythm.period,
        billing_period_count=rhythm.count,
        timezone=rhythm.timezone,
        start_date=rhythm.start,
        end_date=terms.end_date or rhythm.end,
        commitment_amount=terms.commitment_amount,
        commitment_duration=terms.commitment_duration,
        overage_factor=terms.overage_factor or Decimal(1),
        enable_true_up=bool(terms.enable_true_up),
        auto_invoice_threshold=terms.auto_invoice_threshold,
        payment_behavior=terms.payment,
        collection_method=terms.collection,
        gateway_payment_method_id=terms.gateway_payment_method_id or "",
        payment_terms=terms.payment_terms,
        proration_behavior=terms.proration_behavior or ProrationBehavior.NONE,
        invoicing_customer_id=bearings.payer.id if bearings.payer else None,
        parent_subscription_id=bearings.parent.id if bearings.parent else None,
        meta=dict(terms.metadata or {}),
    )


def _trial(
    terms: SubscriptionTerms, rhythm: BillingTerms, prices: Sequence[Price], wanted: SubscriptionStatus | None
) -> Period | None:
    fixed = [
        price.trial_period_days
        for price in prices
        if price.type is PriceType.FIXED and price.billing_period is not BillingPeriod.ONETIME
    ]
    trial = trial_window(rhythm.start, trial_days(terms.trial_period_days, fixed), ZoneInfo(rhythm.timezone))
    if trial is None:
        if wanted is SubscriptionStatus.TRIALING:
            raise ValidationFailed.of("subscription_status", "cannot be trialing without a trial")
        return None
    if wanted in {SubscriptionStatus.ACTIVE, SubscriptionStatus.INCOMPLETE}:
        return None
    if rhythm.end is not None and trial.end > rhythm.end:
        raise ValidationFailed.of("trial_period_days", "must not reach beyond end_date")
    return trial


def _begin(
    subscription: Subscription, rhythm: BillingTerms, trial: Period | None, wanted: SubscriptionStatus | None
) -> None:
    subscription.trial_start = trial.start if trial else None
    subscription.trial_end = trial.end if trial else None
    subscription.subscription_status = opening_status(subscription.payment_behavior, trial, wanted)
    end = next_billing_date(rhythm.start, rhythm.recurrence, subscription.end_date)
    open_at(subscription, trial or Period(rhythm.start, end))


async def _plan_items(
    session: AsyncSession,
    subscription: Subscription,
    plan: Plan,
    prices: Sequence[Price],
    terms: SubscriptionTerms,
    now: datetime,
) -> dict[str, SubscriptionLineItem]:
    origin = ItemOrigin(LineItemOwner.PLAN, plan.id, plan.name)
    return await priced_items(
        session,
        subscription,
        prices,
        origin,
        first_overrides(terms),
        subscription.start_date,
        subscription.end_date,
        terms,
        now,
    )


def first_overrides(terms: SubscriptionTerms) -> list[OverrideLineItemRequest]:
    """The overrides that the plan's items begin with: the subscription's, or for a price that it names the first
    phase's."""
    first = terms.phases[0].override_line_items if terms.phases else None
    return list(
        {override.price_id: override for override in (*(terms.override_line_items or ()), *(first or ()))}.values()
    )


async def _inherited(session: AsyncSession, parent: Subscription, customer: Customer, start: datetime) -> Subscription:
    (child,) = await hierarchy.inherit(session, parent, [customer], start)
    return child


async def _grouped_child(
    session: AsyncSession,
    parent: Subscription,
    rhythm: BillingTerms,
    request: GroupedInvoicingChildRequest,
    customer: Customer,
    now: datetime,
) -> Subscription:
    """A child made with its parent: it shares the rhythm, and its opening charges are on the parent's invoice."""
    if customer.id == parent.customer_id:
        raise ValidationFailed.of("grouped_invoicing_children_to_create", "names the parent's own customer")
    await hierarchy.require_free(session, customer, parent, again=True)
    bearings = InvoiceParties(customer, None, parent, SubscriptionType.GROUPED_INVOICING)
    if request.phases:
        if request.phases[0].start_date != rhythm.start:
            raise ValidationFailed.of("phases", "must begin with the parent")
        request.end_date = request.phases[-1].end_date or request.end_date
    request.trial_period_days = _shared_trial(parent, rhythm)
    child, items = await _made(session, request, rhythm, bearings, parent.subscription_status, now)
    await make_phases(session, child, request, items, now)
    await record_subscription_event(session, child, "created")
    return child


def _shared_trial(parent: Subscription, rhythm: BillingTerms) -> int:
    """The days of the parent's trial: a family tries together, whatever the child's own prices offer."""
    if parent.trial_start is None or parent.trial_end is None:
        return 0
    zone = ZoneInfo(rhythm.timezone)
    return (parent.trial_end.astimezone(zone).date() - parent.trial_start.astimezone(zone).date()).days
