"""Mails, looked up: of an environment, of a customer, about an invoice."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.notifications.email.schemas import EmailQuery
from farthing.notifications.email.tables import Email
from farthing.storage.queries.listing import select_page

FIELDS = ("kind", "state", "entity_id", "invoice_id", "recipient", "created_at", "finished_at")
MOST_OF_AN_INVOICE = 100


async def list_emails(
    session: AsyncSession, query: EmailQuery, *, customer_id: str | None = None
) -> tuple[list[Email], int]:
    """One page of mails, newest first, and how many match."""
    statement = select(Email)
    if customer_id is not None:
        statement = statement.where(Email.customer_id == customer_id)
    if query.kind is not None:
        statement = statement.where(Email.kind == query.kind)
    if query.status is not None:
        statement = statement.where(Email.state == query.status)
    if query.invoice_id is not None:
        statement = statement.where(Email.invoice_id == query.invoice_id)
    return await select_page(session, Email, query, FIELDS, statement)


async def emails_of_invoice(session: AsyncSession, invoice_id: str) -> Sequence[Email]:
    """The newest mails about an invoice."""
    query = select(Email).where(Email.invoice_id == invoice_id).order_by(Email.created_at.desc(), Email.id.desc())
    return (await session.scalars(query.limit(MOST_OF_AN_INVOICE))).all()
