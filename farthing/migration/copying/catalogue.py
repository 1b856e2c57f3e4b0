"""The catalogue: groups, units, features with their meters, coupons, tax rates, plans and addons with all they hold."""

from __future__ import annotations

from typing import Any

from farthing.catalogue.discounts import coupons
from farthing.catalogue.discounts.schemas import CreateCouponRequest
from farthing.catalogue.entitlements import lifecycle as entitlements
from farthing.catalogue.entitlements.schemas import CreateEntitlementRequest
from farthing.catalogue.plans import addons, plans
from farthing.catalogue.plans.credit_grants import CreateCreditGrantRequest
from farthing.catalogue.plans.schemas import CreateAddonRequest, CreatePlanRequest
from farthing.catalogue.prices import lifecycle as prices
from farthing.catalogue.prices import units
from farthing.catalogue.prices.schemas import CreatePriceRequest, CreatePriceUnitRequest
from farthing.catalogue.products import features, groups
from farthing.catalogue.products.schemas import CreateFeatureRequest, CreateGroupRequest
from farthing.catalogue.taxes import associations, rates
from farthing.catalogue.taxes.schemas import CreateTaxAssociationRequest, CreateTaxRateRequest
from farthing.catalogue.taxes.tables import TaxRateRow
from farthing.core.errors import ValidationFailed
from farthing.credits.grants import lifecycle as grants
from farthing.migration.copying.customers import CUSTOMERS
from farthing.migration.copying.target import LeftOut, MigrationTarget
from farthing.migration.source.fields import SourceRecord, decimal_of, fields_of, metadata_of, time_of
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find

GROUPS, PRICE_UNITS, FEATURES, METERS = "groups", "price units", "features", "meters"
COUPONS, TAX_RATES, TAX_ASSOCIATIONS = "coupons", "tax rates", "tax associations"
PLANS, ADDONS, PRICES, ENTITLEMENTS, CREDIT_GRANTS = "plans", "addons", "prices", "entitlements", "credit grants"
SUBSCRIPTIONS = "subscriptions"
_OWNERS = {"PLAN": PLANS, "ADDON": ADDONS}
_METER_FIELDS = ("type", "field", "expression", "multiplier", "bucket_size", "group_by")
_ENTITLED = {
    "metered": (
        "usage_limit",
        "usage_reset_period",
        "is_soft_limit",
        "aggregation_mode",
        "grant_measure",
        "grant_quota",
        "grant_duration_unit",
        "grant_duration_value",
        "grant_allocation_behavior",
    ),
    "static": ("static_value",),
    "config": ("config_value",),
}
GRANT_FIELDS = (
    "name",
    "credits",
    "cadence",
    "expiration_type",
    "period",
    "period_count",
    "expiration_duration",
    "expiration_duration_unit",
    "rollover_maximum",
    "priority",
    "conversion_rate",
    "topup_conversion_rate",
)
PRICE_FIELDS = (
    "type",
    "billing_model",
    "billing_period",
    "billing_period_count",
    "invoice_cadence",
    "price_unit_type",
    "trial_period_days",
    "description",
    "display_name",
    "start_date",
    "end_date",
)


async def copy_group(target: MigrationTarget, record: SourceRecord) -> str:
    """A group of features or prices."""
    body = fields_of(record, ("name", "entity_type", "lookup_key"))
    body.setdefault("lookup_key", record["id"])
    return (await groups.create(target.session, target.read(body, CreateGroupRequest))).id


async def copy_price_unit(target: MigrationTarget, record: SourceRecord) -> str:
    """A unit that prices may be quoted in."""
    body = fields_of(record, ("name", "code", "symbol", "base_currency", "conversion_rate"))
    body["metadata"] = metadata_of(record, target.problems)
    return (await units.create(target.session, target.read(body, CreatePriceUnitRequest))).id


async def copy_feature(target: MigrationTarget, record: SourceRecord) -> str:
    """A feature with its meter."""
    body = fields_of(
        record, ("name", "type", "description", "unit_singular", "unit_plural", "reporting_unit", "alert_settings")
    )
    if not _is_archived(target, record):
        body |= fields_of(record, ("lookup_key",))
    body["metadata"] = metadata_of(record, target.problems)
    body |= await _group(target, record)
    meter = record.get("meter")
    if isinstance(meter, dict):
        aggregation = fields_of(meter.get("aggregation") or {}, _METER_FIELDS)
        if not decimal_of(aggregation, "multiplier"):
            aggregation.pop("multiplier", None)
        body["meter"] = {
            **fields_of(meter, ("name", "event_name", "reset_usage", "filters")),
            "aggregation": aggregation,
        }
    optional = ("description", "unit_singular", "unit_plural", "reporting_unit", "alert_settings")
    feature = await features.create(target.session, target.read(body, CreateFeatureRequest, optional))
    if feature.meter_id is not None:
        target.note_part(METERS, record.get("meter_id") or (meter or {}).get("id"), feature.meter_id)
    return feature.id


async def copy_coupon(target: MigrationTarget, record: SourceRecord) -> str:
    """A coupon, with how often it was redeemed."""
    body = fields_of(
        record,
        (
            "name",
            "type",
            "cadence",
            "currency",
            "coupon_code",
            "duration_in_periods",
            "redeem_after",
            "redeem_before",
            "max_redemptions",
            "rules",
        ),
    )
    body |= fields_of(record, ("amount_off" if body.get("type") == "fixed" else "percentage_off",))
    if _is_archived(target, record):
        body.pop("coupon_code", None)
    body["metadata"] = metadata_of(record, target.problems)
    coupon = await coupons.create(target.session, target.read(body, CreateCouponRequest))
    coupon.total_redemptions = int(decimal_of(record, "total_redemptions"))
    await target.session.flush()
    return coupon.id


async def copy_tax_rate(target: MigrationTarget, record: SourceRecord) -> str:
    """A tax rate."""
    if record.get("tax_rate_status", "ACTIVE") != "ACTIVE":
        raise LeftOut("it is not active at the source")
    body = fields_of(record, ("name", "code", "tax_rate_type", "scope", "description"))
    body |= fields_of(record, ("fixed_value" if body.get("tax_rate_type") == "fixed" else "percentage_value",))
    body["metadata"] = metadata_of(record, target.problems)
    return (await rates.create(target.session, target.read(body, CreateTaxRateRequest))).id


async def copy_tax_association(target: MigrationTarget, record: SourceRecord) -> str:
    """A tax rate of the tenant, a customer or a subscription."""
    entity = str(record.get("entity_type", "")).lower()
    if entity == "tenant":
        entity_id = scope_of(target.session).tenant_id
    elif entity == "customer":
        entity_id = await target.need(CUSTOMERS, record.get("entity_id"), "entity_id")
    elif entity == "subscription":
        entity_id = await target.need(SUBSCRIPTIONS, record.get("entity_id"), "entity_id")
    else:
        raise LeftOut(f"taxes of {entity or 'nothing'} are part of what was issued")
    ends = time_of(record, "end_date")
    if ends is not None and ends <= target.now:
        raise LeftOut("it has ended")
    rate = await find(
        target.session, TaxRateRow, await target.need(TAX_RATES, record.get("tax_rate_id"), "tax_rate_id")
    )
    body = fields_of(record, ("priority", "auto_apply", "currency", "start_date", "end_date"))
    body |= {"entity_type": entity, "entity_id": entity_id, "tax_rate_code": rate.code}
    body["metadata"] = metadata_of(record, target.problems)
    request = target.read(body, CreateTaxAssociationRequest)
    return (await associations.create(target.session, request, target.now)).id


async def copy_plan(target: MigrationTarget, record: SourceRecord) -> str:
    """A plan without what it holds, which follows."""
    body = fields_of(record, ("name", "description", "display_order"))
    if not _is_archived(target, record):
        body |= fields_of(record, ("lookup_key",))
    body["metadata"] = metadata_of(record, target.problems)
    request = target.read(body, CreatePlanRequest, ("description", "display_order"))
    return (await plans.create(target.session, request, target.now)).id


async def copy_addon(target: MigrationTarget, record: SourceRecord) -> str:
    """An addon without what it holds, which follows."""
    body = fields_of(record, ("name", "description", "lookup_key"))
    if _is_archived(target, record) or "lookup_key" not in body:
        body["lookup_key"] = record["id"]
    body["metadata"] = metadata_of(record, target.problems)
    return (await addons.create(target.session, target.read(body, CreateAddonRequest, ("description",)))).id


async def copy_price(target: MigrationTarget, record: SourceRecord) -> str:
    """A price of a plan or an addon; those of subscriptions come with them."""
    owner = str(record.get("entity_type", "PLAN")).upper()
    if owner not in _OWNERS:
        raise LeftOut(f"it is a price of {owner.lower()}")
    owner_id = await target.need(_OWNERS[owner], record.get("entity_id"), "entity_id")
    body = await price_body(target, record)
    body |= {"entity_type": owner, "entity_id": owner_id}
    ends = time_of(record, "end_date")
    if ends is None or ends > target.now:
        body |= fields_of(record, ("lookup_key",))
    price = await prices.create(target.session, target.read(body, CreatePriceRequest, ("description",)), target.now)
    price.parent_price_id = await target.find(PRICES, record.get("parent_price_id"))
    await target.session.flush()
    return price.id


async def price_body(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    """What a price costs and when, whoever's it is. Raises ValidationFailed."""
    body = fields_of(record, PRICE_FIELDS)
    body["currency"] = str(record.get("currency", "")).lower()
    body["metadata"] = metadata_of(record, target.problems)
    body |= await _group(target, record)
    if record.get("type") == "USAGE":
        body["meter_id"] = await target.need(METERS, record.get("meter_id"), "meter_id")
    elif decimal_of(record, "min_quantity"):
        body["min_quantity"] = int(decimal_of(record, "min_quantity"))
    tiered = record.get("billing_model") == "TIERED"
    if tiered:
        body |= fields_of(record, ("tier_mode",))
    package = record.get("transform_quantity")
    if record.get("billing_model") == "PACKAGE" and isinstance(package, dict):
        body["transform_quantity"] = fields_of(package, ("divide_by", "round"))
    if record.get("price_unit_type") == "CUSTOM":
        unit = {"price_unit": record.get("price_unit")}
        unit |= _tiers(record, "price_unit_tiers") if tiered else {"amount": decimal_of(record, "price_unit_amount")}
        body["price_unit_config"] = unit
    else:
        body |= _tiers(record, "tiers") if tiered else {"amount": decimal_of(record, "amount")}
    return body


def _tiers(record: SourceRecord, name: str) -> dict[str, Any]:
    tiers = record.get(name)
    if not isinstance(tiers, list) or not tiers:
        raise ValidationFailed.of(name, "are missing at the source")
    return {name: [fields_of(tier, ("up_to", "unit_amount", "flat_amount")) for tier in tiers]}


async def copy_entitlement(target: MigrationTarget, record: SourceRecord) -> str:
    """What a plan or an addon entitles to."""
    owner = str(record.get("entity_type", "PLAN")).upper()
    if owner not in _OWNERS:
        raise LeftOut("it comes with its subscription")
    feature_type = str(record.get("feature_type", "metered")).lower()
    body = fields_of(record, ("is_enabled", "start_date", "end_date", *_ENTITLED.get(feature_type, ())))
    body |= {
        "feature_type": feature_type,
        "feature_id": await target.need(FEATURES, record.get("feature_id"), "feature_id"),
        "entity_type": owner,
        "entity_id": await target.need(_OWNERS[owner], record.get("entity_id") or record.get("plan_id"), "entity_id"),
    }
    (entitlement,) = await entitlements.create(target.session, [target.read(body, CreateEntitlementRequest)])
    return entitlement.id


async def copy_credit_grant(target: MigrationTarget, record: SourceRecord) -> str:
    """The credits that come with a plan or an addon, for those who subscribe from now on."""
    owner = str(record.get("scope", "PLAN")).upper()
    if owner not in _OWNERS:
        raise LeftOut("it comes with its subscription")
    body = fields_of(record, GRANT_FIELDS)
    body |= {"scope": owner, "metadata": metadata_of(record, target.problems)}
    named = f"{owner.lower()}_id"
    body[named] = await target.need(_OWNERS[owner], record.get(named), named)
    request = target.read(body, CreateCreditGrantRequest)
    return (await grants.create(target.session, request, target.now)).id


async def _group(target: MigrationTarget, record: SourceRecord) -> dict[str, str]:
    group_id = record.get("group_id")
    if not group_id:
        return {}
    found = await target.find(GROUPS, group_id)
    if found is None:
        target.problems.append(f"its group {group_id} was not carried")
        return {}
    return {"group_id": found}


def _is_archived(target: MigrationTarget, record: SourceRecord) -> bool:
    """Whether the source has archived it; then it is carried, because subscriptions may use it, without its key."""
    archived = record.get("status") == "archived"
    if archived:
        target.problems.append("it is archived at the source; archive it here once all is copied")
    return archived
