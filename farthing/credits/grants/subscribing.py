"""What a subscription is granted when it begins or an addon is attached, and what its changes do to that.

The subscription is locked or new in every function here.
Rule: docs/rules/credits.md#grants
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.plans.credit_grants import CreditGrantCadence, CreditGrantScope, CreditGrantTerms
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import plain, round_to
from farthing.credits.grants.applying import DueApplication, close, new_application, settle
from farthing.credits.grants.enums import OPEN, ApplicationReason, ApplicationStatus
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.credits.rules.grants import COEFFICIENT_SCALE, application_key, prorated_credits, share_left
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.addons.lifecycle import period_of
from farthing.subscriptions.enums import SubscriptionType
from farthing.subscriptions.ports import CarriedGrant
from farthing.subscriptions.tables import AddonAssociation, Subscription

TERMS = (
    "name",
    "credits",
    "cadence",
    "period",
    "period_count",
    "expiration_type",
    "expiration_duration",
    "expiration_duration_unit",
    "rollover_maximum",
    "priority",
    "conversion_rate",
    "topup_conversion_rate",
)
"""What a copy has in common with its template, and a grant with the terms it was made by."""
_SOURCE_OF_ADDON, _SOURCE_OF_PLAN_CHANGE = "addon_attachment", "plan_change"


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a copy comes from, and from when to when it gives credits."""

    start: datetime
    end: datetime | None
    plan_id: str | None = None
    addon_id: str | None = None
    addon_association_id: str | None = None


def copy_of(template: CreditGrant, subscription: Subscription, origin: _Origin) -> CreditGrant:
    """A grant of a subscription with the terms of a template or of another grant."""
    return CreditGrant(
        id=new_id(Kind.CREDIT_GRANT),
        scope=CreditGrantScope.SUBSCRIPTION,
        subscription_id=subscription.id,
        plan_id=origin.plan_id,
        addon_id=origin.addon_id,
        addon_association_id=origin.addon_association_id,
        start_date=origin.start,
        end_date=origin.end,
        credit_grant_anchor=origin.start,
        meta=dict(template.meta),
        **{name: getattr(template, name) for name in TERMS},
    )


def grant_of(subscription: Subscription, terms: CreditGrantTerms) -> CreditGrant:
    """A grant that was asked for a subscription. Raises ValidationFailed for dates outside of its life."""
    start = terms.start_date or subscription.start_date
    end = terms.end_date or subscription.end_date
    if start < subscription.start_date:
        raise ValidationFailed.of("start_date", f"must not be before {instant(subscription.start_date)}, its start")
    if subscription.end_date is not None and end is not None and end > subscription.end_date:
        raise ValidationFailed.of("end_date", f"must not be after {instant(subscription.end_date)}, its end")
    if end is not None and end < start:
        raise ValidationFailed.of("end_date", "must not be before start_date")
    return CreditGrant(
        id=new_id(Kind.CREDIT_GRANT),
        scope=CreditGrantScope.SUBSCRIPTION,
        subscription_id=subscription.id,
        start_date=start,
        end_date=end,
        credit_grant_anchor=start,
        meta=dict(terms.metadata or {}),
        **{name: getattr(terms, name) for name in TERMS},
    )


def first_application(grant: CreditGrant, subscription: Subscription) -> CreditGrantApplication:
    """The application that a grant begins with."""
    assert grant.start_date is not None, "a subscription's grant has a start"
    recurring = grant.cadence is CreditGrantCadence.RECURRING
    reason = ApplicationReason.FIRST_TIME_RECURRING if recurring else ApplicationReason.ONETIME
    return new_application(grant, subscription, grant.start_date, reason)


async def begin(
    session: AsyncSession,
    subscription: Subscription,
    grants: Sequence[CreditGrant],
    now: datetime,
    firsts: Mapping[str, CreditGrantApplication] | None = None,
) -> None:
    """Store new grants with their first applications, and apply what is due; `firsts` are made already, by grant."""
    if not grants:
        return
    session.add_all(grants)
    await session.flush()
    due = []
    for grant in grants:
        first = (firsts or {}).get(grant.id) or first_application(grant, subscription)
        session.add(first)
        due.append(DueApplication(first, grant, subscription))
    await session.flush()
    await settle(session, [part for part in due if part.application.scheduled_for <= now], now)


async def templates_of(session: AsyncSession, scope: CreditGrantScope, owner_id: str) -> Sequence[CreditGrant]:
    """The published templates of a plan or an addon, oldest first."""
    owner = CreditGrant.plan_id if scope is CreditGrantScope.PLAN else CreditGrant.addon_id
    query = select(CreditGrant).where(
        owner == owner_id, CreditGrant.scope == scope, CreditGrant.status == Status.PUBLISHED
    )
    return (await session.scalars(query.order_by(CreditGrant.created_at, CreditGrant.id))).all()


async def give(
    session: AsyncSession, subscription: Subscription, asked: Sequence[CreditGrantTerms] | None, now: datetime
) -> None:
    """Give a new subscription the grants that are named, or copies of its plan's. Raises ValidationFailed."""
    if asked is None:
        origin = _Origin(subscription.start_date, subscription.end_date, plan_id=subscription.plan_id)
        templates = await templates_of(session, CreditGrantScope.PLAN, subscription.plan_id)
        await begin(session, subscription, [copy_of(template, subscription, origin) for template in templates], now)
        return
    for terms in asked:
        if terms.scope is not CreditGrantScope.SUBSCRIPTION:
            raise ValidationFailed.of("credit_grants.scope", "must be SUBSCRIPTION")
    await begin(session, subscription, [grant_of(subscription, terms) for terms in asked], now)


async def give_for_addon(
    session: AsyncSession, subscription: Subscription, association: AddonAssociation, now: datetime
) -> None:
    """Give a subscription copies of an attached addon's templates, the first of them for what is left of the period.

    Rule: docs/rules/credits.md#grants-of-addons
    """
    templates = await templates_of(session, CreditGrantScope.ADDON, association.addon_id)
    if not templates or subscription.subscription_type is SubscriptionType.INHERITED:
        return
    origin = _Origin(
        association.start_date,
        association.end_date,
        addon_id=association.addon_id,
        addon_association_id=association.id,
    )
    grants = [copy_of(template, subscription, origin) for template in templates]
    await begin(session, subscription, grants, now, _prorated_firsts(subscription, grants, _SOURCE_OF_ADDON))


def _prorated_firsts(
    subscription: Subscription, grants: Sequence[CreditGrant], source: str
) -> dict[str, CreditGrantApplication]:
    """The first applications of the grants that begin inside a billing period and recur with it, by grant: they are for
    what is left of the period, and the next ones for whole periods."""
    firsts = {}
    for grant in grants:
        assert grant.start_date is not None, "a subscription's grant has a start"
        period = period_of(subscription, grant.start_date)
        if period.start < grant.start_date and _recurs_with(grant, subscription):
            grant.credit_grant_anchor = period.end
            first = first_application(grant, subscription)
            firsts[grant.id] = _prorated(first, period, source)
    return firsts


def _recurs_with(grant: CreditGrant, subscription: Subscription) -> bool:
    if grant.period is None:
        return False
    return (grant.period.value, grant.period_count) == (
        subscription.billing_period.value,
        subscription.billing_period_count,
    )


def _prorated(application: CreditGrantApplication, period: Period, source: str) -> CreditGrantApplication:
    at, whole = application.period_start, application.credits
    application.period_end = period.end
    application.credits = prorated_credits(whole, period, at)
    application.idempotency_key = application_key(application.credit_grant_id, at, period.end)
    application.meta = {
        "proration_applied": "true",
        "proration_coefficient": plain(round_to(share_left(period, at), COEFFICIENT_SCALE)),
        "proration_original_credits": plain(Decimal(whole)),
        "proration_period_start": instant(period.start),
        "proration_period_end": instant(period.end),
        "proration_date": instant(at),
        "proration_strategy": "second_based",
        "proration_source": source,
    }
    return application


async def change_plan(
    session: AsyncSession,
    subscription: Subscription,
    former_plan_id: str,
    at: datetime,
    now: datetime,
    prorates: bool,
) -> None:
    """End the grants of the former plan at `at`, and give those of the present one; what was given stays.

    Rule: docs/rules/credits.md#grants-and-changes-of-plan
    """
    query = select(CreditGrant.id).where(
        CreditGrant.subscription_id == subscription.id, CreditGrant.plan_id == former_plan_id
    )
    await end_grants(session, (await session.scalars(query)).all(), at)
    templates = await templates_of(session, CreditGrantScope.PLAN, subscription.plan_id)
    period = period_of(subscription, at)
    grants = []
    for template in templates:
        later = period.start < at and not prorates and _recurs_with(template, subscription)
        start = period.end if later else at
        origin = _Origin(start, subscription.end_date, plan_id=subscription.plan_id)
        grants.append(copy_of(template, subscription, origin))
    await begin(session, subscription, grants, now, _prorated_firsts(subscription, grants, _SOURCE_OF_PLAN_CHANGE))


async def apply_due(session: AsyncSession, subscription: Subscription, now: datetime) -> None:
    """Apply what waited for the subscription to become active."""
    due = await _open_applications(session, [subscription])
    for part in due:
        application = part.application
        application.scheduled_for = application.next_attempt_at = application.period_start
    await settle(session, [part for part in due if part.application.scheduled_for <= now], now)


async def move(session: AsyncSession, subscription: Subscription, by: timedelta) -> None:
    """Move the grants of a draft along with its start."""
    for part in await _open_applications(session, [subscription]):
        grant, former = part.grant, part.application
        assert grant.start_date is not None, "a subscription's grant has a start"
        grant.start_date += by
        grant.credit_grant_anchor = grant.start_date
        if grant.end_date is not None:
            grant.end_date += by
        first = first_application(grant, subscription)
        for name in ("scheduled_for", "period_start", "period_end", "next_attempt_at", "idempotency_key"):
            setattr(former, name, getattr(first, name))
        former.retry_count = 0
    await session.flush()


async def end(session: AsyncSession, subscription_id: str, at: datetime, association_id: str | None) -> None:
    """End the grants of a subscription at `at`: all of them, or those that one addon brought."""
    query = select(CreditGrant.id).where(CreditGrant.subscription_id == subscription_id)
    if association_id is not None:
        query = query.where(CreditGrant.addon_association_id == association_id)
    await end_grants(session, (await session.scalars(query)).all(), at)


async def end_grants(session: AsyncSession, grant_ids: Sequence[str], at: datetime) -> None:
    """End grants of a locked subscription at `at`; their applications from then on are cancelled."""
    if not grant_ids:
        return
    grants = await session.scalars(
        select(CreditGrant)
        .where(in_array(CreditGrant.id, grant_ids), CreditGrant.status == Status.PUBLISHED)
        .order_by(CreditGrant.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    ended = []
    for grant in grants:
        assert grant.start_date is not None, "a subscription's grant has a start"
        until = max(at, grant.start_date)
        grant.end_date = until if grant.end_date is None else min(grant.end_date, until)
        ended.append(grant.id)
    table = CreditGrantApplication
    applications = await session.scalars(
        select(table).where(
            in_array(table.credit_grant_id, ended), table.application_status.in_(OPEN), table.scheduled_for >= at
        )
    )
    for application in applications:
        close(application, ApplicationStatus.CANCELLED, f"the grant ended at {instant(at)}")
    await session.flush()


async def discard(session: AsyncSession, subscription_ids: Sequence[str], status: Status) -> None:
    """Take back the grants of subscriptions that never came to be."""
    table = CreditGrantApplication
    await session.execute(
        update(table)
        .where(in_array(table.subscription_id, subscription_ids), table.application_status.in_(OPEN))
        .values(
            application_status=ApplicationStatus.CANCELLED,
            failure_reason="the subscription never came to be",
            next_attempt_at=None,
        )
    )
    await session.execute(
        update(CreditGrant).where(in_array(CreditGrant.subscription_id, subscription_ids)).values(status=status)
    )


async def find_carried(session: AsyncSession, former: Subscription) -> Sequence[CarriedGrant]:
    """The grants of a subscription beside its plan's that have more to give."""
    return [
        CarriedGrant(
            part.grant.id,
            part.grant.addon_association_id,
            part.application.id,
            None if part.grant.end_date == former.end_date else part.grant.end_date,
        )
        for part in await _open_applications(session, [former])
        if part.grant.plan_id is None
    ]


async def carry(
    session: AsyncSession, carried: Sequence[CarriedGrant], fresh: Subscription, associations: Mapping[str, str]
) -> None:
    """Let a successor go on with grants, in their own rhythm: what they have given is not given again.

    Those of an addon that was not carried over end with it.
    """
    for had in carried:
        if had.addon_association_id is not None and had.addon_association_id not in associations:
            continue
        former = await session.get_one(CreditGrant, had.grant_id)
        waiting = await session.get_one(CreditGrantApplication, had.application_id)
        heir = associations.get(had.addon_association_id or "")
        origin = _Origin(
            waiting.period_start, had.end or fresh.end_date, addon_id=former.addon_id, addon_association_id=heir
        )
        grant = copy_of(former, fresh, origin)
        grant.credit_grant_anchor = former.credit_grant_anchor
        session.add(grant)
        await session.flush()
        application = new_application(grant, fresh, waiting.period_start, waiting.application_reason)
        application.period_end, application.credits = waiting.period_end, waiting.credits
        application.meta = dict(waiting.meta)
        application.idempotency_key = application_key(grant.id, waiting.period_start, waiting.period_end)
        session.add(application)
    await session.flush()


async def _open_applications(session: AsyncSession, subscriptions: Sequence[Subscription]) -> list[DueApplication]:
    """The open applications of locked subscriptions, with their grants."""
    by_id = {subscription.id: subscription for subscription in subscriptions}
    table = CreditGrantApplication
    rows = await session.execute(
        select(table, CreditGrant)
        .join(CreditGrant, CreditGrant.id == table.credit_grant_id)
        .where(in_array(table.subscription_id, by_id), table.application_status.in_(OPEN))
        .order_by(table.period_start, table.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return [DueApplication(application, grant, by_id[application.subscription_id]) for application, grant in rows]
