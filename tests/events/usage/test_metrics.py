"""The metrics of events and usage, with the events in either store: by time, meter, feature and customer."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.events.stores.clickhouse.queries import tallies
from tests.account import Account
from tests.reporting.ledger import Ledger


@pytest.fixture
async def ledger(account: Account) -> Ledger:
    ledger = Ledger(account)
    await ledger.on("2026-04-01")
    return ledger


def used(external_id: str, day: str, name: str = "calls", **properties: Any) -> dict[str, Any]:
    event = {"event_name": name, "external_customer_id": external_id, "timestamp": f"2026-{day}T12:00:00Z"}
    return {**event, "properties": properties}


async def test_events_and_usage_are_told_apart(ledger: Ledger) -> None:
    account = ledger.account
    calls = await ledger.feature("calls")
    meter = {"name": "again", "event_name": "calls", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
    again = await account.post("/features", {"name": "again", "type": "metered", "meter": meter})
    first = await ledger.customer(external_id="shared", address_country="DE", metadata={"tier": "gold"})
    other = await ledger.customer(external_id="other", address_country="FR")
    await ledger.events([used("shared", "01-02"), used("shared", "02-03"), used("other", "02-04")])
    await ledger.events([used("other", "02-05", "unheard"), used("nobody", "02-06")])
    await account.put(f"/customers/{first['id']}", {"external_id": "former"})
    second = await ledger.customer(external_id="shared", address_country="FR")
    await ledger.events([used("shared", "02-07"), used("shared", "02-08"), used("former", "03-01")])

    figures = {}
    for metric in ("events_volume", "event_count"):
        figures[metric] = (
            await ledger.table(metric),
            await ledger.by(metric, "customer_id", currency=None),
            await ledger.by(metric, "country", currency=None),
            await ledger.by(metric, "metadata.tier", currency=None),
            await ledger.table(metric, filters=[{"field": "country", "op": "eq", "value": ["FR"]}]),
        )
    by_owner = {first["id"]: "3", other["id"]: "1", second["id"]: "2"}
    assert figures == {
        "events_volume": (
            [["8"]],
            {**by_owner, other["id"]: "2"},
            {"DE": "3", "FR": "4"},
            {"gold": "3", "": "4"},
            [["4"]],
        ),
        # two meters count each event, which is one event
        "event_count": ([["7"]], by_owner, {"DE": "3", "FR": "3"}, {"gold": "3", "": "3"}, [["3"]]),
    }
    assert await ledger.by("event_count", "feature_id", currency=None) == {calls["id"]: "7", again["id"]: "7"}
    this = [{"field": "feature_id", "op": "eq", "value": [calls["id"]]}]
    assert await ledger.by("event_count", "meter_id", currency=None, filters=this) == {calls["meter_id"]: "7"}
    assert await ledger.table("event_count", filters=this) == [["7"]]
    months = await ledger.table("event_count", shape="timeseries", grain="month", dimensions=["customer_id"])
    assert {(row[0][:7], row[1]): row[2] for row in months if row[2] != "0"} == {
        ("2026-01", first["id"]): "1",
        ("2026-02", first["id"]): "1",
        ("2026-03", first["id"]): "1",
        ("2026-02", other["id"]): "1",
        ("2026-02", second["id"]): "2",
    }
    by_customer = {(calls["id"], customer): count for customer, count in by_owner.items()}
    usage = await ledger.by("usage_quantity", "feature_id", "customer_id", currency=None, filters=this)
    assert usage == by_customer
    none = [{"field": "meter_id", "op": "eq", "value": ["meter_of_nobody"]}]
    assert await ledger.table("event_count", filters=none) == [["0"]]


async def test_too_much_told_apart_is_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """PostgreSQL adds up where the events are; from ClickHouse no more is fetched than a process can hold."""
    monkeypatch.setattr(tallies, "MOST_COUNTS", 2)
    await ledger.feature("calls")
    for name in ("one", "two", "three"):
        await ledger.customer(external_id=name)
    await ledger.events([used(name, "01-02") for name in ("one", "two", "three")])
    definition = {"metrics": ["event_count"], "shape": "breakdown", "dimensions": ["customer_id"]}
    asked = {"definition": {**definition, "time": {"range": "2026-01-01..2027-01-01"}}}
    if "postgres" in request.node.name:
        assert len((await ledger.account.post("/analytics/query", asked, expect=200))["rows"]) == 3
    else:
        answer = await ledger.account.post("/analytics/query", asked, expect=400)
        assert "more than 2" in answer["message"]
