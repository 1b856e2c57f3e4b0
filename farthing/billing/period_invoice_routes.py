"""Endpoints of the invoices of periods: previewed, computed, billed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.work import LONG_READ, rehearsal
from farthing.billing.changes.in_two_steps import change_and_collect
from farthing.billing.reads import previews
from farthing.billing.reads.late_usage import InvoiceUsageResponse, usage_of_invoice
from farthing.billing.schemas import GetPreviewInvoiceRequest, WorkflowResult
from farthing.core.clock import Clock
from farthing.invoices.lifecycle import edits
from farthing.invoices.reads.presentation import shown
from farthing.invoices.receivable import InvoiceType
from farthing.invoices.requests import ComputeInvoiceRequest
from farthing.invoices.schemas import InvoiceComputeResponse, InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.storage.queries.rows import find

READ = [needs("invoice", "read")]
WRITE = [needs("invoice", "write")]


class PeriodInvoices(Controller):
    """Invoices of subscriptions' periods: previewed, computed, billed again."""

    path = "/invoices"
    tags = ("Invoices",)
    dependencies = GATEWAYS

    @post("/preview", operation_id="getInvoicePreview", guards=READ, status_code=200, opt={LONG_READ: True})
    async def preview(
        self,
        data: GetPreviewInvoiceRequest,
        request: Request[Any, Any, Any],
        clock: Clock,
        exclude_invoiced: bool = False,
    ) -> InvoiceResponse:
        """What a subscription's invoice would be; with `exclude_invoiced` without what was invoiced already."""
        async with rehearsal(request) as session:
            return await previews.preview(session, data, clock.now(), exclude_invoiced=exclude_invoiced)

    @post(
        "/internal/preview",
        operation_id="getInternalInvoicePreview",
        guards=READ,
        status_code=200,
        opt={LONG_READ: True},
    )
    async def internal_preview(
        self, data: GetPreviewInvoiceRequest, request: Request[Any, Any, Any], clock: Clock
    ) -> InvoiceResponse:
        """The same, under another name."""
        async with rehearsal(request) as session:
            return await previews.preview(session, data, clock.now())

    @get("/{id:str}/usage", operation_id="getInvoiceUsage", guards=READ, opt={LONG_READ: True})
    async def usage(self, id: str, session: AsyncSession, clock: Clock) -> InvoiceUsageResponse:
        """The usage of an invoice as it was charged, and what came late for it."""
        return await usage_of_invoice(session, id, clock.now())

    @post("/{id:str}/compute", operation_id="computeInvoice", guards=WRITE, status_code=200)
    async def compute(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        data: ComputeInvoiceRequest | None = None,
        sync: bool = True,
    ) -> Response[Any]:
        """Compute a draft: a subscription's from its period, any other after replacing the charges that are given."""
        invoice = await find(session, Invoice, id)
        if invoice.invoice_type is InvoiceType.SUBSCRIPTION and invoice.derived_key:
            computed, skipped = await previews.compute(session, id, clock.now())
        else:
            asked = data or ComputeInvoiceRequest()
            computed, skipped = await edits.recompute(session, id, asked, clock.now()), False
        if not sync:
            done = WorkflowResult(message="invoice computed", workflow_id=f"compute-{id}", run_id=id)
            return Response(done, status_code=202)
        return Response(InvoiceComputeResponse(invoice=await shown(session, computed), skipped=skipped))

    @post("/{id:str}/recalculate", operation_id="recalculateInvoice", guards=WRITE, status_code=202)
    async def recalculate(self, id: str, session: AsyncSession, clock: Clock, gateways: Gateways) -> WorkflowResult:
        """Void an invoice and bill its period afresh."""

        async def change() -> tuple[WorkflowResult, Sequence[str]]:
            _, new = await previews.recalculate(session, id, clock.now(), gateways.effects)
            answer = WorkflowResult(message="invoice recalculated", workflow_id=f"recalculate-{id}", run_id=new.id)
            return answer, [new.id]

        return await change_and_collect(session, gateways, clock, change, status_code=202)

    @post("/{id:str}/recalculate-v2", operation_id="recalculateInvoiceV2", guards=WRITE, status_code=200)
    async def recalculate_in_place(
        self, id: str, session: AsyncSession, clock: Clock, gateways: Gateways, finalize: bool = True
    ) -> InvoiceResponse:
        """Compute a draft afresh and, unless told otherwise, finalize it."""

        async def change() -> tuple[InvoiceResponse, Sequence[str]]:
            invoice = await previews.recompute(session, id, clock.now(), gateways.effects, finalize=finalize)
            return await shown(session, invoice), [invoice.id] if finalize else []

        return await change_and_collect(session, gateways, clock, change)
