"""Endpoints of what may end in an invoice: the life of a subscription, its items and its addons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, delete, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.work import rehearsal
from farthing.billing.calculation.proration import Proration
from farthing.billing.changes import answers, modifications, pauses, plan_change
from farthing.billing.changes.apply_outcome import perform
from farthing.billing.changes.in_two_steps import OpenedSubscription, change_and_collect, open_and_collect
from farthing.billing.changes.opening import open_subscription
from farthing.billing.plan_change_schemas import (
    SubscriptionChangeExecuteResponse,
    SubscriptionChangePreviewResponse,
    SubscriptionChangeRequest,
    SubscriptionChangeV2Request,
    SubscriptionChangeV2Response,
)
from farthing.billing.ports import BillingPorts
from farthing.billing.reads import usage_so_far
from farthing.billing.schemas import (
    AddAddonRequest,
    AddAddonToSubscriptionResponse,
    CancelSubscriptionResponse,
    ExecuteSubscriptionModifyRequest,
    PauseResponse,
    SubscriptionModifyResponse,
)
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.wire import Message
from farthing.invoices.reads.presentation import shown
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.storage.postgres import ports_of
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.lifecycle import activation, cancellation, pausing
from farthing.subscriptions.line_items import revise
from farthing.subscriptions.reads.answers import item_answer
from farthing.subscriptions.schemas.requests import (
    ActivateDraftSubscriptionRequest,
    CreateSubscriptionLineItemRequest,
    CreateSubscriptionRequest,
    DeleteSubscriptionLineItemRequest,
    RemoveAddonRequest,
    UpdateSubscriptionLineItemRequest,
)
from farthing.subscriptions.schemas.responses import SubscriptionLineItemResponse, SubscriptionResponse

READ = [needs("subscription", "read")]
WRITE = [needs("subscription", "write")]


class SubscriptionLife(Controller):
    """How subscriptions begin, change and end."""

    path = "/subscriptions"
    tags = ("Subscriptions",)
    dependencies = GATEWAYS

    @post("/", operation_id="createSubscription", guards=WRITE)
    async def create(
        self,
        data: CreateSubscriptionRequest,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
        services: Composition,
    ) -> SubscriptionResponse:
        """Create a subscription; its opening invoice is issued and collected as it says, or paid by checkout."""
        if data.checkout is not None:
            return await ports_of(session, BillingPorts).checkouts.create(session, services, data, clock)

        async def begin() -> OpenedSubscription:
            outcome, performed = await open_subscription(session, data, clock.now(), gateways.effects)
            return OpenedSubscription.of(outcome, performed)

        return await open_and_collect(session, gateways, clock, begin, must_be_paid=True)

    @post("/{id:str}/activate", operation_id="activateSubscription", guards=WRITE, status_code=200)
    async def activate(
        self, id: str, data: ActivateDraftSubscriptionRequest, session: AsyncSession, clock: Clock, gateways: Gateways
    ) -> SubscriptionResponse:
        """Let a draft begin."""

        async def begin() -> OpenedSubscription:
            outcome = await activation.activate(session, id, data.start_date, clock.now())
            return OpenedSubscription.of(outcome, await perform(session, outcome, clock.now(), gateways.effects))

        return await open_and_collect(session, gateways, clock, begin, must_be_paid=False)

    @post("/{id:str}/cancel", operation_id="cancelSubscription", guards=WRITE, status_code=200)
    async def cancel(
        self,
        id: str,
        data: cancellation.CancelSubscriptionRequest,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
    ) -> CancelSubscriptionResponse:
        """Cancel a subscription, now, at the end of its period, or on a date."""

        async def change() -> tuple[CancelSubscriptionResponse, Sequence[str]]:
            done = await cancellation.cancel(session, id, data, clock.now())
            performed = await perform(session, done.outcome, clock.now(), gateways.effects)
            proration = performed.settlement.proration if performed.settlement is not None else Proration()
            return answers.describe_cancellation(done, proration, clock.now()), performed.to_collect

        return await change_and_collect(session, gateways, clock, change)

    @post("/{id:str}/cancel/preview", operation_id="previewSubscriptionCancellation", guards=READ, status_code=200)
    async def preview_cancel(
        self,
        id: str,
        data: cancellation.CancelSubscriptionRequest,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
    ) -> CancelSubscriptionResponse:
        """What a cancellation would come to; the final invoice, if any, under `proration_invoice`."""
        async with rehearsal(request) as session:
            done = await cancellation.cancel(session, id, data, clock.now())
            performed = await perform(session, done.outcome, clock.now(), gateways.effects)
            proration = performed.settlement.proration if performed.settlement is not None else Proration()
            answer = answers.describe_cancellation(done, proration, clock.now())
            if performed.issued:
                answer.proration_invoice = await shown(session, performed.issued[0])
                answer.proration_invoice.invoice_number = None
            return answer

    @post("/{id:str}/pause", operation_id="pauseSubscription", guards=WRITE, status_code=200)
    async def pause(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        data: pausing.PauseSubscriptionRequest | None = None,
    ) -> PauseResponse:
        """Pause a subscription, now or later."""
        asked = data or pausing.PauseSubscriptionRequest()
        subscription, pause, impact = await pausing.pause(session, id, asked, clock.now())
        return await pauses.answer(session, subscription, pause, impact, clock.now(), dry_run=asked.dry_run)

    @post("/{id:str}/resume", operation_id="resumeSubscription", guards=WRITE, status_code=200)
    async def resume(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        data: pausing.ResumeSubscriptionRequest | None = None,
    ) -> PauseResponse:
        """Resume a paused subscription."""
        asked = data or pausing.ResumeSubscriptionRequest()
        subscription, pause, impact = await pausing.resume(session, id, asked, clock.now())
        return await pauses.answer(session, subscription, pause, impact, clock.now(), dry_run=asked.dry_run)

    @post("/{id:str}/change/execute", operation_id="executeSubscriptionChange", guards=WRITE, status_code=200)
    async def change(
        self, id: str, data: SubscriptionChangeRequest, session: AsyncSession, clock: Clock, gateways: Gateways
    ) -> SubscriptionChangeExecuteResponse:
        """Change the plan by a new subscription."""
        return await change_and_collect(
            session,
            gateways,
            clock,
            lambda: plan_change.replace_plan(session, id, data, clock.now(), gateways.effects),
        )

    @post("/{id:str}/change/preview", operation_id="previewSubscriptionChange", guards=READ, status_code=200)
    async def preview_change(
        self,
        id: str,
        data: SubscriptionChangeRequest,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionChangePreviewResponse:
        """What a plan change by a new subscription would come to."""
        async with rehearsal(request) as session:
            return await plan_change.preview_replacement(session, id, data, clock.now(), gateways.effects)

    @post("/{id:str}/change/v2/execute", operation_id="executeSubscriptionPlanChangeV2", guards=WRITE, status_code=200)
    async def change_in_place(
        self,
        id: str,
        data: SubscriptionChangeV2Request,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
        services: Composition,
    ) -> SubscriptionChangeV2Response | dict[str, Any]:
        """Change the plan of the subscription itself, at once or when a checkout is paid."""
        if data.checkout is not None:
            return await ports_of(session, BillingPorts).checkouts.change_plan(session, services, id, data, clock)
        return await change_and_collect(
            session,
            gateways,
            clock,
            lambda: plan_change.change_plan(session, id, data, clock.now(), gateways.effects),
        )

    @post("/{id:str}/change/v2/preview", operation_id="previewSubscriptionPlanChangeV2", guards=READ, status_code=200)
    async def preview_change_in_place(
        self,
        id: str,
        data: SubscriptionChangeV2Request,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionChangeV2Response:
        """What a plan change of the subscription itself would come to."""
        data.idempotency_key = None
        async with rehearsal(request) as session:
            answer, _ = await plan_change.change_plan(session, id, data, clock.now(), gateways.effects)
        assert isinstance(answer, SubscriptionChangeV2Response), "only a key has an answer from before"
        answer.schedule_id = None  # nothing waits: it was undone
        answers.as_preview(answer.changed_resources)
        return answer

    @post("/{id:str}/modify/execute", operation_id="executeSubscriptionModify", guards=WRITE, status_code=200)
    async def modify(
        self,
        id: str,
        data: ExecuteSubscriptionModifyRequest,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
        services: Composition,
    ) -> SubscriptionModifyResponse:
        """Modify quantities, addons, the trial, the family, coupons or taxes of a subscription."""
        if data.checkout is not None:
            return await ports_of(session, BillingPorts).checkouts.modify(session, services, id, data, clock)
        return await change_and_collect(
            session,
            gateways,
            clock,
            lambda: modifications.modify(session, id, data, clock.now(), gateways.effects),
        )

    @post("/{id:str}/modify/preview", operation_id="previewSubscriptionModify", guards=READ, status_code=200)
    async def preview_modify(
        self,
        id: str,
        data: ExecuteSubscriptionModifyRequest,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionModifyResponse:
        """What a modification would come to."""
        async with rehearsal(request) as session:
            answer, _ = await modifications.modify(session, id, data, clock.now(), gateways.effects)
            answers.as_preview(answer.changed_resources)
            return answer

    @post("/usage", operation_id="getSubscriptionUsage", guards=READ, status_code=200)
    async def usage(
        self, data: usage_so_far.GetUsageBySubscriptionRequest, session: AsyncSession, clock: Clock
    ) -> usage_so_far.GetUsageBySubscriptionResponse:
        """What a subscription's usage costs."""
        return await usage_so_far.usage_of(session, data, clock.now())


class SubscriptionParts(Controller):
    """Line items and addons, with the money that changing them costs."""

    path = "/subscriptions"
    tags = ("Subscriptions",)
    dependencies = GATEWAYS

    @post("/{id:str}/lineitems", operation_id="createSubscriptionLineItem", guards=WRITE)
    async def add_item(
        self,
        id: str,
        data: CreateSubscriptionLineItemRequest,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionLineItemResponse:
        """Add a line item."""

        async def change() -> tuple[SubscriptionLineItemResponse, Sequence[str]]:
            item, outcome = await revise.add(session, id, data, clock.now())
            performed = await perform(session, outcome, clock.now(), gateways.effects)
            return await item_answer(session, item), performed.to_collect

        return await change_and_collect(session, gateways, clock, change, status_code=201)

    @post("/{id:str}/lineitems/preview", operation_id="previewSubscriptionLineItem", guards=READ, status_code=200)
    async def preview_item(
        self,
        id: str,
        data: CreateSubscriptionLineItemRequest,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionModifyResponse:
        """What adding a line item would come to."""
        async with rehearsal(request) as session:
            _, outcome = await revise.add(session, id, data, clock.now())
            return await modifications.preview_answer(session, outcome, clock.now(), gateways.effects)

    @post(
        "/lineitems/{id:str}/preview",
        operation_id="previewSubscriptionLineItemUpdate",
        guards=READ,
        status_code=200,
    )
    async def preview_update(
        self,
        id: str,
        data: UpdateSubscriptionLineItemRequest,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionModifyResponse:
        """What changing a line item would come to."""
        async with rehearsal(request) as session:
            _, outcome = await revise.update(session, id, data, clock.now())
            return await modifications.preview_answer(session, outcome, clock.now(), gateways.effects)

    @post(
        "/lineitems/{id:str}/end/preview",
        operation_id="previewSubscriptionLineItemEnd",
        guards=READ,
        status_code=200,
    )
    async def preview_end(
        self,
        id: str,
        request: Request[Any, Any, Any],
        clock: Clock,
        gateways: Gateways,
        data: DeleteSubscriptionLineItemRequest | None = None,
    ) -> SubscriptionModifyResponse:
        """What ending a line item would come to."""
        async with rehearsal(request) as session:
            _, outcome = await revise.end(session, id, data or DeleteSubscriptionLineItemRequest(), clock.now())
            return await modifications.preview_answer(session, outcome, clock.now(), gateways.effects)

    @put("/lineitems/{id:str}", operation_id="updateSubscriptionLineItem", guards=WRITE)
    async def update_item(
        self,
        id: str,
        data: UpdateSubscriptionLineItemRequest,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
    ) -> SubscriptionLineItemResponse:
        """Change a line item, by a new version when its terms change."""

        async def change() -> tuple[SubscriptionLineItemResponse, Sequence[str]]:
            item, outcome = await revise.update(session, id, data, clock.now())
            performed = await perform(session, outcome, clock.now(), gateways.effects)
            return await item_answer(session, item), performed.to_collect

        return await change_and_collect(session, gateways, clock, change)

    @delete("/lineitems/{id:str}", operation_id="deleteSubscriptionLineItem", guards=WRITE, status_code=200)
    async def end_item(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
        data: DeleteSubscriptionLineItemRequest | None = None,
    ) -> SubscriptionLineItemResponse:
        """End a line item."""
        asked = data or DeleteSubscriptionLineItemRequest()
        item, outcome = await revise.end(session, id, asked, clock.now())
        await perform(session, outcome, clock.now(), gateways.effects)
        return await item_answer(session, item)

    @post("/addon", operation_id="addSubscriptionAddon", guards=WRITE, status_code=200)
    async def add_addon(
        self,
        data: AddAddonRequest,
        session: AsyncSession,
        clock: Clock,
        gateways: Gateways,
        services: Composition,
    ) -> AddAddonToSubscriptionResponse:
        """Attach an addon, at once or when a checkout is paid."""
        if data.checkout is not None:
            return await ports_of(session, BillingPorts).checkouts.add_addon(session, services, data, clock)

        async def change() -> tuple[AddAddonToSubscriptionResponse, Sequence[str]]:
            association, outcome = await lifecycle.add(session, data.subscription_id, data, clock.now())
            performed = await perform(session, outcome, clock.now(), gateways.effects)
            settlement = performed.settlement
            invoice = settlement.invoice if settlement is not None else None
            return await answers.describe_attachment(session, association, invoice), performed.to_collect

        return await change_and_collect(session, gateways, clock, change)

    @delete("/addon", operation_id="removeSubscriptionAddon", guards=WRITE, status_code=200)
    async def remove_addon(
        self, data: RemoveAddonRequest, session: AsyncSession, clock: Clock, gateways: Gateways
    ) -> Message:
        """Detach an addon."""
        _, outcome = await lifecycle.remove(session, data, clock.now())
        await perform(session, outcome, clock.now(), gateways.effects)
        return Message(message="addon removed from subscription successfully")
