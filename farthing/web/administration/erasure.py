"""Erasing a customer: what becomes of it, said first, and a form for whoever is in charge."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import FarthingError, ValidationFailed
from farthing.customers.tables import Customer
from farthing.erasure.documents import documents_to_keep
from farthing.erasure.erase import DocumentsChoice, erase
from farthing.erasure.usage import finish_usage
from farthing.storage.postgres import real_clock_of
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.rendering.answers import HttpRequest, done, refused, render


class ErasurePages(Controller):
    """Erasing customers."""

    path = "/customers/{customer_id:str}/erasure"
    include_in_schema = False

    @get("/", guards=[shows("customer")])
    async def explain(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What is erased, and what is kept and why."""
        customer = await find(session, Customer, customer_id)
        kept = await documents_to_keep(session, customer_id, real_clock_of(session).now())
        return render(request, "erasure.html", customer=customer, kept=kept)

    @post("/", guards=[changes("customer", admin=True)])
    async def erase(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Erase the customer whose name was typed."""
        form = form_of(request)
        try:
            customer = await find(session, Customer, customer_id)
            if form.get("confirmation", "").strip() != customer.name:
                raise ValidationFailed.of("confirmation", "must be the customer's name, as it stands above")
            choice = DocumentsChoice.ERASE if form.get("documents") == "erase" else DocumentsChoice.KEEP
            await erase(session, customer_id, choice)
            await finish_usage(session)
        except FarthingError as error:
            return await refused(request, f"/customers/{customer_id}/erasure", error)
        return done(request, f"/customers/{customer_id}", "Erased. Nothing names the person but what is kept.")
