"""Failed charges that are tried again: the queue, and what a person may do about each."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning import reads, retries
from farthing.billing.dunning.schemas import DunningQuery
from farthing.billing.dunning.tables import OPEN_CASES, DunningStatus
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import FarthingError
from farthing.identity.settings.catalogue import DunningConfig
from farthing.identity.settings.current import read
from farthing.invoices.lifecycle import write_off
from farthing.invoices.routes import effects_of
from farthing.payments.shared_by_routes import provide_gateways
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing
from farthing.web.rendering.words.wording import words

PAGE = "/dunning"


class DunningPages(Controller):
    """The dunning queue, and write-offs."""

    path = "/"
    include_in_schema = False

    @get(PAGE, guards=[shows("invoice")])
    async def queue(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Every failed charge that is tried again, the next to fall due first."""
        shown = listing(request, (), "")
        state = request.query_params.get("state", "")
        wanted = [DunningStatus(state)] if state in set(DunningStatus) else None if state == "all" else list(OPEN_CASES)
        query = DunningQuery(limit=shown.per_page, offset=shown.offset, dunning_status=wanted)
        cases, shown.total = await reads.select_cases(session, query)
        return render(
            request,
            "dunning.html",
            cases=[(case, reads.next_step_of(case)) for case in cases],
            invoices=await reads.invoices_of(session, cases),
            names=await names_of(session, {case.customer_id for case in cases}),
            listing=shown,
            state=state,
            states=[("all", "All"), *((status.value, words(status)) for status in DunningStatus)],
            config=await read(session, DunningConfig),
            now=clock.now(),
        )

    @post("/invoices/{invoice_id:str}/dunning/retry", guards=[changes("invoice")])
    async def retry(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Make the next retry at once."""
        try:
            await retries.retry_now(session, provide_gateways(services), invoice_id, clock)
            case = await reads.case_of(session, invoice_id)
        except FarthingError as error:
            return await refused(request, _back(request, invoice_id), error)
        if case.dunning_status is DunningStatus.RECOVERED:
            return done(request, _back(request, invoice_id), "The charge succeeded.")
        return done(request, _back(request, invoice_id), f"The charge was tried again. {case.last_error or ''}".strip())

    @post("/invoices/{invoice_id:str}/dunning/stop", guards=[changes("invoice")])
    async def stop(self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Try the charge no more."""
        try:
            await retries.stop(session, invoice_id, clock.now())
        except FarthingError as error:
            return await refused(request, _back(request, invoice_id), error)
        return done(request, _back(request, invoice_id), "The charge is not tried any more. The debt stays.")

    @post("/invoices/{invoice_id:str}/write-off", guards=[changes("invoice")])
    async def write_off(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Give up what remains on an invoice."""
        reason = form_of(request).get("reason", "").strip()[:500] or "Written off in the dashboard"
        try:
            await write_off.write_off(session, invoice_id, reason, clock.now(), effects=effects_of(session))
        except FarthingError as error:
            return await refused(request, _back(request, invoice_id), error)
        return done(request, _back(request, invoice_id), "Written off. It is owed no more; money may still come.")

    @post("/invoices/{invoice_id:str}/write-off/undo", guards=[changes("invoice")])
    async def undo_write_off(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Have it owed again."""
        try:
            await write_off.undo_write_off(session, invoice_id, clock.now())
        except FarthingError as error:
            return await refused(request, _back(request, invoice_id), error)
        return done(request, _back(request, invoice_id), "What remains is owed again.")


def _back(request: HttpRequest, invoice_id: str) -> str:
    """The page that the form stood on."""
    return PAGE if form_of(request).get("from") == "queue" else f"/invoices/{invoice_id}"
