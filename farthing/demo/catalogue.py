"""What the demo's company sells: features with their meters, and four plans in every currency it bills in.

Made in one transaction, so it is there whole or not at all. The plans say which story is told: whoever goes on loading
later tells the same one, and not one that ends on another day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from farthing.catalogue.plans import plans
from farthing.catalogue.plans.credit_grants import CreateCreditGrantRequest
from farthing.catalogue.plans.schemas import CreatePlanRequest
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices import lifecycle as prices
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import features
from farthing.catalogue.products.schemas import CreateFeatureRequest
from farthing.core import currency
from farthing.core.clock import as_utc, instant
from farthing.core.encoding.decoding import convert
from farthing.core.enums import PriceType, Status
from farthing.core.money import plain, round_to
from farthing.credits.grants import lifecycle as grants
from farthing.demo.books import Ledger, StoryClock
from farthing.demo.company import CURRENCIES
from farthing.events.upkeep.backfill import backfill

STARTER, TEAM, SCALE, ENTERPRISE = "demo-starter", "demo-team", "demo-scale", "demo-enterprise"
COMPLETION, REQUEST, ACTIVE, STORED = "completion", "api_request", "user_active", "storage_changed"
"""The names of the events that are counted."""

LARGE, SMALL = "large", "small"
"""The models that completions are made with."""

FEWEST_SEATS = 3
_UNTIL, _SEED, _EVENTS = "demo_until", "demo_seed", "demo_events"
_SOLD_FOR = timedelta(days=3 * 365)
_PER_DOLLAR = {"usd": Decimal(1), "eur": Decimal("0.92"), "jpy": Decimal(150), "kwd": Decimal("0.307")}
_MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class CatalogueOffer:
    """Which story: of which seed, with how many events, and when it ends, in whole milliseconds."""

    until: datetime
    seed: int
    events: int


@dataclass(frozen=True, slots=True)
class Offers:
    """The plans' ids by key, the seat price's id by currency, and the story they belong to."""

    plans: Mapping[str, str]
    seats: Mapping[str, str]
    story: CatalogueOffer


def _feature(key: str, name: str, unit: str, event_name: str, **meter: Any) -> dict[str, Any]:
    filters = meter.pop("filters", None)
    reset = meter.pop("reset_usage", "BILLING_PERIOD")
    return {
        "name": name,
        "lookup_key": f"demo-{key}",
        "type": "metered",
        "unit_singular": unit,
        "unit_plural": unit if unit == "GB" else f"{unit}s",
        "meter": {
            "name": name,
            "event_name": event_name,
            "aggregation": meter,
            "reset_usage": reset,
            "filters": filters or [],
        },
    }


def _tokens(model: str) -> dict[str, Any]:
    only = [{"key": "model", "values": [model]}]
    return _feature(
        f"tokens-{model}", f"Tokens, {model} model", "token", COMPLETION, type="SUM", field="tokens", filters=only
    )


WELCOME: Mapping[str, Any] = {
    "name": "Welcome credits, for usage on larger plans",
    "scope": "PLAN",
    "credits": "50",
    "cadence": "ONETIME",
    "expiration_type": "DURATION",
    "expiration_duration": 2,
    "expiration_duration_unit": "YEAR",
}
"""What comes with the team plan, once."""
FEATURES: Sequence[Mapping[str, Any]] = (
    _tokens(LARGE),
    _tokens(SMALL),
    _feature("requests", "API requests", "request", REQUEST, type="COUNT"),
    _feature("seats", "Active users", "user", ACTIVE, type="COUNT_UNIQUE", field="user"),
    _feature("storage", "Storage", "GB", STORED, type="WEIGHTED_SUM", field="gb", reset_usage="NEVER"),
)


def _fee(name: str, dollars: str, **more: Any) -> dict[str, Any]:
    return {
        "display_name": name,
        "type": "FIXED",
        "invoice_cadence": "ADVANCE",
        "billing_model": "FLAT_FEE",
        "amount": dollars,
        **more,
    }


def _usage(feature: str, **model: Any) -> dict[str, Any]:
    return {"feature": f"demo-{feature}", "type": "USAGE", "invoice_cadence": "ARREAR", **model}


def _each(dollars: str) -> dict[str, Any]:
    return {"billing_model": "FLAT_FEE", "amount": dollars}


def _slabs(*tiers: tuple[int | None, str]) -> dict[str, Any]:
    listed = [{"up_to": up_to, "unit_amount": dollars} for up_to, dollars in tiers]
    return {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": listed}


_THOUSAND = {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 1000, "round": "up"}}

PLANS: Sequence[tuple[str, str, str, Sequence[Mapping[str, Any]]]] = (
    (STARTER, "Starter", "One flat fee a month", [_fee("Starter", "49")]),
    (
        TEAM,
        "Team",
        "By the seat",
        [_fee("Team workspace", "25"), _fee("Seats", "18", min_quantity=FEWEST_SEATS, lookup_key="demo-seat")],
    ),
    (
        SCALE,
        "Scale",
        "By what is used, cheaper as it grows",
        [
            _fee("Scale platform", "99"),
            _usage("tokens-large", **_slabs((10_000_000, "0.00001"), (100_000_000, "0.000008"), (None, "0.000006"))),
            _usage("tokens-small", **_each("0.0000006")),
            _usage("requests", **_THOUSAND, amount="0.5"),
            _usage("seats", **_slabs((5, "0"), (None, "4"))),
            _usage("storage", **_each("0.12")),
        ],
    ),
    (
        ENTERPRISE,
        "Enterprise",
        "A platform fee, and usage with a commitment",
        [
            _fee("Enterprise platform", "400"),
            _usage("tokens-large", **_slabs((100_000_000, "0.000007"), (None, "0.000005"))),
            _usage("tokens-small", **_each("0.0000005")),
            _usage("requests", **_THOUSAND, amount="0.3"),
            _usage("seats", **_slabs((25, "0"), (None, "2"))),
            _usage("storage", **_each("0.08")),
        ],
    ),
)


async def present(ledger: Ledger) -> Offers | None:
    """The catalogue if it was loaded before."""
    async with ledger.database.transaction(ledger.scope, read_only=True) as session:
        keys = [key for key, *_ in PLANS]
        found = list(
            await session.scalars(select(Plan).where(Plan.lookup_key.in_(keys), Plan.status == Status.PUBLISHED))
        )
        if len(found) < len(keys):
            return None
        story = found[0].meta
        seats = await session.scalars(select(Price).where(Price.lookup_key.in_([_seat(code) for code in CURRENCIES])))
        return Offers(
            {plan.lookup_key: plan.id for plan in found},
            {price.currency: price.id for price in seats if price.entity_type == "PLAN"},
            CatalogueOffer(as_utc(datetime.fromisoformat(story[_UNTIL])), int(story[_SEED]), int(story[_EVENTS])),
        )


async def load_catalogue(ledger: Ledger, story: CatalogueOffer) -> Offers:
    """The catalogue, made for `story` if it is not there; one that is there has a story already."""
    known = await present(ledger)
    if known is not None:
        return known
    clock = StoryClock(story.until - _SOLD_FOR)
    async with ledger.database.transaction(ledger.scope, clock=clock) as session:
        meters: dict[str, str] = {}
        for asked in FEATURES:
            feature = await features.create(session, convert(dict(asked), CreateFeatureRequest, strict=False))
            meters[feature.lookup_key] = feature.meter_id or ""
        for order, (key, name, description, charges) in enumerate(PLANS):
            body = {
                "name": name,
                "lookup_key": key,
                "description": description,
                "display_order": order,
                "metadata": {
                    _UNTIL: instant(story.until),
                    _SEED: str(story.seed),
                    _EVENTS: str(story.events),
                },
            }
            plan = await plans.create(session, convert(body, CreatePlanRequest), clock.now())
            wanted = [_priced(charge, plan.id, code, meters) for code in CURRENCIES for charge in charges]
            for start in range(0, len(wanted), _MOST_AT_ONCE):
                await prices.create_all(session, wanted[start : start + _MOST_AT_ONCE], clock.now())
            if key == TEAM:
                welcome = {**WELCOME, "plan_id": plan.id}
                await grants.create(session, convert(welcome, CreateCreditGrantRequest, strict=False), clock.now())
    # there are no events of these names yet, so that there is nothing to bring to the new meters
    for _ in range(4 * len(FEATURES)):
        async with ledger.database.transaction(ledger.scope) as session:
            if not await backfill(session, ledger.database.clock.now()):
                break
    made = await present(ledger)
    assert made is not None
    return made


def _seat(code: str) -> str:
    return f"demo-seat-{code}"


def _priced(charge: Mapping[str, Any], plan_id: str, code: str, meters: Mapping[str, str]) -> CreatePriceRequest:
    """One charge of a plan in one currency: fees at the currency's precision, the price of a unit exact."""
    body = dict(charge)
    feature = body.pop("feature", None)
    if feature is not None:
        body["meter_id"] = meters[feature]
    fixed = charge["type"] == PriceType.FIXED.value
    for where in _amounts(body):
        exact = Decimal(where[0][where[1]]) * _PER_DOLLAR[code]
        where[0][where[1]] = plain(round_to(exact, currency.digits(code)) if fixed else exact)
    if "lookup_key" in body:
        body["lookup_key"] = _seat(code)
    body |= {
        "entity_type": "PLAN",
        "entity_id": plan_id,
        "currency": code,
        "billing_period": "MONTHLY",
        "price_unit_type": "FIAT",
    }
    return convert(body, CreatePriceRequest, strict=False)


def _amounts(body: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where amounts stand in the body of a price; its tiers become its own."""
    if "amount" in body:
        yield body, "amount"
    if "tiers" in body:
        body["tiers"] = [dict(tier) for tier in body["tiers"]]
        for tier in body["tiers"]:
            yield tier, "unit_amount"
