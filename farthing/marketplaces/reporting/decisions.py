"""What somebody decides about a report that a marketplace refused, or of which nobody knows whether it was taken.

Rule: docs/rules/marketplaces.md#what-is-refused
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.marketplaces.reporting.planning import release_report
from farthing.marketplaces.reporting.receipts import record_taken
from farthing.marketplaces.tables import ReportStatus, UsageReport
from farthing.storage.queries.rows import lock_row


async def report_again(session: AsyncSession, report_id: str) -> None:
    """Report what a refused report has anew, in another hour, with the agreement's terms as they are by then.

    Raises NotFound, and InvalidOperation for a report that was not refused.
    """
    await release_report(session, await _refused(session, report_id))


async def count_as_taken(session: AsyncSession, report_id: str, now: datetime) -> None:
    """Believe that the marketplace has taken a refused report. Raises as above."""
    report = await _refused(session, report_id)
    report.report_status, report.taken_at = ReportStatus.TAKEN, now
    await session.flush()
    await record_taken(session, [report], now)


async def _refused(session: AsyncSession, report_id: str) -> UsageReport:
    report = await lock_row(session, UsageReport, report_id)
    if report.report_status is not ReportStatus.REFUSED:
        raise InvalidOperation("Only a report that was refused is decided about", {"report_id": report_id})
    return report
