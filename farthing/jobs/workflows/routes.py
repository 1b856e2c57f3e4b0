"""The endpoint of workflows."""

from __future__ import annotations

from litestar import Controller, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page
from farthing.core.clock import Clock
from farthing.jobs.workflows.reads import answer_of, select_workflows
from farthing.jobs.workflows.schemas import ListWorkflowsResponse, WorkflowExecutionFilter


class Workflows(Controller):
    """Work that is done in the background."""

    path = "/workflows"
    tags = ("Workflows",)

    @post("/search", operation_id="queryWorkflow", guards=[needs("workflow", "read")], status_code=200)
    async def search(
        self, session: AsyncSession, clock: Clock, data: WorkflowExecutionFilter | None = None
    ) -> ListWorkflowsResponse:
        """Search what is done in the background: mails, webhooks, backfills, moves of the test clock, copies."""
        query = data or WorkflowExecutionFilter()
        expansions(query.expand, {})
        found, total = await select_workflows(session, query)
        items = [answer_of(work, clock.now()) for work in found]
        answer: ListWorkflowsResponse = page(items, total, query, next_offset=False)
        return answer
