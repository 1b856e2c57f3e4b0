"""Bodies of the list of workflows."""

from __future__ import annotations

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import BadField, Response, Timestamp
from farthing.jobs.workflows.sources import WorkflowStatus
from farthing.storage.queries.listing import ListQuery


class WorkflowExecutionFilter(ListQuery):
    """Filters of workflows; `start_time` and `end_time` are about when they began."""

    workflow_id: str | None = None
    workflow_type: str | None = None
    workflow_status: str | None = None
    task_queue: str | None = None
    entity: str | None = None
    entity_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workflow_status is not None and self.workflow_status not in set(WorkflowStatus):
            raise BadField("workflow_status", f"must be one of {', '.join(WorkflowStatus)}")


class WorkflowExecutionResponse(Response):
    """Work that is done in the background. `close_time` is absent while it runs."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowStatus
    entity: str
    entity_id: str
    start_time: Timestamp
    duration_ms: int
    total_duration: str
    close_time: Timestamp | None = None
    created_by: str | None = None
    error: str | None = None


class ListWorkflowsResponse(Page[WorkflowExecutionResponse]):
    """One page of workflows."""

    items: list[WorkflowExecutionResponse]
