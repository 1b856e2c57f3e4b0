"""How many events there were, and how many of them were metered."""

from __future__ import annotations

from tests.reporting.ledger import Ledger

SPRING = "2026-01-01..2026-03-01"


async def test_an_event_is_one_however_many_meters_count_it(ledger: Ledger) -> None:
    async def over(metric: str, grain: str = "month", range: str = SPRING) -> list[str]:
        return [row[-1] for row in await ledger.table(metric, shape="timeseries", grain=grain, range=range)]

    async def by(metric: str, dimension: str) -> dict[str, str]:
        return await ledger.by(metric, dimension, currency=None, range=SPRING)

    calls = await ledger.feature("calls")
    volume = {
        "name": "volume",
        "reset_usage": "BILLING_PERIOD",
        "event_name": "calls",
        "aggregation": {"type": "SUM", "field": "n"},
    }
    await ledger.account.post("/features", {"name": "volume", "type": "metered", "meter": volume})
    await ledger.feature("seats")
    first, second = await ledger.customer(address_country="DE"), await ledger.customer(address_country="FR")
    await ledger.recorded("calls", first, ("2026-01-03", {"n": 2}), ("2026-01-03", {"n": 5}), ("2026-02-03", {"n": 1}))
    await ledger.recorded("calls", second, ("2026-01-31", {"n": 2}))
    await ledger.recorded("seats", second, ("2026-02-01", {}))
    await ledger.recorded("unmetered", first, ("2026-02-01", {}))
    assert await over("event_count") == ["3", "2"]
    assert await over("events_volume") == ["3", "3"]
    assert await over("events_volume", "day", "2026-01-31..2026-02-02") == ["1", "2"]
    assert await by("event_count", "country") == {"DE": "3", "FR": "2"}
    assert await by("events_volume", "country") == {"DE": "4", "FR": "2"}
    by_meter = await by("event_count", "meter_id")
    assert (sorted(by_meter.values()), by_meter[calls["meter_id"]]) == (["1", "4", "4"], "4")
    assert await ledger.table("event_count", range=SPRING) == [["5"]]
