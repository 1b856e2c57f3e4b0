"""What an export reads grows with what it writes, and no faster, whatever the planner knows of the tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.clock import instant
from farthing.core.errors import ValidationFailed
from farthing.reporting.revenue import breakdown
from farthing.transfer.enums import ExportEntity
from farthing.transfer.exports.run import SELECTIONS
from farthing.transfer.exports.selections import revenue as selections_revenue
from farthing.transfer.exports.selections import usage
from farthing.transfer.exports.selections.selection import ExportRequest
from tests.transfer.office import TransferOffice

pytestmark = pytest.mark.asyncio

DAY = Period(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC))
NOW = datetime(2026, 5, 3, tzinfo=UTC)
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
EVENTS = 400


async def _subscribed(office: TransferOffice, customers: list[str]) -> list[str]:
    """Customers that pay for tokens; their ids."""
    account = office.account
    aggregation = {"type": "SUM", "field": "tokens"}
    meter = {"name": "Tokens", "event_name": "call", "aggregation": aggregation, "reset_usage": "BILLING_PERIOD"}
    feature = await account.post("/features", {"name": "Tokens", "type": "metered", "meter": meter})
    plan = await account.post("/plans", {"name": "Pro", "lookup_key": "pro"})
    of_plan = {"entity_type": "PLAN", "entity_id": plan["id"], "currency": "usd", "meter_id": feature["meter_id"]}
    terms = {"billing_period": "MONTHLY", "billing_model": "FLAT_FEE", "invoice_cadence": "ARREAR", "amount": "0.5"}
    start = instant(DAY.start - timedelta(days=3))
    await account.post("/prices", {**of_plan, **terms, "type": "USAGE", "start_date": start})
    ids = []
    for external_id in customers:
        customer = await account.post("/customers", {"external_id": external_id, "name": external_id})
        body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        await account.post("/subscriptions", {**body, "billing_period_count": 1, "start_date": start})
        ids.append(customer["id"])
    return ids


async def _send(office: TransferOffice, customers: list[str], count: int, every: timedelta = timedelta()) -> None:
    events = [
        {
            "event_id": f"e{number}",
            "event_name": "call",
            "external_customer_id": customers[number % len(customers)],
            "timestamp": instant(DAY.start + number * every),
            "properties": {"tokens": 1},
        }
        for number in range(count)
    ]
    await office.account.post("/events/bulk", {"events": events}, expect=202)


async def _exported(
    office: TransferOffice, entity: ExportEntity, *counted: str, window: Period = DAY
) -> tuple[list[list[object]], int]:
    """The rows of an export of the day, and how many rows of the counted tables were read for it."""
    async with office.database.transaction(office.scope, read_only=True) as session:
        before = await _rows_read(session, counted)
        selection = SELECTIONS[entity](session, ExportRequest(window, NOW))
        rows = [list(row) async for portion in selection.portions for row in portion]
        return rows, await _rows_read(session, counted) - before


async def _rows_read(session: AsyncSession, tables: tuple[str, ...]) -> int:
    """By the transaction, until now."""
    statement = text(
        "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables "
        "WHERE relname = ANY (:tables)"
    )
    return int((await session.execute(statement, {"tables": list(tables)})).scalar_one())


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(timedelta(), id="all of one instant"),
        pytest.param(timedelta(seconds=1), id="one after another"),
    ],
)
async def test_each_event_finds_its_own_usage(office: TransferOffice, every: timedelta) -> None:
    await _subscribed(office, ["acme"])
    await _send(office, ["acme", "nobody"], EVENTS, every)
    rows, read = await _exported(office, ExportEntity.EVENTS, "meter_usage")
    assert len(rows) == EVENTS
    assert read <= 2 * EVENTS


async def test_pages_of_customers_do_not_read_all_events_each(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "CUSTOMERS_AT_ONCE", 2)
    customers = [f"c{number}" for number in range(10)]
    ids = await _subscribed(office, [*customers, "idle"])
    await _send(office, customers, EVENTS, timedelta(seconds=1))
    async with office.database.transaction(office.scope) as session:
        await session.execute(text("ANALYZE events, meter_usage"))
    rows, read = await _exported(office, ExportEntity.USAGE_ANALYTICS, "events")
    assert [row[1] for row in rows] == sorted(ids[:-1])
    assert {row[9] for row in rows} == {EVENTS // len(customers)}
    # a page looks for one event of each of its customers, and each customer's own are grouped by their source
    assert read <= 4 * EVENTS


async def test_usage_under_a_former_external_id_is_exported(office: TransferOffice) -> None:
    (customer_id,) = await _subscribed(office, ["before"])
    await _send(office, ["before"], 3)
    await office.account.put(f"/customers/{customer_id}", {"external_id": "after"})
    rows, _ = await _exported(office, ExportEntity.USAGE_ANALYTICS)
    assert [(row[2], row[9]) for row in rows] == [("after", 3)]


async def test_more_revenue_than_one_report_may_have(office: TransferOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    customer_ids = []
    for number in range(5):
        customer = await office.account.post("/customers", {"external_id": f"c{number}", "name": "Acme"})
        customer_ids.append(customer["id"])
        lines = [
            {
                "display_name": "Fee",
                "quantity": "1",
                "amount": "10",
                "period_start": instant(DAY.start),
                "period_end": instant(DAY.end),
            }
        ]
        invoice = {"customer_id": customer["id"], "currency": "usd", "amount_due": "10", "total": "10"}
        await office.account.post("/invoices", {**invoice, "subtotal": "10", "line_items": lines})
    whole, _ = await _exported(office, ExportEntity.REVENUE_FACTS)
    assert {row[2] for row in whole} == set(customer_ids)
    of_all_time, _ = await _exported(office, ExportEntity.REVENUE_FACTS, window=Period(BEGINNING, NOW))
    assert of_all_time == whole
    monkeypatch.setattr(selections_revenue, "LINES_AT_ONCE", 2)
    few_at_once, _ = await _exported(office, ExportEntity.REVENUE_FACTS)
    assert few_at_once == whole
    monkeypatch.setattr(breakdown, "MOST_ROWS", 1)
    in_parts, _ = await _exported(office, ExportEntity.REVENUE_FACTS)
    assert in_parts == whole
    monkeypatch.setattr(breakdown, "MOST_ROWS", 0)
    with pytest.raises(ValidationFailed, match="ask for less"):
        await _exported(office, ExportEntity.REVENUE_FACTS)


@pytest.mark.parametrize("most", [1, 5])
async def test_revenue_of_a_customer_with_many_lines_is_worked_out_some_days_at_a_time(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    customer = await office.account.post("/customers", {"external_id": "large", "name": "Acme"})
    for number in range(12):
        start = DAY.start - timedelta(days=number * 3)
        of_time = {"period_start": instant(start), "period_end": instant(start + timedelta(days=5))}
        lines = [{"display_name": "Fee", "quantity": "1", "amount": "10", **of_time}]
        invoice = {"customer_id": customer["id"], "currency": "usd", "amount_due": "10", "total": "10"}
        await office.account.post("/invoices", {**invoice, "subtotal": "10", "line_items": lines})
    window = Period(BEGINNING, NOW + timedelta(days=30))
    whole, _ = await _exported(office, ExportEntity.REVENUE_FACTS, window=window)
    asked: list[int] = []
    answered = breakdown.revenue

    async def counting(session: AsyncSession, *question: Any) -> Any:
        answer = await answered(session, *question)
        asked.append(len(answer.rows))
        return answer

    monkeypatch.setattr(selections_revenue, "revenue", counting)
    monkeypatch.setattr(selections_revenue, "LINES_AT_ONCE", most)
    in_parts, _ = await _exported(office, ExportEntity.REVENUE_FACTS, window=window)
    assert sorted(in_parts) == sorted(whole)
    assert sum(Decimal(str(row[-1])) for row in in_parts) == 120
    # no answer holds the whole, and none is asked for of the years before
    assert max(asked) < len(whole)
    assert len(asked) < 60
