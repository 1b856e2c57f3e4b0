"""What subscriptions include, as it is shown.

Rule: docs/rules/entitlements.md#effective-entitlements
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.recurring import UsageReset
from farthing.catalogue.entitlements.enums import AggregationMode, EntitlementOwner
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.products.answers import feature_answers
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.schemas import FeatureResponse
from farthing.catalogue.products.tables import Feature
from farthing.core.clock import instant
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.storage.postgres import clock_of, ports_of
from farthing.subscriptions.enums import UsageWindowStatus
from farthing.subscriptions.ports import GrantAllowance, SubscriptionPorts
from farthing.subscriptions.schemas.responses import (
    AggregatedEntitlement,
    AggregatedEntitlementBucket,
    AggregatedFeature,
    EntitlementSource,
    GrantAllowanceState,
    GrantState,
)
from farthing.subscriptions.snapshot.entitlements import Entitled, FeatureEntitlement, combined, effective
from farthing.subscriptions.snapshot.loading import load
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot

_OWNER_WORDS: Mapping[EntitlementOwner, Literal["plan", "addon", "subscription"]] = {
    EntitlementOwner.PLAN: "plan",
    EntitlementOwner.ADDON: "addon",
    EntitlementOwner.SUBSCRIPTION: "subscription",
}


async def entitlements_of(
    session: AsyncSession, subscription_ids: Sequence[str], feature_ids: Sequence[str] = ()
) -> dict[str, list[AggregatedFeature]]:
    """What each subscription includes in its open period, by subscription id, only `feature_ids` if there are any."""
    snapshots = await load(session, subscription_ids)
    found = {
        snapshot.id: _wanted(effective(snapshot.entitled, snapshot.full_period), feature_ids) for snapshot in snapshots
    }
    features = await features_by_id(session, [id for each in found.values() for id in each])  # noqa: A001
    names = await names_of(session, snapshots)
    allowances = await allowances_of(session, snapshots)
    return {
        snapshot.id: [
            AggregatedFeature(
                feature=features[feature_id],
                entitlement=aggregated(entitlement, allowances.get((snapshot.id, feature_id), ())),
                sources=[source_of(source, snapshot.id, names) for source in entitlement.sources],
            )
            for feature_id, entitlement in found[snapshot.id].items()
            if feature_id in features
        ]
        for snapshot in snapshots
    }


async def entitlements_of_customer(
    session: AsyncSession, subscription_ids: Sequence[str], feature_ids: Sequence[str] = ()
) -> list[AggregatedFeature]:
    """What subscriptions of one customer include together, each in its own open period."""
    snapshots = await load(session, subscription_ids)
    found = {
        snapshot.id: _wanted(effective(snapshot.entitled, snapshot.full_period), feature_ids) for snapshot in snapshots
    }
    together = combined(found.values())
    features = await features_by_id(session, list(together))
    names = await names_of(session, snapshots)
    allowances = await allowances_of(session, snapshots)
    return [
        AggregatedFeature(
            feature=features[feature_id],
            entitlement=aggregated(
                entitlement,
                [left for snapshot in snapshots for left in allowances.get((snapshot.id, feature_id), ())],
            ),
            sources=[
                source_of(source, subscription_id, names)
                for subscription_id, each in found.items()
                if feature_id in each
                for source in each[feature_id].sources
            ],
        )
        for feature_id, entitlement in together.items()
        if feature_id in features
    ]


def _wanted(found: dict[str, FeatureEntitlement], feature_ids: Sequence[str]) -> dict[str, FeatureEntitlement]:
    return {id: entitlement for id, entitlement in found.items() if not feature_ids or id in feature_ids}  # noqa: A001


async def features_by_id(session: AsyncSession, ids: Sequence[str]) -> dict[str, FeatureResponse]:
    """Features with their meters as they travel."""
    rows = (await session.scalars(select(Feature).where(Feature.id.in_(set(ids))))).all()
    return {answer.id: answer for answer in await feature_answers(session, rows, meters=True)}


async def names_of(session: AsyncSession, snapshots: Sequence[SubscriptionSnapshot]) -> dict[str, str]:
    """What plans and addons are called, by id."""
    names = {snapshot.plan_id: snapshot.plan_name for snapshot in snapshots}
    addons = {addon.addon_id for snapshot in snapshots for addon in snapshot.addons}
    for table, ids in ((Plan, {snapshot.plan_id for snapshot in snapshots} - names.keys()), (Addon, addons)):
        if ids:
            rows = await session.execute(select(table.id, table.name).where(table.id.in_(ids)))
            names.update(rows.all())
    return names


async def allowances_of(
    session: AsyncSession, snapshots: Sequence[SubscriptionSnapshot]
) -> Mapping[tuple[str, str], Sequence[GrantAllowance]]:
    """What grants leave now, by subscription and feature; nothing is asked where nothing is granted."""
    granting = [snapshot for snapshot in snapshots if any(source.grant is not None for source in snapshot.entitled)]
    if not granting:
        return {}
    return await ports_of(session, SubscriptionPorts).find_allowances(session, granting, clock_of(session).now())


def grant_fields(entitlement: FeatureEntitlement, allowances: Sequence[GrantAllowance]) -> dict[str, Any]:
    """What a feature's grants are and leave, as fields of an answer; none without a grant."""
    grants = sorted(entitlement.grants, key=lambda source: source.id)
    if not grants or grants[0].grant is None:
        return {}
    fields: dict[str, Any] = {
        "grant_unlimited": False,
        "grant_state": GrantState(allowances=[_allowance_state(allowance) for allowance in allowances]),
    }
    if entitlement.mode is AggregationMode.ADDITIVE:
        first = grants[0].grant
        quotas = [source.grant.quota for source in grants if source.grant and source.grant.measure is first.measure]
        fields |= {
            "grant_measure": first.measure,
            "grant_quota": plain(exact_sum(quotas)),
            "grant_duration_unit": first.unit,
            "grant_duration_value": first.value,
        }
    return fields


def _allowance_state(allowance: GrantAllowance) -> GrantAllowanceState:
    return GrantAllowanceState(
        entitlement_id=allowance.entitlement_id,
        measure=allowance.measure,
        quota=plain(allowance.quota),
        usage=plain(allowance.usage),
        remaining=plain(max(EXACT.subtract(allowance.quota, allowance.usage), ZERO)),
        unlimited=False,
        is_active=allowance.valid_from is not None,
        status=UsageWindowStatus.ACTIVE if allowance.crossed_at is None else UsageWindowStatus.EXHAUSTED,
        grant_id=allowance.grant_id,
        valid_from=moment(allowance.valid_from),
        valid_to=moment(allowance.valid_to),
        quota_crossed_at=moment(allowance.crossed_at),
        last_computed_at=moment(allowance.computed_at),
    )


def moment(at: datetime | None) -> str | None:
    """An instant as it travels, if there is one."""
    return None if at is None else instant(at)


def aggregated(entitlement: FeatureEntitlement, allowances: Sequence[GrantAllowance] = ()) -> AggregatedEntitlement:
    """What holds for a feature, with the fields that its type has."""
    metered = entitlement.feature_type is FeatureType.METERED
    limit = None if entitlement.limit is None else int(entitlement.limit)
    return AggregatedEntitlement(
        is_enabled=True,
        is_soft_limit=entitlement.soft,
        aggregation_mode=entitlement.mode,
        usage_limit=limit if metered else UNSET,
        usage_reset_period=entitlement.reset if metered else None,
        static_values=list(entitlement.static_values) or None,
        config_values=[dict(value) for value in entitlement.config_values] or None,
        buckets=buckets_of(entitlement),
        **grant_fields(entitlement, allowances),
    )


def buckets_of(entitlement: FeatureEntitlement) -> list[AggregatedEntitlementBucket] | None:
    """The quotas that stand side by side; None where they add up."""
    if entitlement.mode is not AggregationMode.PARALLEL:
        return None
    return [_bucket(source) for source in entitlement.sources]


def _bucket(source: Entitled) -> AggregatedEntitlementBucket:
    grant = source.grant
    return AggregatedEntitlementBucket(
        entitlement_id=source.id,
        source_entity_id=source.entity_id,
        usage_limit=source.usage_limit,
        grant_measure=grant.measure if grant else None,
        grant_quota=plain(grant.quota) if grant else None,
        grant_duration_unit=grant.unit if grant else None,
        grant_duration_value=grant.value if grant else None,
        grant_unlimited=False if grant else None,
    )


def source_of(source: Entitled, subscription_id: str, names: Mapping[str, str]) -> EntitlementSource:
    """One entitlement that counts, with what its owner is called."""
    return EntitlementSource(
        subscription_id=subscription_id,
        entity_id=source.entity_id,
        entity_type=_OWNER_WORDS[source.entity_type],
        quantity=1,
        entity_name=names.get(source.entity_id, ""),
        entitlement_id=source.id,
        is_enabled=source.is_enabled,
        usage_limit=source.usage_limit,
        static_value=source.static_value or None,
        usage_reset_period=UsageReset(source.usage_reset_period) if source.usage_reset_period else None,
        config_value=dict(source.config_value) if source.config_value is not None else None,
    )
