"""What is done in the background of an environment: mails, webhooks, backfills, moves of the clock, copies."""

from __future__ import annotations

import re
from datetime import timedelta

from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.invoices.pdf.figures import NO_BREAK_SPACE
from farthing.jobs.workflows.reads import in_words, select_workflows
from farthing.jobs.workflows.schemas import WorkflowExecutionFilter
from farthing.jobs.workflows.sources import WorkflowStatus, WorkflowType
from farthing.web.access.visitors import shows
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.listing import listing

KINDS = {
    WorkflowType.EMAIL: "Mail",
    WorkflowType.WEBHOOK: "Webhook",
    WorkflowType.BACKFILL: "Backfill of a meter",
    WorkflowType.CLOCK: "Move of the test clock",
    WorkflowType.CLONE: "Copy of an environment",
}
PLACES = {
    WorkflowType.EMAIL: "/emails",
    WorkflowType.WEBHOOK: "/webhooks",
    WorkflowType.CLOCK: "/clock",
}
"""Where a piece of work can be looked at, and done again where that is safe."""
_UNITS = {"h": "h", "m": "min", "s": "s", "ms": "ms"}


def _took(length: timedelta) -> str:
    """A length of time as people write it: "34 ms", "1 min 23 s"."""
    parts = re.findall(r"(\d+)(ms|[hms])", in_words(length))
    return " ".join(f"{number}{NO_BREAK_SPACE}{_UNITS[unit]}" for number, unit in parts)


class WorkflowPages(Controller):
    """Work in the background."""

    path = "/workflows"
    include_in_schema = False

    @get("/", guards=[shows("workflow")])
    async def browse(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """All of it, newest first, narrowed by kind and state."""
        shown = listing(request, (), "")
        kind, state = request.query_params.get("kind", ""), request.query_params.get("state", "")
        query = WorkflowExecutionFilter(
            limit=shown.per_page,
            offset=shown.offset,
            workflow_type=kind if kind in set(WorkflowType) else None,
            workflow_status=state if state in set(WorkflowStatus) else None,
        )
        found, shown.total = await select_workflows(session, query)
        now = clock.now()
        return render(
            request,
            "workflows.html",
            work=[(each, KINDS[WorkflowType(each.workflow_type)], _took(each.duration(now))) for each in found],
            places=PLACES,
            listing=shown,
            kind=kind,
            state=state,
            kinds=[(each.value, words) for each, words in KINDS.items()],
            states=[(each.value, each.value) for each in (*WorkflowStatus,)[:4]],
        )
