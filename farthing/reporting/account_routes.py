"""Endpoints of a customer's statement of account, and of where the number of a line came from."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import read_query
from farthing.calendar.period import Period
from farthing.core.caller import READ, Caller
from farthing.core.clock import instant
from farthing.core.money import plain
from farthing.reporting.account_schemas import (
    AccountStatementEntryResponse,
    AccountStatementQuery,
    AccountStatementResponse,
    InvoiceLineCostPart,
    InvoiceLineExplanationResponse,
    InvoiceLineMeter,
    InvoiceLinePrice,
    InvoiceLineUsageNow,
)
from farthing.reporting.line_explanation import LineExplanation, explain_line
from farthing.reporting.statement.account import account_statement
from farthing.reporting.statement.tabulated import WORDS, detail_of

HttpRequest = Request[Any, Any, Any]


class CustomerStatements(Controller):
    """The statement of account of a customer."""

    path = "/customers"
    tags = ("Customers",)

    @get(
        "/{id:str}/statement",
        operation_id="getCustomerStatement",
        guards=[needs("invoice", READ)],
        opt={"query": AccountStatementQuery},
    )
    async def statement(self, id: str, request: HttpRequest, session: AsyncSession) -> AccountStatementResponse:
        """Get what moved what a customer owes in one currency, with the balance after each entry, oldest first."""
        query = read_query(request, AccountStatementQuery)
        statement = await account_statement(session, id, query.currency, Period(query.start_time, query.end_time))
        return AccountStatementResponse(
            customer_id=statement.customer.id,
            currency=statement.currency,
            start_time=instant(statement.period.start),
            end_time=instant(statement.period.end),
            opening_balance=plain(statement.opening),
            closing_balance=plain(statement.closing),
            unpaid_amount=plain(statement.unpaid),
            credit_amount=plain(statement.in_credit),
            charged_amount=plain(statement.charged),
            credited_amount=plain(statement.credited),
            entries=[
                AccountStatementEntryResponse(
                    at=instant(entry.at),
                    kind=entry.kind,
                    description=WORDS[entry.kind],
                    amount=plain(entry.amount),
                    balance=plain(entry.balance),
                    document_number=entry.document or None,
                    document_id=entry.document_id or None,
                    detail=detail_of(entry) or None,
                )
                for entry in statement.entries
            ],
        )


class InvoiceLineExplanations(Controller):
    """Where the numbers of invoices came from."""

    path = "/invoices"
    tags = ("Invoices",)

    @get(
        "/{id:str}/lines/{line_id:str}/explanation",
        operation_id="getInvoiceLineExplanation",
        guards=[needs("invoice", READ)],
    )
    async def explanation(
        self, id: str, line_id: str, session: AsyncSession, caller: Caller
    ) -> InvoiceLineExplanationResponse:
        """Get where the number of a line came from: its price, tier by tier, its reductions, and its events today.

        Who may not read events is told nothing of them.
        """
        return _answer(await explain_line(session, id, line_id, sees_events=caller.may(READ, "event")))


def _answer(story: LineExplanation) -> InvoiceLineExplanationResponse:
    line, price, meter, used = story.line, story.price, story.meter, story.usage_now
    return InvoiceLineExplanationResponse(
        invoice_id=story.invoice.id,
        line_item_id=line.id,
        display_name=line.display_name or line.meter_display_name or line.plan_display_name,
        price_type=line.price_type,
        currency=line.currency,
        amount=plain(line.amount),
        quantity=plain(line.quantity),
        charge_currency=story.invoice.charge_currency,
        charge_amount=plain(line.charge_amount),
        reductions_amount=plain(story.reductions),
        net_amount=plain(story.net),
        period_start=instant(line.period_start) if line.period_start else None,
        period_end=instant(line.period_end) if line.period_end else None,
        metered_quantity=plain(line.raw_usage) if line.raw_usage is not None else None,
        included_quantity=plain(line.adjusted_entitlement_quantity)
        if line.adjusted_entitlement_quantity is not None
        else None,
        price=InvoiceLinePrice(
            id=price.id,
            display_name=price.display_name or None,
            billing_model=price.billing_model.value,
            tier_mode=price.tier_mode.value if price.tier_mode is not None else None,
            currency=price.currency,
            parts=[
                InvoiceLineCostPart(
                    quantity=plain(part.quantity),
                    unit_amount=plain(part.unit_amount),
                    flat_amount=plain(part.flat_amount),
                    amount=plain(part.amount),
                    package_size=part.package_size,
                    tier=part.tier + 1 if part.tier is not None else None,
                    above=plain(part.above) if part.tier is not None else None,
                    up_to=plain(part.up_to) if part.up_to is not None else None,
                )
                for part in (story.breakdown.parts if story.breakdown else ())
            ],
            amount=plain(story.breakdown.amount) if story.breakdown else None,
            is_whole_amount=story.plain,
        )
        if price is not None
        else None,
        meter=InvoiceLineMeter(
            id=meter.id,
            name=meter.name,
            event_name=meter.event_name,
            aggregation_type=meter.aggregation_type.value,
            field=meter.field or None,
        )
        if meter is not None
        else None,
        usage_now=InvoiceLineUsageNow(
            quantity=plain(used.value), event_count=used.event_count, agrees=story.usage_agrees
        )
        if used is not None
        else None,
        calculation_notes={key: value for key, value in story.details if value is not None},
    )
