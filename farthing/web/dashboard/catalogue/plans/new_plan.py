"""A new plan with its first prices in one form: a fixed fee, and what each use of something costs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from babel.numbers import get_territory_currencies
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans import plans
from farthing.catalogue.plans.schemas import CreatePlanRequest
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import features
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.schemas import CreateFeatureRequest
from farthing.catalogue.products.tables import Feature
from farthing.core.encoding.decoding import convert
from farthing.core.enums import PriceType, Status
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.identity.tables import Tenant
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.rating.pricing.price import BillingModel
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find
from farthing.web.dashboard.catalogue.plans.price_form import RECURRING_PERIODS
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, Sections
from farthing.web.forms.reading import creation_of

_USUAL_CURRENCY = "usd"
_USAGE = (
    FormField("name", "What is counted", placeholder="API calls"),
    FormField("event_name", "Name of its events", placeholder="api_call"),
    FormField("amount", "Each costs", FieldKind.AMOUNT, placeholder="0.01"),
)
_OF_PRICES: tuple[str, ...] = ("fee", "currency", "billing_period", "usage")
_FIELDS_OF_ROWS = {"name": "name", "lookup_key": "name", "meter.event_name": "event_name"}
"""Where a refusal of a feature is shown in its row."""


async def usual_currency(session: AsyncSession, owner_id: str = "") -> str:
    """The currency of the owner's newest price, else of the newest of all, else of the company's country."""
    latest = await session.scalar(
        select(Price.currency)
        .where(Price.entity_type.in_((PriceEntityType.PLAN, PriceEntityType.ADDON)))
        .order_by((Price.entity_id == owner_id).desc(), Price.created_at.desc(), Price.id.desc())
        .limit(1)
    )
    if latest:
        return latest
    details: Mapping[str, Any] = (await find(session, Tenant, scope_of(session).tenant_id)).billing_details
    country = (details.get("address") or {}).get("address_country") or ""
    used = get_territory_currencies(country.upper()) if len(country) == 2 else []
    return used[0].lower() if used else _USUAL_CURRENCY


def first_prices(currency: str) -> Sections:
    """The sections of a new plan's first prices."""
    return (
        FormSection(
            "Prices",
            (
                FormField(
                    "fee", "Fixed fee", FieldKind.AMOUNT, placeholder="49.00", hint="In advance. Blank: there is none"
                ),
                FormField("currency", "Currency", FieldKind.CURRENCY, required=True, initial=currency, longest=3),
                FormField(
                    "billing_period",
                    "Per",
                    FieldKind.CHOICE,
                    required=True,
                    options=RECURRING_PERIODS,
                    initial=BillingPeriod.MONTHLY.value,
                    hint="Fee and usage are invoiced by it",
                ),
                FormRows(
                    "usage",
                    "Usage",
                    "price for usage",
                    _USAGE,
                    "In arrears: events of a name are counted. A feature that there is already is known by its name. "
                    "Tiers, packages and sums are priced on the plan's page.",
                    1,
                ),
            ),
            "All of it can be left out and added later.",
        ),
    )


async def create_plan(session: AsyncSession, form: Sections, given: Mapping[str, str], now: datetime) -> Plan:
    """Make a plan, the first prices that the form has, and the features they count. Raises ValidationFailed."""
    body = creation_of(form, given)
    priced = {name: body.pop(name) for name in _OF_PRICES if name in body}
    terms = {name: str(priced[name]) for name in _OF_PRICES[1:3] if name in priced}
    prices: list[dict[str, Any]] = []
    places: list[str] = []
    if "fee" in priced:
        places.append("fee")
        charged = {"type": PriceType.FIXED.value, "invoice_cadence": InvoiceCadence.ADVANCE.value}
        prices.append(_price(terms, charged, priced["fee"], f"{body['name']} fee"))
    for number, row in enumerate(priced.get("usage", [])):
        place = f"usage[{number}]"
        if "amount" not in row:
            raise ValidationFailed.of(f"{place}.amount", "is required")
        feature = await _feature(session, row, place)
        places.append(f"{place}.amount")
        charged = {"type": PriceType.USAGE.value, "invoice_cadence": InvoiceCadence.ARREAR.value}
        prices.append({**_price(terms, charged, row["amount"], feature.name), "meter_id": feature.meter_id})
    try:
        return await plans.create(session, convert({**body, "prices": prices}, CreatePlanRequest), now)
    except ValidationFailed as error:
        raise ValidationFailed.listing({_shown_at(path, places): why for path, why in error.details.items()}) from error


def _price(terms: Mapping[str, str], charged: Mapping[str, str], amount: Any, name: str) -> dict[str, Any]:
    flat = BillingModel.FLAT_FEE.value
    return {**terms, **charged, "billing_model": flat, "amount": amount, "display_name": name[:255]}


async def _feature(session: AsyncSession, row: Mapping[str, str], place: str) -> Feature:
    """The metered feature of this name, or a new one that counts events."""
    name = row.get("name", "")
    if not name:
        raise ValidationFailed.of(f"{place}.name", "is required")
    known = await session.scalar(
        select(Feature)
        .where(
            func.lower(Feature.name) == name.lower(),
            Feature.type == FeatureType.METERED,
            Feature.status == Status.PUBLISHED,
        )
        .limit(1)
    )
    if known is not None:
        return known
    if not row.get("event_name"):
        raise ValidationFailed.of(f"{place}.event_name", "is required: no feature is called so yet")
    meter = {
        "name": name,
        "event_name": row["event_name"],
        "aggregation": {"type": AggregationType.COUNT.value},
        "reset_usage": ResetUsage.BILLING_PERIOD.value,
    }
    asked = {"name": name, "type": FeatureType.METERED.value, "meter": meter}
    try:
        return await features.create(session, convert(asked, CreateFeatureRequest))
    except AlreadyExists as error:
        raise ValidationFailed.of(f"{place}.name", error.message[:1].lower() + error.message[1:]) from error
    except ValidationFailed as error:
        raise ValidationFailed.listing(
            {f"{place}.{_FIELDS_OF_ROWS.get(path, 'name')}": why for path, why in error.details.items()}
        ) from error


def _shown_at(path: str, places: list[str]) -> str:
    """A place in the list of prices as the field that it was typed into."""
    start, _, rest = path.partition("].")
    number = start.removeprefix("prices[")
    if start == path or not number.isdigit():
        return path
    return places[int(number)] if rest == "amount" else rest
