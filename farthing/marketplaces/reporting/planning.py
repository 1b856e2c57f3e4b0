"""Deciding which quantity is reported in which hour, and storing that before anything is sent.

Rule: docs/rules/marketplaces.md#hours
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.marketplaces.reporting.hours import (
    HOUR,
    HourReport,
    WaitingQuantity,
    floor_to_hour,
    open_hours,
    place,
)
from farthing.marketplaces.reporting.limits import CURRENCY, LIMITS, MARGIN, MarketplaceLimits
from farthing.marketplaces.reporting.receipts import is_for, is_untold, record_skipped
from farthing.marketplaces.tables import (
    AgreementStatus,
    MarketplaceAgreement,
    ReportStatus,
    UsageRecord,
    UsageReport,
    UsageReportPart,
)
from farthing.storage.queries.rows import in_array

ZERO_SKIPPED = "zero_amount_not_supported"
CURRENCY_SKIPPED = "currency_not_supported"
TEST_CLOCK_SKIPPED = "test_clock"


@dataclass(frozen=True, slots=True)
class _WaitingRecord:
    """A record, an agreement it is for, and what of its quantity is in no report yet."""

    record_id: str
    hour: datetime
    quantity: int
    currency: str
    agreement: MarketplaceAgreement


async def plan_reports(session: AsyncSession, provider: str, now: datetime) -> int:
    """Store the reports of all that is recorded and in no report yet; how many were made."""
    limits = LIMITS[provider]
    earliest = now - limits.oldest + MARGIN
    await _release_too_old(session, provider, earliest)
    waiting = await _skip_unsupported(session, await _waiting(session, provider), limits)
    made = 0
    for of_meter in _by_meter(waiting):
        used = await _used_hours(session, provider, of_meter[0].agreement.meter, earliest)
        ended = any(item.agreement.agreement_status is AgreementStatus.CLOSED for item in of_meter)
        # the last record of an agreement cannot wait for its hour to close: the marketplace may close before
        latest = floor_to_hour(now) if ended else floor_to_hour(now) - HOUR
        placed = place(
            [WaitingQuantity(item, item.hour, item.quantity) for item in of_meter],
            open_hours(earliest, latest, used),
            limits.most,
        )
        for report in placed:
            await _store(session, provider, report, now)
        made += len(placed)
    return made


async def skip_all(session: AsyncSession, provider: str, reason: str) -> int:
    """Note that a marketplace is told nothing of what waits; how many records that were."""
    waiting = await _waiting(session, provider)
    await _skip(session, waiting, reason)
    return len(waiting)


async def release_report(session: AsyncSession, report: UsageReport) -> None:
    """Give what a report has, which was certainly not taken, back to be reported in another hour."""
    await session.execute(delete(UsageReportPart).where(UsageReportPart.report_id == report.id))
    report.report_status = ReportStatus.RELEASED


async def _release_too_old(session: AsyncSession, provider: str, earliest: datetime) -> None:
    """Release what waits, was certainly not taken and can no longer be: what is in doubt is only sent as it is."""
    released = await session.scalars(
        update(UsageReport)
        .where(
            UsageReport.provider == provider,
            UsageReport.report_status == ReportStatus.WAITING,
            ~UsageReport.in_doubt,
            UsageReport.usage_start < earliest,
        )
        .values(report_status=ReportStatus.RELEASED)
        .returning(UsageReport.id)
        .execution_options(synchronize_session=False)
    )
    await session.execute(delete(UsageReportPart).where(in_array(UsageReportPart.report_id, released.all())))


async def _waiting(session: AsyncSession, provider: str) -> list[_WaitingRecord]:
    reported = func.coalesce(func.sum(UsageReportPart.quantity), 0)
    rows = await session.execute(
        select(UsageRecord, MarketplaceAgreement, reported)
        .join(MarketplaceAgreement, is_for())
        .outerjoin(
            UsageReportPart,
            (UsageReportPart.record_id == UsageRecord.id) & (UsageReportPart.agreement_id == MarketplaceAgreement.id),
        )
        .where(
            is_untold(provider),
            MarketplaceAgreement.provider == provider,
            MarketplaceAgreement.status == Status.PUBLISHED,
        )
        .group_by(UsageRecord.id, MarketplaceAgreement.id)
        .having((func.count(UsageReportPart.id) == 0) | (reported < UsageRecord.quantity))
        .order_by(UsageRecord.period_start, UsageRecord.id)
    )
    return [
        _WaitingRecord(
            record.id,
            floor_to_hour(record.period_start),
            int(record.quantity - in_reports),
            record.currency,
            agreement,
        )
        for record, agreement, in_reports in rows
    ]


async def _skip_unsupported(
    session: AsyncSession, waiting: Sequence[_WaitingRecord], limits: MarketplaceLimits
) -> list[_WaitingRecord]:
    foreign = [item for item in waiting if item.currency != CURRENCY]
    known = [item for item in waiting if item.currency == CURRENCY]
    zero = [item for item in known if item.quantity == 0 and not limits.takes_zero]
    await _skip(session, foreign, CURRENCY_SKIPPED)
    await _skip(session, zero, ZERO_SKIPPED)
    return [item for item in known if item.quantity > 0 or limits.takes_zero]


async def _skip(session: AsyncSession, items: Sequence[_WaitingRecord], reason: str) -> None:
    by_agreement: defaultdict[str, list[_WaitingRecord]] = defaultdict(list)
    for item in items:
        by_agreement[item.agreement.id].append(item)
    for group in by_agreement.values():
        await record_skipped(session, {item.record_id for item in group}, group[0].agreement, reason)


def _by_meter(waiting: Sequence[_WaitingRecord]) -> list[list[_WaitingRecord]]:
    groups: defaultdict[str, list[_WaitingRecord]] = defaultdict(list)
    for item in waiting:
        groups[item.agreement.meter].append(item)
    return list(groups.values())


async def _used_hours(session: AsyncSession, provider: str, meter: str, earliest: datetime) -> set[datetime]:
    hours = await session.scalars(
        select(UsageReport.hour).where(
            UsageReport.provider == provider, UsageReport.meter == meter, UsageReport.hour >= earliest - HOUR
        )
    )
    return set(hours)


async def _store(session: AsyncSession, provider: str, placed: HourReport[_WaitingRecord], now: datetime) -> None:
    agreements = [item.agreement for item, _ in placed.parts]
    newest = max(agreements, key=lambda agreement: agreement.created_at)
    # usage before the agreement is refused, also within its first hour
    begun = newest.created_at.replace(microsecond=0)
    report = UsageReport(
        id=new_id(Kind.USAGE_REPORT),
        provider=provider,
        meter=newest.meter,
        terms=dict(newest.terms),
        hour=placed.hour,
        usage_start=begun if placed.hour < begun < placed.hour + HOUR else placed.hour,
        usage_end=min(placed.hour + HOUR, now),
        quantity=Decimal(placed.quantity),
        due_at=now,
    )
    session.add(report)
    for item, quantity in placed.parts:
        session.add(
            UsageReportPart(
                id=new_id(Kind.USAGE_REPORT_PART),
                report_id=report.id,
                record_id=item.record_id,
                agreement_id=item.agreement.id,
                quantity=Decimal(quantity),
            )
        )
