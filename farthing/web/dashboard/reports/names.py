"""What people call the things that rows of reports are about."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.catalogue.taxes.tables import TaxRateRow
from farthing.customers.tables import Customer
from farthing.reporting.analytics.catalogue import AGE
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription
from farthing.web.rendering.words.wording import AGE_NAMES, words

NOTHING: Mapping[str, str] = {
    "tax_rate_id": "No rate",
    "customer_id": "No customer",
    "subscription_id": "No subscription",
    "plan_id": "No plan",
    "country": "Unknown",
}
_PLACES: Mapping[str, str] = {
    "customer_id": "/customers/",
    "subscription_id": "/subscriptions/",
    "plan_id": "/catalogue/plans/",
}
_WORDS = frozenset({"invoice_type", "billing_reason", "payment_status", "payment_method_type"})


@dataclass(frozen=True, slots=True)
class NamedThing:
    """What a row is about: what people call it, and where it can be seen."""

    name: str
    address: str = ""


def _named(dimension: str, ids: Collection[str]) -> Select[str, str] | None:
    """The ids and names of things; None where their values are words."""
    match dimension:
        case "customer_id":
            return select(Customer.id, Customer.name).where(in_array(Customer.id, ids))
        case "plan_id":
            return select(Plan.id, Plan.name).where(in_array(Plan.id, ids))
        case "feature_id":
            return select(Feature.id, Feature.name).where(in_array(Feature.id, ids))
        case "meter_id":
            return select(MeterRow.id, MeterRow.name).where(in_array(MeterRow.id, ids))
        case "price_id":
            return select(Price.id, Price.display_name).where(in_array(Price.id, ids))
        case "tax_rate_id":
            return select(TaxRateRow.id, TaxRateRow.name).where(in_array(TaxRateRow.id, ids))
        case "subscription_id":
            return (
                select(Subscription.id, Customer.name + ", " + Plan.name)
                .join(Customer, Customer.id == Subscription.customer_id)
                .join(Plan, Plan.id == Subscription.plan_id)
                .where(in_array(Subscription.id, ids))
            )
    return None


async def names_for(
    session: AsyncSession, dimension: str, ids: Collection[str], may_read: Callable[[str], bool]
) -> Mapping[str, NamedThing]:
    """A name for every value of a dimension: its id where it has none, or the visitor may not read it."""
    statement = _named(dimension, ids)
    entity = "customer" if dimension in {"customer_id", "subscription_id"} else "plan"
    found: dict[str, str] = {}
    if statement is not None and may_read(entity):
        found = dict((await session.execute(statement)).all())
    place = _PLACES.get(dimension, "") if found else ""
    return {
        value: NamedThing(_name(dimension, value, found), f"{place}{value}" if place and value in found else "")
        for value in ids
    }


def _name(dimension: str, value: str, found: Mapping[str, str]) -> str:
    if not value:
        return NOTHING.get(dimension, "None")
    if dimension == AGE:
        return AGE_NAMES[value]
    if dimension in _WORDS:
        return words(value)
    return found.get(value) or value
