"""Endpoints of features, meters and groups."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.catalogue.products import features, groups, meters
from farthing.catalogue.products.answers import feature_answers, group_answer, meter_answer
from farthing.catalogue.products.schemas import (
    CloneFeatureRequest,
    CreateFeatureRequest,
    CreateGroupRequest,
    CreateMeterRequest,
    FeatureFilter,
    FeatureQuery,
    FeatureResponse,
    GroupFilter,
    GroupResponse,
    ListFeaturesResponse,
    ListGroupsResponse,
    ListMetersResponse,
    MeterQuery,
    MeterResponse,
    UpdateFeatureRequest,
    UpdateMeterRequest,
)
from farthing.catalogue.products.shapes import FEATURES
from farthing.catalogue.products.tables import Feature, GroupRow, MeterRow
from farthing.core.encoding.wire import Message
from farthing.storage.queries.listing import select_entities
from farthing.storage.queries.pages import read_answers, rows_of
from farthing.storage.queries.rows import find

EXPANDABLE = {"meters": frozenset[str]()}


class Groups(Controller):
    """Headings for prices and features."""

    path = "/groups"
    tags = ("Groups",)

    @post("/", operation_id="createGroup", guards=[needs("group", "write")])
    async def create(self, data: CreateGroupRequest, session: AsyncSession) -> GroupResponse:
        """Create a group."""
        return group_answer(await groups.create(session, data))

    @post("/search", operation_id="queryGroup", guards=[needs("group", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: GroupFilter | None = None) -> ListGroupsResponse:
        """Search groups."""
        query = data or GroupFilter()
        expansions(query.expand, {})
        found, total = await groups.search(session, query)
        answer: ListGroupsResponse = page([group_answer(group) for group in found], total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getGroup", guards=[needs("group", "read")])
    async def read(self, id: str, session: AsyncSession) -> GroupResponse:
        """Get a group, archived ones included."""
        return group_answer(await find(session, GroupRow, id))

    @delete("/{id:str}", operation_id="deleteGroup", guards=[needs("group", "write")])
    async def archive(self, id: str, session: AsyncSession) -> None:
        """Archive a group and let its members go."""
        await groups.archive(session, id)


class Meters(Controller):
    """Which events count and how they fold into one number."""

    path = "/meters"
    tags = ("Meters",)

    @post("/", operation_id="createMeter", guards=[needs("meter", "write")])
    async def create(self, data: CreateMeterRequest, session: AsyncSession) -> MeterResponse:
        """Create a meter."""
        return meter_answer(await meters.create(session, data))

    @get("/", operation_id="listMeters", guards=[needs("meter", "read")], opt={"query": MeterQuery})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListMetersResponse:
        """List meters."""
        query = read_query(request, MeterQuery)
        expansions(query.expand, {})
        found, total = await meters.search(session, query)
        answer: ListMetersResponse = page([meter_answer(meter) for meter in found], total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getMeter", guards=[needs("meter", "read")])
    async def read(self, id: str, session: AsyncSession) -> MeterResponse:
        """Get a meter, disabled ones included."""
        return meter_answer(await find(session, MeterRow, id))

    @put("/{id:str}", operation_id="updateMeter", guards=[needs("meter", "write")])
    async def widen(self, id: str, data: UpdateMeterRequest, session: AsyncSession) -> MeterResponse:
        """Add values to a meter's filters."""
        return meter_answer(await meters.widen(session, id, data.filters))

    @post("/{id:str}/disable", operation_id="disableMeter", guards=[needs("meter", "write")], status_code=200)
    async def disable(self, id: str, session: AsyncSession) -> Message:
        """Stop a meter, unless a live price charges by it."""
        await meters.disable(session, id)
        return Message(message="Meter disabled successfully")

    @delete("/{id:str}", operation_id="deleteMeter", guards=[needs("meter", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Stop a meter; the same as to disable it."""
        await meters.disable(session, id)
        return Message(message="Meter deleted successfully")


class Features(Controller):
    """What a plan can include."""

    path = "/features"
    tags = ("Features",)

    @post("/", operation_id="createFeature", guards=[needs("feature", "write")])
    async def create(self, data: CreateFeatureRequest, session: AsyncSession) -> FeatureResponse:
        """Create a feature, with its meter if it is metered."""
        return await _whole(session, await features.create(session, data))

    @get("/", operation_id="listFeatures", guards=[needs("feature", "read")], opt={"query": FeatureQuery})
    async def browse(self, request: Request[Any, Any, Any]) -> ListFeaturesResponse:
        """List features, archived ones included unless a status is given."""
        return await _page(unit_of_work(request), read_query(request, FeatureQuery))

    @post("/search", operation_id="queryFeature", guards=[needs("feature", "read")], status_code=200)
    async def search(self, request: Request[Any, Any, Any], data: FeatureFilter | None = None) -> ListFeaturesResponse:
        """Search features, archived ones included unless a status is given."""
        return await _page(unit_of_work(request), data or FeatureFilter())

    @get("/{id:str}", operation_id="getFeature", guards=[needs("feature", "read")])
    async def read(self, id: str, session: AsyncSession) -> FeatureResponse:
        """Get a feature with its meter and group, archived ones included."""
        return await _whole(session, await find(session, Feature, id))

    @put("/{id:str}", operation_id="updateFeature", guards=[needs("feature", "write")])
    async def update(self, id: str, data: UpdateFeatureRequest, session: AsyncSession) -> FeatureResponse:
        """Update a feature; filters are added to its meter's."""
        return await _whole(session, await features.update(session, id, data))

    @delete("/{id:str}", operation_id="deleteFeature", guards=[needs("feature", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive a feature that nothing uses, and stop its meter."""
        await features.archive(session, id)
        return Message(message="feature deleted successfully")

    @post("/{id:str}/clone", operation_id="cloneFeature", guards=[needs("feature", "write")])
    async def clone(self, id: str, data: CloneFeatureRequest, session: AsyncSession) -> FeatureResponse:
        """Copy a feature, with a meter of its own."""
        return await _whole(session, await features.clone(session, id, data))


async def _whole(session: AsyncSession, feature: Feature) -> FeatureResponse:
    return (await feature_answers(session, [feature], meters=True, groups=True))[0]


async def _page(work: UnitOfWork, query: FeatureQuery) -> ListFeaturesResponse:
    wanted = expansions(query.expand, EXPANDABLE)
    statements = features.page_of_features(query)
    if "meters" in wanted:
        session = await work.admitted_session()
        found, total = await select_entities(session, Feature, statements)
        items = await feature_answers(session, found, meters=True)
    else:
        # the best plan for a part of a name hangs on the part
        read = rows_of(await work.admitted_session()) if query.name_contains else await reader(work, query)
        items, total = await read_answers(read, FEATURES, statements)
    answer: ListFeaturesResponse = page(items, total, query, next_offset=True)
    return answer
