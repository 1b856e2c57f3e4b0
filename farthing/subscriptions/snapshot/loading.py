"""Loading snapshots: a fixed number of statements for any number of subscriptions; what none has is not asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.products.tables import Feature
from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.storage.queries.rows import in_array, in_given_array, not_found
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.dates import open_period, recurrence
from farthing.subscriptions.enums import (
    AddonStatus,
    PauseStatus,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.snapshot.entitlements import Entitled, GrantTerms, OpenedWindow
from farthing.subscriptions.snapshot.line_items import load_line_items
from farthing.subscriptions.snapshot.opened_windows import load_opened_windows
from farthing.subscriptions.snapshot.values import (
    AddonWindow,
    LineItemSnapshot,
    SubscriptionCommitment,
    SubscriptionSnapshot,
    UsageCustomer,
)
from farthing.subscriptions.tables import AddonAssociation, Subscription

_Rows = Select[Subscription, str, str, bool, bool, bool]
_INVOICED = (SubscriptionType.STANDALONE, SubscriptionType.DELEGATED_INVOICING, SubscriptionType.PARENT)
_HAPPENED = (PauseStatus.ACTIVE, PauseStatus.COMPLETED)


async def load_one(session: AsyncSession, id: str) -> SubscriptionSnapshot:
    """The snapshot of one subscription. Raises NotFound."""
    found = await load(session, [id])
    if not found:
        raise not_found(Subscription, id)
    return found[0]


async def load(
    session: AsyncSession, ids: Sequence[str], *, since: datetime | None = None
) -> list[SubscriptionSnapshot]:
    """Snapshots of the subscriptions with these ids, in the order of the ids; unknown and deleted ones are left out.

    Line items that ended at or before `since` are left out too; None loads them all. Children of parents are loaded
    along. Statements: subscriptions with the names they need, line items with prices, entitlements, and where there are
    any: prices of buckets, addons, pauses, usage windows.
    """
    found = await _found_rows(session, _by_ids(), {"ids": list(ids)})
    by_id = await _snapshots(session, found, ids, since)
    return [by_id[wanted] for wanted in dict.fromkeys(ids) if wanted in by_id]


async def load_active(session: AsyncSession, payers: Collection[tuple[str, str]]) -> list[SubscriptionSnapshot]:
    """Snapshots of the active subscriptions that are invoiced to these payers, customers and currencies, in the order
    of their ids; otherwise as `load`.

    Line items are left out that ended before every open period began.
    """
    found = await _found_rows(session, _active_of_payers(), {"payers": list(payers)})
    asked_for = [found_row.row for found_row in found if found_row.is_asked_for]
    if not asked_for:
        return []
    ids = [row.id for row in asked_for]
    snapshots = await _snapshots(session, found, ids, min(row.current_period_start for row in asked_for))
    return [snapshots[subscription_id] for subscription_id in ids]


@dataclass(frozen=True, slots=True)
class _FoundRow:
    """A subscription with what its snapshot names, and which of the rarer parts it has."""

    row: Subscription
    plan_name: str | None
    external_id: str | None
    has_addons: bool
    has_pauses: bool
    is_asked_for: bool


async def _found_rows(session: AsyncSession, query: _Rows, parameters: Mapping[str, Any]) -> list[_FoundRow]:
    # what this transaction has changed must be seen, whatever the session's autoflush says
    await session.flush()
    return [_FoundRow(*columns) for columns in await session.execute(query, parameters)]


@cache
def _by_ids() -> _Rows:
    """Subscriptions by `ids`, and their children."""
    own, child = (in_given_array(column, "ids") for column in (Subscription.id, Subscription.parent_subscription_id))
    return _rows_where(or_(own, child), true())


@cache
def _active_of_payers() -> _Rows:
    """Active subscriptions that are invoiced to `payers`, and their children."""
    wanted = select(Subscription.id).where(
        Subscription.status == Status.PUBLISHED,
        tuple_(Subscription.payer_id, Subscription.currency).in_(bindparam("payers", expanding=True)),
        Subscription.subscription_status == SubscriptionStatus.ACTIVE,
        Subscription.subscription_type.in_(_INVOICED),
    )
    own = Subscription.id.in_(wanted)
    return _rows_where(or_(own, Subscription.parent_subscription_id.in_(wanted)), own)


def _rows_where(condition: ColumnElement[bool], asked_for: ColumnElement[bool]) -> _Rows:
    return (
        select(
            Subscription,
            Plan.name,
            Customer.external_id,
            exists().where(AddonAssociation.subscription_id == Subscription.id),
            exists().where(SubscriptionPause.subscription_id == Subscription.id),
            asked_for,
        )
        .outerjoin(Plan, Plan.id == Subscription.plan_id)
        .outerjoin(Customer, Customer.id == Subscription.customer_id)
        .where(condition, Subscription.status == Status.PUBLISHED)
        .order_by(Subscription.id)
    )


async def _snapshots(
    session: AsyncSession, found: Sequence[_FoundRow], ids: Sequence[str], since: datetime | None
) -> dict[str, SubscriptionSnapshot]:
    by_id = {found_row.row.id: found_row.row for found_row in found}
    children: dict[str, list[Subscription]] = defaultdict(list)
    for row in by_id.values():
        if row.parent_subscription_id in by_id and row.subscription_type in _CHILDREN:
            children[row.parent_subscription_id or ""].append(row)
    parts = await _parts(session, found, since)
    payers = await _payers_of_families(session, by_id)
    return {wanted: _whole(by_id[wanted], children, parts, payers) for wanted in ids if wanted in by_id}


async def _payers_of_families(session: AsyncSession, rows: Mapping[str, Subscription]) -> dict[str, str]:
    """Who pays for the parents of grouped children, by the parent's id; asked for only when a child is loaded alone."""
    parents = {
        row.parent_subscription_id or ""
        for row in rows.values()
        if row.subscription_type is SubscriptionType.GROUPED_INVOICING
    }
    payers = {id: rows[id].invoicing_customer_id or rows[id].customer_id for id in parents if id in rows}  # noqa: A001
    absent = sorted(parents - payers.keys())
    if absent:
        found = await session.execute(select(Subscription.id, Subscription.payer_id).where(Subscription.id.in_(absent)))
        payers |= dict(found.all())
    return payers


_CHILDREN = {SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING}


class _SnapshotParts:
    """What belongs to the subscriptions, by subscription id; and who is called what."""

    items: dict[str, list[LineItemSnapshot]]
    addons: dict[str, list[AddonWindow]]
    entitled: dict[str, list[Entitled]]
    opened: dict[str, list[OpenedWindow]]
    pauses: dict[str, list[SubscriptionPause]]
    plans: dict[str, str]
    customers: dict[str, str]


async def _parts(session: AsyncSession, found: Sequence[_FoundRow], since: datetime | None) -> _SnapshotParts:
    rows = [found_row.row for found_row in found]
    parts = _SnapshotParts()
    parts.items = await load_line_items(session, [row.id for row in rows], since)
    parts.addons = await _addons(session, [found_row.row.id for found_row in found if found_row.has_addons])
    parts.entitled = await _entitled(session, rows, parts.addons)
    parts.opened = await load_opened_windows(session, rows, parts.entitled, since)
    parts.pauses = await _pauses(session, [found_row.row.id for found_row in found if found_row.has_pauses])
    parts.plans = {found_row.row.plan_id: found_row.plan_name or "" for found_row in found}
    parts.customers = {found_row.row.customer_id: found_row.external_id or "" for found_row in found}
    return parts


async def _pauses(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[SubscriptionPause]]:
    pauses: dict[str, list[SubscriptionPause]] = defaultdict(list)
    if not ids:
        return pauses
    for pause in await session.scalars(
        select(SubscriptionPause)
        .where(
            in_array(SubscriptionPause.subscription_id, ids),
            SubscriptionPause.pause_status.in_(_HAPPENED),
            SubscriptionPause.status == Status.PUBLISHED,
        )
        .order_by(SubscriptionPause.pause_start)
    ):
        pauses[pause.subscription_id].append(pause)
    return pauses


async def _addons(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[AddonWindow]]:
    found: dict[str, list[AddonWindow]] = defaultdict(list)
    if not ids:
        return found
    rows = await session.scalars(
        select(AddonAssociation)
        .where(in_array(AddonAssociation.subscription_id, ids), AddonAssociation.status == Status.PUBLISHED)
        .order_by(AddonAssociation.start_date, AddonAssociation.id)
    )
    for row in rows:
        found[row.subscription_id].append(
            AddonWindow(row.id, row.addon_id, row.addon_status, row.start_date, row.end_date)
        )
    return found


async def _entitled(
    session: AsyncSession, rows: Iterable[Subscription], addons: dict[str, list[AddonWindow]]
) -> dict[str, list[Entitled]]:
    """The entitlements of each subscription's plan, its addons (once for each time attached) and its own."""
    owners = {
        EntitlementOwner.PLAN: {row.plan_id for row in rows},
        EntitlementOwner.SUBSCRIPTION: {row.id for row in rows},
        EntitlementOwner.ADDON: {addon.addon_id for windows in addons.values() for addon in windows},
    }
    parameters = {owner.value: list(ids) for owner, ids in owners.items()}
    pairs = await session.execute(_entitlements_with_meters(), parameters)
    by_owner: dict[tuple[EntitlementOwner, str], list[tuple[Entitlement, str | None]]] = defaultdict(list)
    for row, meter_id in pairs:
        by_owner[row.entity_type, row.entity_id].append((row, meter_id))
    found: dict[str, list[Entitled]] = {}
    for subscription in rows:
        own = [
            *by_owner[EntitlementOwner.PLAN, subscription.plan_id],
            *by_owner[EntitlementOwner.SUBSCRIPTION, subscription.id],
        ]
        found[subscription.id] = [entitled(row, meter_id) for row, meter_id in own]
        for addon in addons.get(subscription.id, ()):
            if addon.status is not AddonStatus.PENDING:
                found[subscription.id] += [
                    entitled(row, meter_id, addon) for row, meter_id in by_owner[EntitlementOwner.ADDON, addon.addon_id]
                ]
    return found


@cache
def _entitlements_with_meters() -> Select[Entitlement, str | None]:
    """The entitlements of owners of each kind, whose ids are the parameter named after the kind."""
    table = Entitlement
    kinds = (EntitlementOwner.PLAN, EntitlementOwner.SUBSCRIPTION, EntitlementOwner.ADDON)
    owned = (and_(table.entity_type == kind, in_given_array(table.entity_id, kind.value)) for kind in kinds)
    return (
        select(table, Feature.meter_id)
        .join(Feature, Feature.id == table.feature_id)
        .where(table.status == Status.PUBLISHED, or_(*owned))
        .order_by(table.id)
    )


def entitled(row: Entitlement, meter_id: str | None, addon: AddonWindow | None = None) -> Entitled:
    """One entitlement row as a value; an addon's holds while the addon is attached."""
    grant = None
    if (
        row.grant_measure is not None
        and row.grant_quota is not None
        and row.grant_duration_unit is not None
        and row.grant_allocation_behavior is not None
    ):
        grant = GrantTerms(
            row.grant_measure,
            row.grant_quota,
            row.grant_duration_unit,
            row.grant_duration_value,
            row.grant_allocation_behavior,
        )
    return Entitled(
        id=row.id,
        status=row.status,
        entity_type=row.entity_type,
        entity_id=row.entity_id,
        feature_id=row.feature_id,
        feature_type=row.feature_type,
        meter_id=meter_id,
        is_enabled=row.is_enabled,
        usage_limit=row.usage_limit,
        usage_reset_period=row.usage_reset_period,
        is_soft_limit=row.is_soft_limit,
        static_value=row.static_value,
        config_value=row.config_value,
        aggregation_mode=row.aggregation_mode,
        grant=grant,
        parent_entitlement_id=row.parent_entitlement_id,
        association_id=None if addon is None else addon.association_id,
        start_date=row.start_date if addon is None else addon.start,
        end_date=row.end_date if addon is None else addon.end,
    )


def _whole(
    row: Subscription, children: Mapping[str, list[Subscription]], parts: _SnapshotParts, payers: Mapping[str, str]
) -> SubscriptionSnapshot:
    below = children.get(row.id, ())
    inherited = [child for child in below if child.subscription_type is SubscriptionType.INHERITED]
    grouped = [child for child in below if child.subscription_type is SubscriptionType.GROUPED_INVOICING]
    return SubscriptionSnapshot(
        id=row.id,
        customer_id=row.customer_id,
        payer_id=_payer(row, payers),
        invoicing_customer_id=row.invoicing_customer_id,
        parent_id=row.parent_subscription_id,
        plan_id=row.plan_id,
        plan_name=parts.plans.get(row.plan_id, ""),
        status=SubscriptionStatus(row.subscription_status),
        type=SubscriptionType(row.subscription_type),
        currency=row.currency,
        recurrence=recurrence(row),
        cycle=row.billing_cycle,
        start=row.start_date,
        end=row.end_date,
        current=open_period(row),
        full_period_start=row.full_period_start,
        trial=_trial_of(row),
        cancel_at=row.cancel_at,
        cancel_at_period_end=row.cancel_at_period_end,
        cancelled_at=row.cancelled_at,
        commitment=_commitment_of(row),
        threshold=row.auto_invoice_threshold,
        proration=row.proration_behavior,
        end_proration=row.end_proration_behavior,
        payment_behavior=row.payment_behavior,
        collection_method=row.collection_method,
        payment_method_id=row.gateway_payment_method_id,
        payment_terms=row.payment_terms,
        invoices_begun=row.invoices_begun,
        version=row.version,
        metadata=dict(row.meta),
        items=tuple(parts.items.get(row.id, ())),
        addons=tuple(parts.addons.get(row.id, ())),
        entitled=tuple(parts.entitled.get(row.id, ())),
        usage_customers=tuple(
            UsageCustomer(
                subscription.customer_id,
                parts.customers.get(subscription.customer_id, ""),
                subscription.start_date,
                subscription.end_date,
            )
            for subscription in (row, *inherited)
        ),
        pauses=_uncharged(row, parts),
        former_anchors=tuple(
            (pause.pause_start, pause.original_billing_anchor) for pause in parts.pauses.get(row.id, ())
        ),
        grouped=tuple(_whole(child, {}, parts, payers) for child in grouped),
        opened=tuple(parts.opened.get(row.id, ())),
    )


def _trial_of(row: Subscription) -> Period | None:
    return None if row.trial_start is None or row.trial_end is None else Period(row.trial_start, row.trial_end)


def _commitment_of(row: Subscription) -> SubscriptionCommitment | None:
    if not row.commitment_amount:
        return None
    return SubscriptionCommitment(
        row.commitment_amount, row.overage_factor, row.commitment_duration, row.enable_true_up
    )


def _uncharged(row: Subscription, parts: _SnapshotParts) -> tuple[tuple[datetime, datetime | None], ...]:
    """The stretches whose usage is free: pauses; and a grouped child's trial, which the family's periods may hold."""
    pauses = [(pause.pause_start, pause.resumed_at) for pause in parts.pauses.get(row.id, ())]
    if row.subscription_type is SubscriptionType.GROUPED_INVOICING and row.trial_start and row.trial_end:
        pauses = sorted([*pauses, (row.trial_start, row.trial_end)], key=lambda span: span[0])
    return tuple(pauses)


def _payer(row: Subscription, payers: Mapping[str, str]) -> str:
    """Who pays: for a grouped child, whoever pays for its family."""
    if row.subscription_type is SubscriptionType.GROUPED_INVOICING:
        return payers[row.parent_subscription_id or ""]
    return row.invoicing_customer_id or row.customer_id
