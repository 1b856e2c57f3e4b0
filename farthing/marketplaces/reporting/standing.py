"""Where each agreement stands: the oldest hour that its marketplace has not taken, and what stands in the way.

Rule: docs/rules/marketplaces.md#what-is-shown
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.marketplaces.reporting.planning import CURRENCY_SKIPPED
from farthing.marketplaces.reporting.receipts import is_for, is_untold
from farthing.marketplaces.tables import (
    AgreementStatus,
    MarketplaceAgreement,
    ReportStatus,
    UsageRecord,
    UsageReport,
    UsageReportPart,
)

LATE = timedelta(hours=3)
"""From when on an hour that was not taken is trouble: some marketplaces take nothing older than six."""


@dataclass(slots=True)
class AgreementStanding:
    """`refused` are reports that somebody has to decide about; `problem` is why others wait."""

    agreement: MarketplaceAgreement
    oldest_untaken: datetime | None = None
    problem: str = ""
    refused: list[UsageReport] = field(default_factory=list)
    skips_currency: bool = False

    def is_in_trouble(self, now: datetime) -> bool:
        """Whether somebody should look."""
        is_late = self.oldest_untaken is not None and self.oldest_untaken < now - LATE
        return bool(self.refused) or is_late or self.skips_currency


async def agreement_standings(session: AsyncSession, most: int) -> Sequence[AgreementStanding]:
    """The agreements that are not over and done with, the newest first, at most so many."""
    oldest = (
        select(MarketplaceAgreement.id, func.min(UsageRecord.period_start).label("hour"))
        .join(UsageRecord, is_for())
        .where(is_untold(MarketplaceAgreement.provider))
        .group_by(MarketplaceAgreement.id)
        .subquery()
    )
    rows = await session.execute(
        select(MarketplaceAgreement, oldest.c.hour)
        .outerjoin(oldest, oldest.c.id == MarketplaceAgreement.id)
        .where(
            MarketplaceAgreement.status == Status.PUBLISHED,
            (MarketplaceAgreement.agreement_status == AgreementStatus.ACTIVE) | oldest.c.hour.is_not(None),
        )
        .order_by(MarketplaceAgreement.created_at.desc(), MarketplaceAgreement.id.desc())
        .limit(most)
    )
    found = {agreement.id: AgreementStanding(agreement, hour) for agreement, hour in rows}
    for agreement_id, reports in (await _open_reports(session)).items():
        if (standing := found.get(agreement_id)) is not None:
            standing.refused = [report for report in reports if report.report_status is ReportStatus.REFUSED]
            waiting = [report.problem for report in reports if report.report_status is ReportStatus.WAITING]
            standing.problem = next((problem for problem in waiting if problem), "")
    for agreement_id in await _skipping_currency(session):
        if (standing := found.get(agreement_id)) is not None:
            standing.skips_currency = True
    return list(found.values())


async def _open_reports(session: AsyncSession) -> dict[str, list[UsageReport]]:
    """Reports that wait or were refused, the oldest hour first, by the agreement's row."""
    rows = await session.execute(
        select(UsageReport, UsageReportPart.agreement_id)
        .join(UsageReportPart, UsageReportPart.report_id == UsageReport.id)
        .where(UsageReport.report_status.in_([ReportStatus.WAITING, ReportStatus.REFUSED]))
        .distinct()
        .order_by(UsageReport.hour, UsageReport.id)
    )
    found: defaultdict[str, list[UsageReport]] = defaultdict(list)
    for report, agreement_id in rows:
        found[agreement_id].append(report)
    return found


async def _skipping_currency(session: AsyncSession) -> Sequence[str]:
    reason = UsageRecord.syncs[MarketplaceAgreement.provider]["skip_reason"].astext
    query = select(MarketplaceAgreement.id).join(UsageRecord, is_for())
    active = query.where(MarketplaceAgreement.agreement_status == AgreementStatus.ACTIVE, reason == CURRENCY_SKIPPED)
    return (await session.scalars(active.distinct())).all()
