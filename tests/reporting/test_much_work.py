"""One tenant's questions never stop the others, however long the periods of its lines are.

Rule: docs/rules/reporting.md#days-of-a-line
"""

from __future__ import annotations

from typing import Any

import pytest

from farthing.reporting.revenue import lines
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
