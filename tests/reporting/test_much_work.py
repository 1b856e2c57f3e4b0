"""One tenant's questions never stop the others, however long the periods of its lines are.

Rule: docs/rules/reporting.md#days-of-a-line
"""

from __future__ import annotations

import asyncio
import gc
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from benchmarks.billing.run import START, company
from farthing.core.encoding.decoding import convert
from farthing.reporting.analytics.definition import read_definition
from farthing.reporting.analytics.engine import answer_question
from farthing.reporting.analytics.schemas import AnalyticsViewDefinition
from farthing.reporting.files import TableFormat, table_file
from farthing.reporting.revenue import lines
from farthing.reporting.revenue.breakdown import revenue
from farthing.reporting.revenue.schemas import RevenueAnalyticsRequest
from farthing.storage.postgres import Database
from tests.reporting.ledger import Ledger

YEAR = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2027-01-01T00:00:00Z", "allocation_policy": "amortized"}


async def charged_for(ledger: Ledger, amount: str, end: str) -> None:
    """A line whose period begins with the year 2026."""
    span = {"period_start": "2026-01-01T00:00:00Z", "period_end": end}
    line = {"display_name": "Work", "quantity": "1", "amount": amount, **span}
    await ledger.invoiced(await ledger.customer(), amount, line, **span)


async def rows_of(ledger: Ledger, **asked: Any) -> list[dict[str, Any]]:
    answer = await ledger.account.post("/analytics/revenue", {**YEAR, **asked}, 200)
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


@pytest.mark.parametrize(
    ("end", "rows", "whole"),
    [
        pytest.param("2027-01-01T00:00:00Z", 365, 36524, id="a year, all of it in the year that is asked for"),
        pytest.param("2126-01-01T00:00:00Z", 365, 365, id="a hundred years, of which one is asked for"),
        pytest.param("9999-12-31T00:00:00Z", 1, 36524, id="eight thousand years are not spread"),
    ],
)
async def test_only_the_days_that_are_asked_for_are_worked_out(
    ledger: Ledger, end: str, rows: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_PARTS", 366)
    await ledger.on("2026-01-01")
    await charged_for(ledger, "36524", end)
    shown = await rows_of(ledger, granularity="day")
    assert len(shown) == rows
    assert sum(row["net_amount"] for row in shown) == pytest.approx(whole)


async def test_more_days_of_lines_than_an_answer_holds_are_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_PARTS", 400)
    await ledger.on("2026-01-01")
    for _ in range(2):
        await charged_for(ledger, "365", "2027-01-01T00:00:00Z")
    refused = await ledger.account.post("/analytics/revenue", YEAR, 400)
    assert "more than 400 days" in refused["message"] + str(refused.get("details"))
    assert len(await rows_of(ledger, granularity="day", end_time="2026-02-01T00:00:00Z")) == 31


SUBSCRIPTIONS = 600
LONGEST_TURN_SECONDS = 0.15
"""Of the CPU, which other work on the machine does not add to; all at once it was more than twice as long."""


@pytest.mark.slow
async def test_a_question_about_many_subscriptions_leaves_turns_to_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = await company(database, SUBSCRIPTIONS, 1, frozen_time=START)
    days = {"range": "2026-01-01..2026-01-20", "grain": "day"}
    half_a_month = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-16T00:00:00Z", "granularity": "day"}
    turns = turns_of_the_loop(monkeypatch)
    now = datetime(2026, 1, 20, tzinfo=UTC)
    async with database.transaction(scope, read_only=True) as session:
        answer = await revenue(session, convert(half_a_month, RevenueAnalyticsRequest, strict=False), now)
        assert answer.rows
        for metric in ("mrr", "gross_churn_rate", "active_customers"):
            asked = {"metrics": [metric], "shape": "timeseries", "dimensions": ["customer_id"], "time": days}
            question = read_definition(convert(asked, AnalyticsViewDefinition), None, ZoneInfo("UTC"), now)
            table = await answer_question(session, question, now)
            assert len(table.rows) > 10 * SUBSCRIPTIONS
            await table_file(session, question.columns, map(table.text_of, table.rows), "table", TableFormat.CSV)
    assert max(turns) < LONGEST_TURN_SECONDS


def turns_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The CPU seconds of each callback that the loop runs from now on."""
    turns: list[float] = []
    gc.freeze()  # as a server does when it begins; or a turn pays for walking what other tests have left
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        turns.append(time.thread_time() - began)

    monkeypatch.setattr(asyncio.events.Handle, "_run", timed)
    return turns
