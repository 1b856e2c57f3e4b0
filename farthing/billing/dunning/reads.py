"""Cases as they are shown: with what is owed on their invoices, open ones first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.schedule import DunningStep
from farthing.billing.dunning.schemas import DunningCaseResponse, DunningQuery
from farthing.billing.dunning.tables import DunningCase, DunningStatus
from farthing.core.errors import NotFound
from farthing.core.money import plain
from farthing.invoices.tables import Invoice
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find, in_array

SEARCHABLE = (
    "id",
    "invoice_id",
    "customer_id",
    "subscription_id",
    "case_status",
    "next_at",
    "first_failed_at",
    "retries_made",
    "final_action",
    "created_at",
    "updated_at",
)


async def select_cases(session: AsyncSession, query: DunningQuery) -> tuple[list[DunningCase], int]:
    """A page of cases, and how many there are: the next to fall due first, those that are over last."""
    statement = select(DunningCase)
    if query.customer_id is not None:
        statement = statement.where(DunningCase.customer_id == query.customer_id)
    if query.subscription_id is not None:
        statement = statement.where(DunningCase.subscription_id == query.subscription_id)
    if query.dunning_status:
        statement = statement.where(DunningCase.case_status.in_(query.dunning_status))
    if query.sort is None:
        statement = statement.order_by(DunningCase.next_at.asc().nulls_last())
    return await select_page(session, DunningCase, query, SEARCHABLE, statement)


async def case_of(session: AsyncSession, invoice_id: str) -> DunningCaseResponse:
    """The case of an invoice. Raises NotFound where the invoice is not there, or has none."""
    await find(session, Invoice, invoice_id)
    case = await session.scalar(select(DunningCase).where(DunningCase.invoice_id == invoice_id))
    if case is None:
        raise NotFound("No charge of the invoice has failed that is tried again", {"invoice_id": invoice_id})
    return (await answers(session, [case]))[0]


async def answers(session: AsyncSession, cases: Sequence[DunningCase]) -> list[DunningCaseResponse]:
    """Cases with what is owed on their invoices; one query for all."""
    invoices = await invoices_of(session, cases)
    return [_answer(case, invoices[case.invoice_id]) for case in cases]


async def invoices_of(session: AsyncSession, cases: Sequence[DunningCase]) -> dict[str, Invoice]:
    """The invoices of cases, by id."""
    found = await session.scalars(select(Invoice).where(in_array(Invoice.id, {case.invoice_id for case in cases})))
    return {invoice.id: invoice for invoice in found}


def _answer(case: DunningCase, invoice: Invoice) -> DunningCaseResponse:
    return DunningCaseResponse.of(
        case,
        dunning_status=case.case_status,
        currency=invoice.currency,
        amount_remaining=plain(invoice.amount_remaining),
        invoice_number=invoice.invoice_number,
        next_step=next_step_of(case),
    )


def next_step_of(case: DunningCase) -> DunningStep | None:
    """What falls due next; None where the case is over."""
    if case.next_at is None:
        return None
    may_retry = case.case_status is DunningStatus.RETRYING and case.retries_made < len(case.retry_days)
    return DunningStep.RETRY if may_retry else DunningStep.FINAL_ACTION


async def open_case_of(session: AsyncSession, invoice_id: str) -> DunningCase | None:
    """The case of an invoice that is still to be tried, or ended."""
    query = select(DunningCase).where(DunningCase.invoice_id == invoice_id, DunningCase.next_at.is_not(None))
    found: DunningCase | None = await session.scalar(query)
    return found
