"""Who a job belongs to: only the worker that has it in hand may say how it ended.

The queue lets anybody finish a job. A worker that was taken for dead, and wakes up, would finish the run of the one who
took the job up since.
"""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

log = structlog.get_logger(__name__)

_OURS = "FROM procrastinate_jobs WHERE id = %(job_id)s AND status = 'doing' AND worker_id = %(worker_id)s"
_FINISH = "SELECT id, procrastinate_finish_job_v1(id, %(status)s::procrastinate_job_status, %(delete_job)s) " + _OURS
_RETRY = "SELECT id, procrastinate_retry_job_v2(id, %(retry_at)s, NULL, NULL, NULL) " + _OURS


class OwnedJobs(JobManager):
    """The queue's jobs, of which a worker ends only its own."""

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        rows = await self.connector.execute_query_all_async(
            query=_FINISH, job_id=job.id, worker_id=job.worker_id, status=status.value, delete_job=delete_job
        )
        _report(job, found=bool(rows))

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Only when to try again may be said: no task of ours moves its jobs elsewhere."""
        rows = await self.connector.execute_query_all_async(
            query=_RETRY, job_id=job.id, worker_id=job.worker_id, retry_at=retry_at or datetime.now(UTC)
        )
        _report(job, found=bool(rows))


def _report(job: Job, *, found: bool) -> None:
    if not found:
        log.warning("job.taken_over", job=job.task_name, id=job.id)
