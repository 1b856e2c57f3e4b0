"""Endpoints of the synchronisation of line items with prices.

A run works through its subscriptions page by page, each page a transaction of its own, so what a run that is cut off
has done stays done, and the next one goes on from there.
Rule: docs/rules/pricing.md#synchronising-line-items
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Controller, Request, post
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.core.encoding.wire import Response
from farthing.core.errors import AlreadyExists
from farthing.core.ids import Kind, new_ulid
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.queries.rows import find
from farthing.subscriptions.addons import addon_sync
from farthing.subscriptions.line_items import price_sync
from farthing.subscriptions.line_items.price_sync import SyncCounts


class PriceSyncResponse(Response):
    """A run that brought line items in line with prices, and what it did."""

    message: str
    workflow_id: str
    run_id: str
    subscriptions: int
    line_items_created: int
    line_items_ended: int


class PlanPriceSync(Controller):
    """The prices of a plan, and those who subscribe to it."""

    path = "/plans"
    tags = ("Plans",)

    @post(
        "/{id:str}/sync/subscriptions",
        operation_id="syncPlanPrices",
        guards=[needs("plan", "write")],
        status_code=200,
    )
    async def synchronise(self, id: str, request: Request[Any, Any, Any]) -> PriceSyncResponse:
        """Give the subscriptions of a plan its usage prices as they are now, and end what was terminated.

        Refused with 409 while another run for the plan is at work.
        """
        return await _plan(unit_of_work(request), id)

    @post("/{id:str}/sync/subscriptions/v2", guards=[needs("plan", "write")], status_code=200, include_in_schema=False)
    async def synchronise_v2(self, id: str, request: Request[Any, Any, Any]) -> PriceSyncResponse:
        """The same, for clients that know it by this path."""
        return await _plan(unit_of_work(request), id)


class AddonPriceSync(Controller):
    """The prices of an addon, and those who have it attached."""

    path = "/addons"
    tags = ("Addons",)

    @post(
        "/{id:str}/sync/subscriptions",
        operation_id="syncAddonPrices",
        guards=[needs("addon", "write")],
        status_code=200,
    )
    async def synchronise(self, id: str, request: Request[Any, Any, Any]) -> PriceSyncResponse:
        """Give the subscriptions that have an addon its usage prices as they are now, and end what was terminated.

        Refused with 409 while another run for the addon is at work.
        """
        work = unit_of_work(request)
        async with work.new_session() as session:
            await find(session, Addon, id)
            target = await price_sync.target_sequence(session, id, PriceEntityType.ADDON)

        async def page(session: AsyncSession, run: SyncProgress) -> SyncCounts:
            return await addon_sync.sync_page(session, id, run.target, after=run.after)

        return await _run(work, id, "addon", SyncProgress(target, new_ulid()), page)


class SyncProgress(msgspec.Struct):
    """How far a run has come: the price it brings everybody up to, what it did, and the last subscription done."""

    target: int
    run_id: str
    after: str = ""
    subscriptions: int = 0
    created: int = 0
    ended: int = 0
    is_done: bool = False

    def add(self, counts: SyncCounts) -> None:
        self.subscriptions += counts.subscriptions
        self.created += counts.created
        self.ended += counts.ended
        self.is_done = counts.last_id is None
        self.after = counts.last_id or self.after


Page = Callable[[AsyncSession, SyncProgress], Awaitable[SyncCounts]]
"""Synchronises the subscriptions that come next, in a session that is committed afterwards."""


async def _plan(work: UnitOfWork, plan_id: str) -> PriceSyncResponse:
    async with work.new_session() as session:
        await find(session, Plan, plan_id)
        target = await price_sync.target_sequence(session, plan_id)

    async def page(session: AsyncSession, run: SyncProgress) -> SyncCounts:
        return await price_sync.sync_page(session, plan_id, run.target, after=run.after)

    return await _run(work, plan_id, "plan", SyncProgress(target, new_ulid()), page)


async def _run(work: UnitOfWork, owner_id: str, owner: str, run: SyncProgress, page: Page) -> PriceSyncResponse:
    """Every page, one after another, while nobody else runs for the same owner. Raises AlreadyExists if somebody is.

    A repeat of a request that was interrupted goes on with its run.
    """
    async with _alone(work, owner_id, owner):
        run = resume_point(work.session, SyncProgress) or run
        while not run.is_done:
            async with work.new_session() as session:
                run.add(await page(session, run))
                await commit_midway(session, run)  # a run over everybody would hold too much for too long
    return PriceSyncResponse(
        message=f"prices of the {owner} synchronised",
        workflow_id=f"{Kind.WORKFLOW}_PriceSync_{owner_id}",
        run_id=run.run_id,
        subscriptions=run.subscriptions,
        line_items_created=run.created,
        line_items_ended=run.ended,
    )


@asynccontextmanager
async def _alone(work: UnitOfWork, owner_id: str, owner: str) -> AsyncIterator[None]:
    """The only run for this owner, from here to the end of the block, however that ends.

    The lock belongs to a transaction that does nothing else: it is let go when that ends, also when the server dies.
    """
    key = f"price sync/{work.scope.environment_id}/{owner_id}"
    async with work.database.engine.connect() as holder, holder.begin():
        taken = await holder.scalar(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})
        if not taken:
            raise AlreadyExists(
                f"The prices of this {owner} are being synchronised already",
                {f"{owner}_id": owner_id},
                retry_after_seconds=1,
            )
        yield
