"""Sending the reports that are stored, and storing what the marketplace made of them.

Before a report is sent it is noted as in doubt; a crash at any point leaves it so, and it is sent again as it is, which
marketplaces count once. Nothing is locked while a marketplace is asked.

Rule: docs/rules/marketplaces.md#sending
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.marketplaces.reporting.markets.interface import (
    MOST_IN_A_CALL,
    CallRefused,
    MarketplaceUnavailable,
    Reporter,
    ReportOutcome,
    UsageToReport,
    Verdict,
)
from farthing.marketplaces.reporting.planning import release_report
from farthing.marketplaces.reporting.receipts import record_taken
from farthing.marketplaces.tables import ReportStatus, UsageReport
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import in_array
from farthing.storage.scope import Scope

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=1)
_UNKNOWN_AND_TOO_OLD = (
    "nobody knows whether it was taken, and it is too old to be sent again: look for it at the marketplace, and say "
    "here what became of it"
)
_LOOKED_AT = 100
"""Among how many that are due those for one call are looked for."""


@dataclass(slots=True)
class Sent:
    """What came of a run."""

    taken: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Held:
    """Reports in hand for one call, and which of them were in doubt before it."""

    reports: Sequence[UsageToReport]
    doubted: frozenset[str]


def wait_after(attempts: int) -> timedelta:
    """How long a report waits after so many attempts."""
    doublings: int = 2 ** min(attempts - 1, 10)
    return min(FIRST_WAIT * doublings, LONGEST_WAIT)


async def send_due(
    database: Database, scope: Scope, provider: str, connection_id: str, reporter: Reporter, clock: Clock
) -> Sent:
    """Send what is due at one marketplace until nothing is, or it cannot be reached."""
    sent = Sent()
    while held := await _take_in_hand(database, scope, provider, connection_id, reporter, clock.now()):
        try:
            outcomes = await _send(reporter, held.reports)
            is_reached = True
        except MarketplaceUnavailable as error:
            outcomes, is_reached = [_unavailable(error)] * len(held.reports), False
        async with database.transaction(scope, clock=clock) as session:
            await _store(session, held, outcomes, clock.now())
        taken = sum(outcome.verdict is Verdict.TAKEN for outcome in outcomes)
        sent.taken += taken
        sent.failed += len(outcomes) - taken
        if not is_reached:
            break
    return sent


async def _take_in_hand(
    database: Database, scope: Scope, provider: str, connection_id: str, reporter: Reporter, now: datetime
) -> _Held | None:
    """The oldest report that is due and what may go with it in one call, noted as about to be sent."""
    async with database.transaction(scope) as session:
        due = await session.scalars(
            select(UsageReport)
            .where(
                UsageReport.provider == provider,
                UsageReport.report_status == ReportStatus.WAITING,
                UsageReport.due_at <= now,
            )
            .order_by(UsageReport.due_at, UsageReport.hour, UsageReport.id)
            .limit(_LOOKED_AT)
            .with_for_update(skip_locked=True)
        )
        reports = due.all()
        if not reports:
            return None
        call = reporter.call_of(reports[0].terms)
        chosen = [report for report in reports if reporter.call_of(report.terms) == call][:MOST_IN_A_CALL]
        doubted = frozenset(report.id for report in chosen if report.in_doubt)
        for report in chosen:
            report.attempts += 1
            report.in_doubt = True
            report.due_at = now + wait_after(report.attempts)
            report.connection_id = connection_id
        return _Held([_as_sent(report) for report in chosen], doubted)


def _as_sent(report: UsageReport) -> UsageToReport:
    return UsageToReport(report.id, report.terms, report.usage_start, report.usage_end, int(report.quantity))


async def _send(reporter: Reporter, reports: Sequence[UsageToReport]) -> Sequence[ReportOutcome]:
    """What became of each; where a call is refused as a whole, each is sent by itself, so that one spoils no other."""
    try:
        return await reporter.send(reports)
    except CallRefused as error:
        if len(reports) == 1:
            return [ReportOutcome(Verdict.TOO_OLD if error.is_too_old else Verdict.REFUSED, str(error))]
    outcomes: list[ReportOutcome] = []
    for report in reports:
        try:
            outcomes += await _send(reporter, [report])
        except MarketplaceUnavailable as error:
            outcomes.append(_unavailable(error))
            not_sent = ReportOutcome(Verdict.NOT_TAKEN, str(error))
            return [*outcomes, *[not_sent] * (len(reports) - len(outcomes))]
    return outcomes


def _unavailable(error: MarketplaceUnavailable) -> ReportOutcome:
    return ReportOutcome(Verdict.UNKNOWN if error.is_unknown else Verdict.NOT_TAKEN, str(error))


async def _store(session: AsyncSession, held: _Held, outcomes: Sequence[ReportOutcome], now: datetime) -> None:
    by_id = {report.id: outcome for report, outcome in zip(held.reports, outcomes, strict=True)}
    rows = await session.scalars(
        select(UsageReport).where(in_array(UsageReport.id, by_id)).order_by(UsageReport.id).with_for_update()
    )
    taken = []
    for report in rows:
        # somebody may have decided about it meanwhile
        if report.report_status is not ReportStatus.WAITING:
            continue
        outcome = by_id[report.id]
        await _conclude(session, report, outcome, was_in_doubt=report.id in held.doubted, now=now)
        if outcome.verdict is Verdict.TAKEN:
            taken.append(report)
    await session.flush()
    await record_taken(session, taken, now)


async def _conclude(
    session: AsyncSession, report: UsageReport, outcome: ReportOutcome, *, was_in_doubt: bool, now: datetime
) -> None:
    report.problem = outcome.words
    if outcome.verdict is Verdict.TAKEN:
        report.report_status, report.taken_at, report.in_doubt = ReportStatus.TAKEN, now, False
        report.reporting_id = outcome.reporting_id
        return
    report.in_doubt = was_in_doubt or outcome.verdict is Verdict.UNKNOWN
    if outcome.verdict is Verdict.REFUSED:
        report.report_status = ReportStatus.REFUSED
    elif outcome.verdict is Verdict.TOO_OLD and report.in_doubt:
        report.report_status, report.problem = ReportStatus.REFUSED, _UNKNOWN_AND_TOO_OLD
    elif outcome.verdict is Verdict.TOO_OLD:
        await release_report(session, report)
