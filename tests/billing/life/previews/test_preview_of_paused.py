"""The preview of the next invoice of a subscription with a pause that ends by itself is what the run will make."""

from __future__ import annotations

import pytest

from tests.billing.counter import do, opened
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


@pytest.mark.parametrize(
    ("pause", "boundary"),
    [
        pytest.param({"pause_days": 10}, "2026-02-11", id="now, within the period"),
        pytest.param({"pause_days": 45}, "2026-03-18", id="now, beyond the period"),
        pytest.param(
            {"pause_mode": "scheduled", "pause_start": "2026-01-10T00:00:00Z", "pause_end": "2026-01-15T00:00:00Z"},
            "2026-02-06",
            id="later, within the period",
        ),
        pytest.param(
            {"pause_mode": "scheduled", "pause_start": "2026-01-20T00:00:00Z", "pause_end": "2026-02-10T00:00:00Z"},
            "2026-02-22",
            id="later, beyond the period",
        ),
    ],
)
async def test_the_preview_of_a_paused_subscription(office: Office, pause: dict[str, object], boundary: str) -> None:
    made = await opened(office, await office.plan(fixed("100"), fixed("30", **ARREAR)))
    await do(office, made, "pause", pause)
    shown = await office.account.post("/invoices/preview", {"subscription_id": made["id"]}, expect=200)
    before = len(await office.invoices())
    await office.run(boundary)
    await office.run(boundary)
    invoices = await office.invoices()
    assert len(invoices) == before + 1
    after = await office.account.get(f"/invoices/{invoices[-1].id}")
    for name in ("period_start", "period_end", "subtotal"):
        assert shown[name] == after[name], name
    lines = [
        [
            (line["display_name"], line["amount"], line["period_start"], line["period_end"])
            for line in each["line_items"]
        ]
        for each in (shown, after)
    ]
    assert lines[0] == lines[1]
