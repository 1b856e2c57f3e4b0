"""How prices come to be, end, and are found. Money never changes in place: see `versions`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices import references
from farthing.catalogue.prices.references import References
from farthing.catalogue.prices.schemas import CreatePriceRequest, PriceQuery
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.prices.terms import Rate, requested_terms, settle_terms
from farthing.core.clock import instant
from farthing.core.enums import PriceType, Status
from farthing.core.errors import (
    AlreadyExists,
    FarthingError,
    InvalidOperation,
    NotFound,
    ValidationFailed,
    VersionConflict,
)
from farthing.core.ids import Kind, new_id
from farthing.rating.pricing.price import BillingModel
from farthing.storage.queries.listing import PageStatements, one_of, page_statements
from farthing.storage.queries.rows import lock_row, violated

SEARCHABLE = (
    "id",
    "display_name",
    "description",
    "lookup_key",
    "entity_type",
    "entity_id",
    "type",
    "currency",
    "amount",
    "billing_model",
    "billing_period",
    "billing_period_count",
    "invoice_cadence",
    "price_unit_type",
    "price_unit",
    "meter_id",
    "group_id",
    "parent_price_id",
    "start_date",
    "end_date",
    "sequence",
    "status",
    "created_at",
    "updated_at",
)


async def create(session: AsyncSession, request: CreatePriceRequest, now: datetime) -> Price:
    """Insert one price. Raises as `create_all` does."""
    return (await create_all(session, [request], now))[0]


async def create_all(session: AsyncSession, requests: Sequence[CreatePriceRequest], now: datetime) -> list[Price]:
    """Insert prices, all or none.

    Raises ValidationFailed, NotFound for an unknown owner or meter, AlreadyExists for a taken key, InvalidOperation
    for an archived owner or meter.
    """
    found = await references.load(session, requests)
    await references.lock_prices_of(session, (request.entity_id for request in requests))
    await references.require_room(session, requests)
    tiered = [price.meter_id for price in requests if price.billing_model is BillingModel.TIERED and price.meter_id]
    await references.require_no_money_granted(session, BillingModel.TIERED, tiered)
    prices = []
    for index, request in enumerate(requests):
        try:
            prices.append(_price(request, found, now))
        except ValidationFailed as error:
            raise error.within(f"items[{index}]") if len(requests) > 1 else error from error
    async with refusing_duplicates(session, [price.lookup_key for price in prices if price.lookup_key]):
        session.add_all(prices)
    return prices


def _price(request: CreatePriceRequest, found: References, now: datetime) -> Price:
    usage = request.type is PriceType.USAGE
    config = request.price_unit_config
    rate = Rate.of(found.units[config.price_unit]) if config else None
    meter = found.meters[request.meter_id] if usage and request.meter_id else None
    start = request.start_date or now
    if request.end_date is not None and request.end_date < start:
        raise ValidationFailed.of("end_date", "must not be before start_date, which is now when absent")
    own_name = meter.name if meter else found.owner_name(request)
    return Price(
        id=new_id(Kind.PRICE),
        entity_type=request.entity_type,
        entity_id=request.entity_id,
        type=request.type,
        currency=request.currency,
        billing_period=request.billing_period,
        billing_period_count=request.billing_period_count or 1,
        invoice_cadence=request.invoice_cadence,
        meter_id=meter.id if meter else None,
        min_quantity=None if usage or request.min_quantity is None else Decimal(request.min_quantity),
        trial_period_days=request.trial_period_days or 0,
        lookup_key=request.lookup_key or "",
        start_date=start,
        end_date=request.end_date,
        display_name=request.display_name or own_name or unnamed(request.type),
        description=request.description or "",
        meta=request.metadata or {},
        group_id=found.groups[request.group_id] if request.group_id else None,
        **settle_terms(requested_terms(request), request.currency, rate),
    )


def unnamed(type: PriceType) -> str:
    """What a price is called that nobody named."""
    return "Usage" if type is PriceType.USAGE else "Recurring"


@asynccontextmanager
async def refusing_duplicates(session: AsyncSession, keys: Sequence[str]) -> AsyncIterator[None]:
    """Turn what the database refuses of prices with these `keys` into the error that says why.

    Raises AlreadyExists, ValidationFailed, VersionConflict.
    """
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        raise await _refusal(session, violated(error), keys) or error from error


async def _refusal(session: AsyncSession, constraint: str, keys: Sequence[str]) -> FarthingError | None:
    match constraint:
        case "uq_prices_lookup_key":
            query = select(Price.lookup_key).where(
                Price.lookup_key.in_(keys), Price.status == Status.PUBLISHED, Price.end_date.is_(None)
            )
            taken = set(await session.scalars(query)) | {key for key in keys if keys.count(key) > 1}
            named = min(taken, default="")
            return AlreadyExists(f"A price with the lookup key '{named}' exists", {"lookup_key": named})
        case "uq_prices_meter_of_cost_sheet":
            return ValidationFailed.of("meter_id", "already has a price on this cost sheet")
        case "uq_prices_successor":
            return VersionConflict("The price has been changed by somebody else")
        case _:
            return None


async def terminate(session: AsyncSession, price_id: str, end_date: datetime) -> Price:
    """Let a price end. Raises NotFound, ValidationFailed before its start, InvalidOperation if it has an end."""
    price = await lock_row(session, Price, price_id)
    await references.lock_prices_of(session, [price.entity_id])
    await end(session, price, end_date, "end_date")
    return price


async def end(session: AsyncSession, price: Price, at: datetime, field: str) -> None:
    """Write the end of a locked price and give it a new sequence number, so that whoever follows prices sees it.

    `field` is what `at` is called in the request. Raises as `terminate` does.
    """
    if price.end_date is not None:
        raise InvalidOperation(
            f"Price {price.id} is already terminated", {"price_id": price.id, "end_date": instant(price.end_date)}
        )
    if at < price.start_date:
        raise ValidationFailed.of(field, "must not be before the start of the price")
    price.end_date = at
    price.sequence = await _next_sequence(session)
    await session.flush()


async def _next_sequence(session: AsyncSession) -> int:
    statement = text("SELECT nextval(pg_get_serial_sequence('prices', 'sequence'))")
    return int((await session.execute(statement)).scalar_one())


async def by_lookup_key(session: AsyncSession, key: str, now: datetime) -> Price:
    """The version in force now, else the next to come into force. Raises NotFound.

    Of several in force the one without an end wins, which is the only one the key belongs to for good.
    """
    query = select(Price).where(
        Price.lookup_key == key,
        Price.lookup_key != "",
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    in_force = (Price.start_date <= now).desc()
    query = query.order_by(in_force, Price.end_date.desc().nulls_first(), Price.start_date, Price.id).limit(1)
    price = (await session.execute(query)).scalar_one_or_none()
    if price is None:
        raise NotFound(f"Price with lookup key '{key}' was not found", {"lookup_key": key})
    return price


def page_of_prices(query: PriceQuery, now: datetime) -> PageStatements:
    """One page of prices and the count of all that match; those to come are listed, those past only if asked for."""
    statement = select(Price)
    if not query.allow_expired_prices:
        statement = statement.where(or_(Price.end_date.is_(None), Price.end_date > now))
    memberships: list[tuple[Any, Sequence[Any] | None]] = [
        (Price.id, query.price_ids),
        (Price.entity_id, query.entity_ids),
        (Price.meter_id, query.meter_ids),
        (Price.billing_period, query.billing_periods),
    ]
    for column, values in memberships:
        if values:
            statement = statement.where(one_of(column, values))
    if query.entity_type:
        statement = statement.where(Price.entity_type == query.entity_type)
    if query.plan_ids:
        of_plans = one_of(Price.entity_id, query.plan_ids)
        statement = statement.where(Price.entity_type == PriceEntityType.PLAN, of_plans)
    if query.subscription_id:
        statement = statement.where(
            Price.entity_type == PriceEntityType.SUBSCRIPTION, Price.entity_id == query.subscription_id
        )
    if query.parent_price_id:
        statement = statement.where(Price.parent_price_id == query.parent_price_id)
    if query.start_date_lt:
        statement = statement.where(Price.start_date < query.start_date_lt)
    return page_statements(Price, query, SEARCHABLE, statement)
