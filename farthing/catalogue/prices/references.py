"""What new prices refer to: their owners, meters, groups and units, loaded once and held until the prices are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.fields import require_published
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.catalogue.products import groups
from farthing.catalogue.products.enums import GroupEntityType
from farthing.catalogue.products.tables import MeterRow
from farthing.core.enums import PriceType, Status
from farthing.core.errors import NotFound, ValidationFailed
from farthing.rating.pricing.price import BillingModel
from farthing.storage.postgres import clock_of, ports_of, scope_of
from farthing.storage.queries.rows import not_found
from farthing.storage.tables import Base

MOST_PRICES_OF_OWNER = 5000

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True, slots=True)
class References:
    """What a batch of prices refers to, by id; units by code."""

    owners: Mapping[tuple[PriceEntityType, str], Base]
    meters: Mapping[str, MeterRow]
    groups: Mapping[str, str]
    units: Mapping[str, PriceUnit]

    def owner_name(self, request: CreatePriceRequest) -> str:
        """What the owner is called; "" if it has no name."""
        return str(getattr(self.owners[request.entity_type, request.entity_id], "name", ""))


def owner_table(session: AsyncSession, kind: PriceEntityType) -> type[Base] | None:
    """The table of the entities of this kind, which own prices; None for a kind that owns none."""
    ports = ports_of(session, CataloguePorts)
    tables: dict[PriceEntityType, type[Base]] = {
        PriceEntityType.PLAN: ports.plan_table,
        PriceEntityType.ADDON: ports.addon_table,
        PriceEntityType.SUBSCRIPTION: ports.subscription_table,
        PriceEntityType.COSTSHEET: ports.cost_sheet_table,
    }
    return tables.get(kind)


async def load(session: AsyncSession, requests: Sequence[CreatePriceRequest]) -> References:
    """Everything that `requests` refer to, locked against retirement.

    Raises NotFound for an unknown owner or meter, ValidationFailed for an unknown group or unit, InvalidOperation for
    an archived owner or meter.
    """
    owners: dict[tuple[PriceEntityType, str], Base] = {}
    for kind in sorted({request.entity_type for request in requests}):
        table = owner_table(session, kind)
        if table is None:
            raise NotFound(f"There is nothing of type {kind.value} that could own a price", {"entity_type": kind.value})
        ids = {request.entity_id for request in requests if request.entity_type is kind}
        for id_, row in (await _held(session, table, ids)).items():
            require_published(row)
            owners[kind, id_] = row
    # a fixed price keeps no meter, but what a request names has to exist
    meters = await _held(session, MeterRow, {request.meter_id for request in requests if request.meter_id})
    measuring = {request.meter_id for request in requests if request.type is PriceType.USAGE}
    for meter in meters.values():
        if meter.id in measuring:
            require_published(meter)
    joined = {}
    for group_id in sorted({request.group_id for request in requests if request.group_id}):
        joined[group_id] = await groups.lock_group_for_member(session, group_id, GroupEntityType.PRICE) or ""
    return References(owners, meters, joined, await _units(session, requests))


async def _held(session: AsyncSession, table: type[Row], ids: Iterable[str]) -> dict[str, Row]:
    """The rows with these ids, locked for sharing in the order of ids. Raises NotFound for the first that is not."""
    wanted = sorted(ids)
    if not wanted:
        return {}
    columns = table.__table__.columns
    query = select(table).where(columns["id"].in_(wanted), columns["status"] != Status.DELETED)
    query = query.order_by(columns["id"]).with_for_update(read=True)
    query = query.execution_options(populate_existing=True)
    found = {row.id: row for row in await session.scalars(query)}
    for id_ in wanted:
        if id_ not in found:
            raise not_found(table, id_)
    return found


async def _units(session: AsyncSession, requests: Sequence[CreatePriceRequest]) -> dict[str, PriceUnit]:
    """Published units by code, whose base currency is that of the prices quoted in them."""
    configs = [(request, request.price_unit_config.price_unit) for request in requests if request.price_unit_config]
    if not configs:
        return {}
    codes = {code for _, code in configs}
    query = select(PriceUnit).where(PriceUnit.code.in_(codes), PriceUnit.status == Status.PUBLISHED)
    query = query.order_by(PriceUnit.id).with_for_update(read=True)
    found = {unit.code: unit for unit in await session.scalars(query)}
    for request, code in configs:
        if code not in found:
            raise ValidationFailed.of("price_unit_config.price_unit", f"there is no price unit '{code}'")
        if found[code].base_currency != request.currency:
            raise ValidationFailed.of(
                "price_unit_config.price_unit", f"'{code}' is worth {found[code].base_currency}, not {request.currency}"
            )
    return found


async def lock_prices_of(session: AsyncSession, owner_ids: Iterable[str]) -> None:
    """Let nobody else add or end prices of these owners until this transaction ends.

    Under this lock the sequence numbers of an owner's prices grow in order of commit, so a reader who holds it and
    takes the highest has seen them all.
    """
    environment = scope_of(session).environment_id
    for owner_id in sorted(set(owner_ids)):
        await session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"),
            {"key": f"prices {environment} {owner_id}"},
        )


async def require_room(session: AsyncSession, requests: Sequence[CreatePriceRequest]) -> None:
    """Refuse more than 5000 published, un-ended prices of one owner. The owners' prices are locked.

    Raises ValidationFailed.
    Rule: docs/rules/pricing.md#number-of-prices
    """
    adding: dict[str, int] = {}
    for request in requests:
        adding[request.entity_id] = adding.get(request.entity_id, 0) + (request.end_date is None)
    query = (
        select(Price.entity_id, func.count())
        .where(Price.entity_id.in_(adding), Price.status == Status.PUBLISHED, Price.end_date.is_(None))
        .group_by(Price.entity_id)
    )
    counts = dict((await session.execute(query)).all())
    for owner_id, more in adding.items():
        if counts.get(owner_id, 0) + more > MOST_PRICES_OF_OWNER:
            raise ValidationFailed.of("entity_id", f"'{owner_id}' would have more than {MOST_PRICES_OF_OWNER} prices")


async def let_prices_leave_group(session: AsyncSession, group_id: str) -> None:
    """Prices of a group that is being archived belong to none from now on."""
    await session.execute(update(Price).where(Price.group_id == group_id).values(group_id=None))


async def count_prices_of_meter(session: AsyncSession, meter_id: str) -> Mapping[str, int]:
    """Usage prices that a meter measures and that have not ended."""
    now = clock_of(session).now()
    query: Any = select(func.count()).where(
        Price.meter_id == meter_id,
        Price.type == PriceType.USAGE,
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    return {"prices": (await session.execute(query)).scalar_one()}


async def require_no_money_granted(session: AsyncSession, model: BillingModel, meter_ids: Sequence[str]) -> None:
    """Refuse tiers for usage of which an entitlement grants money: what a unit costs would depend on the window.

    Raises ValidationFailed.
    Rule: docs/rules/entitlements.md#grants
    """
    if model is not BillingModel.TIERED or not meter_ids:
        return
    if await ports_of(session, CataloguePorts).grants_money(session, meter_ids):
        raise ValidationFailed.of("billing_model", "must not be TIERED: an entitlement grants money for this usage")
