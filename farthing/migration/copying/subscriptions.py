"""Subscriptions as they stand, with their line items, phases, pauses, addons, coupons, overrides and credit grants.

Rule: docs/rules/migration.md#subscriptions
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from msgspec import UNSET

from farthing.catalogue.discounts.attaching import Attachment, take_over_attachment
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.plans.credit_grants import CreateCreditGrantRequest
from farthing.catalogue.prices import lifecycle as prices
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.core.errors import ValidationFailed
from farthing.credits.grants import lifecycle as grants
from farthing.migration.copying.catalogue import (
    ADDONS,
    COUPONS,
    ENTITLEMENTS,
    GRANT_FIELDS,
    PLANS,
    PRICES,
    SUBSCRIPTIONS,
    price_body,
)
from farthing.migration.copying.customers import CUSTOMERS
from farthing.migration.copying.target import MigrationTarget
from farthing.migration.source.ended_items import FROM_PREVIEW
from farthing.migration.source.fields import SourceRecord, decimal_of, fields_of, metadata_of, time_of
from farthing.storage.queries.rows import find
from farthing.subscriptions.attachments import count_periods, override_entitlements, periods_after
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.schemas.requests import OverrideEntitlementRequest
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.takeover.requests import (
    TakenOverAddon,
    TakenOverLineItem,
    TakenOverPhase,
    TakenOverSubscription,
)
from farthing.subscriptions.takeover.taking_over import (
    take_over_addon,
    take_over_line_item,
    take_over_phase,
    take_over_subscription,
)

LINE_ITEMS, PHASES = "subscription line items", "subscription phases"
ADDON_ASSOCIATIONS, COUPON_ASSOCIATIONS = "addon associations", "coupon associations"
CHILDREN = frozenset({"inherited", "grouped_invoicing"})
_SAME = (
    "subscription_status",
    "subscription_type",
    "currency",
    "lookup_key",
    "billing_anchor",
    "billing_cycle",
    "billing_period",
    "billing_period_count",
    "timezone",
    "start_date",
    "end_date",
    "current_period_start",
    "current_period_end",
    "trial_start",
    "trial_end",
    "cancelled_at",
    "cancel_at",
    "cancel_at_period_end",
    "commitment_duration",
    "overage_factor",
    "enable_true_up",
    "payment_behavior",
    "collection_method",
    "gateway_payment_method_id",
    "payment_terms",
    "proration_behavior",
    "created_at",
)
_OPTIONAL = ("lookup_key", "gateway_payment_method_id", "payment_terms", "created_at")
_COMMITMENT = (
    "commitment_amount",
    "commitment_quantity",
    "commitment_overage_factor",
    "commitment_true_up_enabled",
    "commitment_windowed",
    "commitment_duration",
)
_BILLED_AT = MappingProxyType({"active": "current_period_end", "trialing": "trial_end"})
"""When the source bills a subscription next, by its status."""
_UNUSED_PAUSES = frozenset({"completed", "cancelled"})


async def copy_subscription(target: MigrationTarget, record: SourceRecord) -> str:
    """A subscription with all that belongs to it. Raises ValidationFailed for one whose period or trial has ended and
    that the source has still to bill."""
    _require_billed(target, record)
    terms = target.read(await _terms(target, record), TakenOverSubscription, _OPTIONAL)
    subscription = await take_over_subscription(target.session, terms)
    target.note_part(SUBSCRIPTIONS, record["id"], subscription.id)
    for phase in _published(record, "phases"):
        await _copy_phase(target, subscription, phase)
    for association in _published(record, "addons"):
        await _copy_addon(target, subscription, association)
    for item in _published(record, "line_items"):
        await _copy_line_item(target, subscription, item)
    for association in _published(record, "coupon_associations"):
        await _copy_coupon(target, subscription, association)
    for entitlement in _published(record, "entitlement_overrides"):
        await _copy_override(target, subscription, entitlement)
    if subscription.subscription_status is not SubscriptionStatus.CANCELLED:
        for grant in _published(record, "credit_grants"):
            await _copy_grant(target, subscription, record, grant)
    _name_what_stays_behind(target, record)
    return subscription.id


def _published(record: SourceRecord, name: str) -> Iterator[SourceRecord]:
    for part in record.get(name) or ():
        if isinstance(part, dict) and part.get("status", "published") == "published":
            yield part


def _require_billed(target: MigrationTarget, record: SourceRecord) -> None:
    end = _BILLED_AT.get(str(record.get("subscription_status")))
    ends = None if end is None else time_of(record, end)
    if end is not None and ends is not None and ends <= target.now:
        raise ValidationFailed.of(end, f"has passed ({record[end]}) and the source has not billed it yet")


async def _terms(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    body = fields_of(record, _SAME)
    body |= {
        "customer_id": await target.need(CUSTOMERS, record.get("customer_id"), "customer_id"),
        "plan_id": await target.need(PLANS, record.get("plan_id"), "plan_id"),
        "metadata": metadata_of(record, target.problems),
    }
    if record.get("collection_method") == "default_incomplete":
        # what older versions of the API store
        body |= {"collection_method": "charge_automatically", "payment_behavior": "allow_incomplete"}
    if record.get("payment_behavior") == "default_incomplete" and body.get("collection_method") != "send_invoice":
        body["payment_behavior"] = "allow_incomplete"
        target.problems.append("payment_behavior default_incomplete became allow_incomplete")
    for name, kind in (("invoicing_customer_id", CUSTOMERS), ("parent_subscription_id", SUBSCRIPTIONS)):
        if record.get(name):
            body[name] = await target.need(kind, record[name], name)
    for name in ("commitment_amount", "auto_invoice_threshold"):
        if decimal_of(record, name):
            body[name] = decimal_of(record, name)
    if body.get("invoicing_customer_id") == body["customer_id"]:
        del body["invoicing_customer_id"]
    elif "invoicing_customer_id" in body and body.get("subscription_type", "standalone") == "standalone":
        body["subscription_type"] = "delegated_invoicing"
    body |= _pause(target, record)
    return body


def _pause(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    """The pause that a subscription is in, or that awaits it."""
    given = [pause for pause in _published(record, "pauses") if pause.get("pause_status") not in _UNUSED_PAUSES]
    paused = record.get("subscription_status") == "paused"
    if not given and not paused:
        return {}
    pause = given[-1] if given else {"pause_status": "active", "pause_start": record.get("updated_at")}
    if not given:
        target.problems.append("the source does not say since when it is paused; its last change was taken")
    names = ("pause_status", "pause_mode", "resume_mode", "pause_start", "pause_end", "original_period_start")
    return {
        "pause": {
            **fields_of(pause, (*names, "original_period_end", "reason")),
            "metadata": metadata_of(pause, target.problems),
        }
    }


async def _copy_phase(target: MigrationTarget, subscription: Subscription, record: SourceRecord) -> None:
    body = fields_of(record, ("start_date", "end_date"))
    body["metadata"] = metadata_of(record, target.problems)
    phase = await take_over_phase(target.session, subscription, target.read(body, TakenOverPhase))
    target.note_part(PHASES, record.get("id"), phase.id)


async def _copy_addon(target: MigrationTarget, subscription: Subscription, record: SourceRecord) -> None:
    if record.get("addon_status") == "pending":
        target.problems.append(f"addon {record.get('addon_id')} waits for its payment and was not carried")
        return
    names = ("addon_status", "cadence", "proration_behavior", "start_date", "end_date", "cancelled_at")
    body = fields_of(record, names)
    body |= {
        "addon_id": await target.need(ADDONS, record.get("addon_id"), "addon_id"),
        "metadata": metadata_of(record, target.problems),
    }
    association = await take_over_addon(target.session, subscription, target.read(body, TakenOverAddon))
    target.note_part(ADDON_ASSOCIATIONS, record.get("id"), association.id)


async def _copy_line_item(target: MigrationTarget, subscription: Subscription, record: SourceRecord) -> None:
    owner = str(record.get("entity_type", "plan")).lower()
    body = fields_of(record, ("display_name", "plan_display_name", "quantity", "start_date", "end_date"))
    body |= {name: record[name] for name in _COMMITMENT if name in record}
    if record.get("price_type") == "USAGE":
        body.pop("quantity", None)
    body |= {
        "price_id": await _price(target, subscription, record),
        "entity_type": owner,
        "metadata": metadata_of(record, target.problems),
        "subscription_phase_id": await target.find(PHASES, record.get("subscription_phase_id")),
        "addon_association_id": await target.find(ADDON_ASSOCIATIONS, record.get("addon_association_id")),
    }
    owners = {"plan": PLANS, "addon": ADDONS}
    if owner in owners:
        body["entity_id"] = await target.need(owners[owner], record.get("entity_id"), "entity_id")
    if record.get("commitment_time_buckets"):
        body["commitment_time_buckets"] = [
            {**bucket, "price_id": await target.find(PRICES, bucket.get("price_id")) or body["price_id"]}
            for bucket in record["commitment_time_buckets"]
        ]
    request = target.read(body, TakenOverLineItem, ("display_name", "plan_display_name"))
    item = await take_over_line_item(target.session, subscription, request)
    target.note_part(LINE_ITEMS, record.get("id"), item.id)
    if record.get(FROM_PREVIEW):
        name = record.get("display_name") or record.get("id")
        target.problems.append(f"{name} ended in the open period; it is carried as the next invoice's preview shows it")


async def _price(target: MigrationTarget, subscription: Subscription, item: SourceRecord) -> str:
    """The price of a line item: one of the catalogue, or one of this subscription alone, which is made."""
    price_id = item.get("price_id")
    found = await target.find(PRICES, price_id)
    if found is not None:
        return found
    price = item.get("price")
    if not isinstance(price, dict) or str(price.get("entity_type")).upper() != "SUBSCRIPTION":
        return await target.need(PRICES, price_id, "line_items.price_id")
    body = await price_body(target, price)
    body |= {"entity_type": "SUBSCRIPTION", "entity_id": subscription.id}
    made = await prices.create(target.session, target.read(body, CreatePriceRequest, ("description",)), target.now)
    made.parent_price_id = await target.find(PRICES, price.get("parent_price_id"))
    await target.session.flush()
    target.note_part(PRICES, price_id, made.id)
    return made.id


async def _copy_coupon(target: MigrationTarget, subscription: Subscription, record: SourceRecord) -> None:
    coupon_id = await target.find(COUPONS, record.get("coupon_id"))
    if coupon_id is None:
        target.problems.append(f"coupon {record.get('coupon_id')} was not carried, and discounts it no more")
        return
    starts = time_of(record, "start_date") or subscription.start_date
    item_id = record.get("subscription_line_item_id")
    coupon = await find(target.session, CouponRow, coupon_id)
    # how long one for a number of periods lasts is counted here; its end is what people see
    counted = coupon.cadence is CouponCadence.REPEATED
    attachment = Attachment(
        subscription_id=subscription.id,
        currency=subscription.currency,
        start=starts,
        after_periods=periods_after(subscription, starts),
        end=None if counted else time_of(record, "end_date"),
        line_item_id=await target.need(LINE_ITEMS, item_id, "subscription_line_item_id") if item_id else None,
        phase_id=await target.find(PHASES, record.get("subscription_phase_id")),
        metadata=metadata_of(record, target.problems),
    )
    association = await take_over_attachment(target.session, coupon_id, attachment)
    if counted:
        await count_periods(target.session, subscription, association)
    await target.session.flush()
    target.note_part(COUPON_ASSOCIATIONS, record.get("id"), association.id)


async def _copy_override(target: MigrationTarget, subscription: Subscription, record: SourceRecord) -> None:
    parent = await target.find(ENTITLEMENTS, record.get("parent_entitlement_id"))
    if parent is None:
        target.problems.append(f"its own entitlement {record.get('id')} replaces none that was carried")
        return
    metered = str(record.get("feature_type", "metered")).lower() == "metered"
    override = OverrideEntitlementRequest(
        entitlement_id=parent,
        usage_limit=record.get("usage_limit") if metered else UNSET,
        is_enabled=record.get("is_enabled"),
        static_value=record.get("static_value"),
        config_value=record.get("config_value"),
    )
    await override_entitlements(target.session, subscription, [override])


async def _copy_grant(
    target: MigrationTarget, subscription: Subscription, record: SourceRecord, grant: SourceRecord
) -> None:
    """A grant from its next credits on: what it gave so far is in the wallets."""
    upcoming = [
        scheduled
        for application in record.get("upcoming_grants") or ()
        if application.get("credit_grant_id") == grant.get("id")
        and (scheduled := time_of(application, "scheduled_for")) is not None
        and scheduled > target.now
    ]
    if not upcoming:
        if str(grant.get("cadence")).upper() == "RECURRING":
            target.problems.append(f"credit grant {grant.get('name')} names no next date; give it again by hand")
        return
    ends = time_of(grant, "end_date") or subscription.end_date
    if ends is not None and ends <= min(upcoming):
        return  # it ends before it would give again
    if "rollover_maximum" in grant:
        target.problems.append(f"credit grant {grant.get('name')} limits what rolls over of what it gives from now on")
    body = fields_of(grant, (*GRANT_FIELDS, "end_date"))
    body |= {
        "scope": "SUBSCRIPTION",
        "subscription_id": subscription.id,
        "start_date": min(upcoming).isoformat(),
        "metadata": metadata_of(grant, target.problems),
    }
    await grants.create(target.session, target.read(body, CreateCreditGrantRequest), target.now)


def _name_what_stays_behind(target: MigrationTarget, record: SourceRecord) -> None:
    for pause in _published(record, "pauses"):
        if pause.get("pause_status") == "completed":
            target.problems.append(f"the pause from {pause.get('pause_start')} is over and was not carried")
    for schedule in record.get("schedules") or ():
        if schedule.get("schedule_type") == "plan_change":
            target.problems.append(f"the plan change at {schedule.get('scheduled_at')} must be scheduled again")
    lasting = [item for item in _published(record, "line_items") if item.get("commitment_duration")]
    if lasting or record.get("commitment_duration") not in {None, record.get("billing_period")}:
        target.problems.append("its commitment over several periods counts usage from the open period on")
    if record.get("subscription_status") == "incomplete":
        target.problems.append("it waits for the payment of its first invoice; activate it once that is paid")
    if decimal_of(record, "auto_invoice_threshold"):
        target.problems.append("tiers and allowances of its open period begin at its last threshold invoice")
