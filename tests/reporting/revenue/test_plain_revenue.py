"""What the database adds up of plain lines is what their schedules say, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from farthing.core.encoding.decoding import convert
from farthing.reporting.analytics.definition import read_definition
from farthing.reporting.analytics.engine import AnsweredTable, answer_question
from farthing.reporting.analytics.metrics import recognized
from farthing.reporting.analytics.metrics.plain_revenue import day_marks
from farthing.reporting.analytics.schemas import AnalyticsViewDefinition
from tests.billing.office import ARREAR
from tests.reporting.ledger import Ledger
from tests.reporting.revenue.test_billed import noted, voided
from tests.subscriptions.shop import fixed

METRICS = ("recognized_revenue", "deferred_revenue", "unbilled_revenue")
ZONES = ("UTC", "America/New_York", "Pacific/Auckland")


async def _varied_books(ledger: Ledger) -> None:
    """Fees ahead and after, of months and of a year, usage, one-off charges, notes, a void, and given credits."""
    calls = await ledger.feature("calls")
    first, second = await ledger.customer(address_country="DE"), await ledger.customer(address_country="FR")
    await ledger.subscribed(await ledger.plan(fixed("31"), name="Ahead"), first)
    await ledger.on("2026-01-17")
    await ledger.subscribed(await ledger.plan(fixed("10"), fixed("9.99", **ARREAR), name="Both"), second)
    yearly = await ledger.plan(fixed("100", billing_period="ANNUAL"), name="Year")
    await ledger.subscribed(yearly, first, billing_period="ANNUAL")
    await ledger.subscribed(await ledger.plan(ledger.usage(calls, "0.3"), name="Usage"), second)
    await ledger.recorded("calls", second, ("2026-01-20", 7), ("2026-02-03", 11), ("2026-03-20", 5))
    await ledger.run("2026-02-17")
    await ledger.on("2026-02-20")
    await ledger.invoiced(first, "7.77")
    await ledger.invoiced(second, "500", currency="jpy")
    await noted(ledger, await ledger.invoiced(first, "60"), "20")
    await voided(ledger, await ledger.invoiced(second, "80"))
    await ledger.run("2026-03-17")
    await ledger.run("2026-04-01")
    await ledger.on("2026-04-10")


async def _answer(ledger: Ledger, zone: str, body: Mapping[str, Any]) -> AnsweredTable:
    definition = convert({"metrics": list(METRICS[:1]), **body}, AnalyticsViewDefinition)
    now: datetime = ledger.now
    async with ledger.account.transaction(read_only=True) as session:
        return await answer_question(session, read_definition(definition, None, ZoneInfo(zone), now), now)


async def test_plain_lines_come_to_what_their_schedules_say(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await _varied_books(ledger)
    questions = [
        (zone, {"metrics": metrics, "time": {"range": days, "grain": grain}, "shape": shape, "dimensions": split})
        for zone in ZONES
        for metrics in (METRICS[:1], METRICS[1:])
        for days, grain, shape, split in (
            ("2026-01-01..2027-01-01", "month", "timeseries", ["currency"]),
            ("2026-01-10..2026-03-11", "week", "timeseries", ["currency", "country"]),
            ("2026-02-01..2026-02-18", None, "breakdown", ["customer_id", "price_id"]),
        )
    ]
    added_up = [await _answer(ledger, zone, body) for zone, body in questions]
    # no day is known, so that no line is plain and all have schedules
    monkeypatch.setattr(recognized, "day_marks", _no_day_is_known)
    for (zone, body), table in zip(questions, added_up, strict=True):
        by_schedule = await _answer(ledger, zone, body)
        assert list(map(table.text_of, table.rows)) == list(map(by_schedule.text_of, by_schedule.rows)), (zone, body)
    amounts = [value for table in added_up for row in table.rows for value in row.values.values()]
    assert sum(bool(amount) for amount in amounts) > 100
    assert max(amount for amount in amounts if amount is not None) > Decimal(50)


def _no_day_is_known(*given: Any) -> dict[str, Any]:
    marks = day_marks(*given)
    return {**marks, "after_days": marks["first_day"]}
