"""What subscriptions include, as it is shown.

Rule: docs/rules/entitlements.md#effective-entitlements
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.recurring import UsageReset
from farthing.catalogue.entitlements.enums import AggregationMode, EntitlementOwner
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.products.answers import feature_answers
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.schemas import FeatureResponse
from farthing.catalogue.products.tables import Feature
from farthing.core.money import plain
from farthing.subscriptions.schemas.responses import (
    AggregatedEntitlement,
    AggregatedEntitlementBucket,
    AggregatedFeature,
    EntitlementSource,
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
    return {
        snapshot.id: [
            AggregatedFeature(
                feature=features[feature_id],
                entitlement=aggregated(entitlement),
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
    return [
        AggregatedFeature(
            feature=features[feature_id],
            entitlement=aggregated(entitlement),
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


def aggregated(entitlement: FeatureEntitlement) -> AggregatedEntitlement:
    """What holds for a feature, with the fields that its type has."""
    metered = entitlement.feature_type is FeatureType.METERED
    limit = None if entitlement.limit is None else int(entitlement.limit)
    return AggregatedEntitlement(
        is_enabled=True,
        is_soft_limit=entitlement.soft,
        aggregation_mode=entitlement.mode,
        **({"usage_limit": limit} if metered else {}),
        usage_reset_period=entitlement.reset if metered else None,
        static_values=list(entitlement.static_values) or None,
        config_values=[dict(value) for value in entitlement.config_values] or None,
        buckets=[_bucket(source) for source in entitlement.sources]
        if entitlement.mode is AggregationMode.PARALLEL
        else None,
    )


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
