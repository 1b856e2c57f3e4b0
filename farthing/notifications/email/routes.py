"""Endpoints of mails."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import page, read_query
from farthing.customers.tables import Customer
from farthing.notifications.email.reads import list_emails
from farthing.notifications.email.schemas import EmailQuery, EmailResponse, ListEmailsResponse
from farthing.notifications.email.tables import Email, EmailState
from farthing.storage.queries.rows import find


class CustomerEmails(Controller):
    """The mails to one customer."""

    path = "/customers"
    tags = ("Customers",)

    @get(
        "/{id:str}/emails",
        operation_id="listCustomerEmails",
        guards=[needs("customer", "read")],
        opt={"query": EmailQuery},
    )
    async def browse(self, id: str, request: Request[Any, Any, Any], session: AsyncSession) -> ListEmailsResponse:
        """List the mails to a customer, and how far each is."""
        query = read_query(request, EmailQuery)
        await find(session, Customer, id)
        emails, total = await list_emails(session, query, customer_id=id)
        answer: ListEmailsResponse = page([_answer(email) for email in emails], total, query, next_offset=False)
        return answer


def _answer(email: Email) -> EmailResponse:
    next_attempt_at = email.next_attempt_at if email.state is EmailState.QUEUED else None
    return EmailResponse.of(email, status=email.state, next_attempt_at=next_attempt_at)
