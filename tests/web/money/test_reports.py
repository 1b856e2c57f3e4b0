"""The figures of every report page are those of the API, on the page and in its files."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from playwright.async_api import Page, expect

from farthing.core.errors import ValidationFailed
from farthing.reporting.analytics.catalogue import METRICS
from farthing.web.dashboard.overview.named_ranges import named_days
from farthing.web.dashboard.reports.catalogue import REPORTS
from tests.web.stage import Stage

YEAR = "from=2026-01-01&until=2026-12-31"
RANGE = "2026-01-01..2027-01-01"


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        pytest.param("12_months", "2026-03-01", "2027-02-28", id="twelve months with this one"),
        pytest.param("this_month", "2027-02-01", "2027-02-28", id="this month"),
        pytest.param("last_month", "2027-01-01", "2027-01-31", id="the month before"),
        pytest.param("this_year", "2027-01-01", "2027-12-31", id="this year"),
        pytest.param("last_year", "2026-01-01", "2026-12-31", id="the year before"),
        pytest.param("last_30_days", "2027-01-16", "2027-02-14", id="thirty days with today"),
        pytest.param("last_90_days", "2026-11-17", "2027-02-14", id="ninety days with today"),
    ],
)
def test_ranges_have_names(name: str, first: str, last: str) -> None:
    assert named_days(name, date(2027, 2, 14)) == (date.fromisoformat(first), date.fromisoformat(last))


def test_a_range_without_a_name_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="range"):
        named_days("next_month", date(2027, 2, 14))


async def _table(page: Page, key: str, query: str) -> list[list[str]]:
    answer = await page.request.get(f"/reports/{key}/table.csv?{query}")
    assert answer.ok, await answer.text()
    return list(csv.reader(io.StringIO(await answer.text())))


async def _answer(stage: Stage, key: str, body: dict[str, Any]) -> list[list[str]]:
    answer = await stage.account.post(f"/analytics/reports/{key}/query", {"limit": 1000, **body}, expect=200)
    return list(answer["rows"])


def _figures(rows: list[list[str]], count: int = 1) -> list[tuple[str, ...]]:
    return [tuple(row[-count:]) for row in rows]


@pytest.mark.parametrize("key", [key for key in METRICS if key not in {"receivables_aging", "usage_quantity"}])
async def test_a_series_is_what_the_api_answers(looking: Page, stage: Stage, key: str) -> None:
    metric = METRICS[key]
    by_currency = ["currency"] if metric.unit in {"money", "percent"} and metric.allows("currency") else []
    body = {"range": RANGE, "shape": "timeseries", "grain": "month", "dimensions": by_currency}
    head, *rows = await _table(looking, key, f"{YEAR}&grain=month")
    assert head[-1] == metric.name
    assert _figures(rows) == _figures(await _answer(stage, key, body))
    assert [row[0] for row in rows] == [row[0][:10] for row in await _answer(stage, key, body)]


@pytest.mark.parametrize("as_of", ["2026-09-30", "2026-11-20"])
async def test_receivables_by_age_are_those_of_any_day(looking: Page, stage: Stage, as_of: str) -> None:
    after = date.fromisoformat(as_of) + timedelta(days=1)
    body = {"range": f"{as_of}..{after}", "shape": "breakdown", "dimensions": ["customer_id"]}
    by_age: dict[str, Decimal] = {}
    for age, _, _, amount in await _answer(stage, "receivables_aging", body):
        by_age[age] = by_age.get(age, Decimal(0)) + Decimal(amount)
    head, *rows = await _table(looking, "ageing", f"as_of={as_of}&by=customer_id")
    shown = [sum((Decimal(row[place]) for row in rows), Decimal(0)) for place in range(len(head) - 6, len(head))]
    ages = ("not_due", "1_30", "31_60", "61_90", "over_90")
    assert shown == [*(by_age.get(age, Decimal(0)) for age in ages), sum(by_age.values(), Decimal(0))]


def test_an_event_that_several_meters_count_is_in_no_sum_of_meters() -> None:
    page = REPORTS["event_count"]
    assert [page.adds_up_by(by) for by in ("", "country", "meter_id", "feature_id")] == [True, True, False, False]


async def test_metrics_side_by_side_are_each_what_the_api_answers(looking: Page, stage: Stage) -> None:
    body = {"range": RANGE, "shape": "timeseries", "grain": "month", "dimensions": ["currency"]}
    for key in ("revenue", "collections", "credits", "recurring", "deferred"):
        page = REPORTS[key]
        head, *rows = await _table(looking, key, f"{YEAR}&grain=month")
        assert head[:2] == ["Period", "Currency"]
        for place, metric in enumerate(page.metrics, start=2):
            expected = {(row[0][:10], row[1]): row[2] for row in await _answer(stage, metric.key, body)}
            shown = {(row[0], row[1]): row[place] for row in rows}
            for cell, figure in shown.items():
                nothing = "" if metric.kind == "ratio" or (cell[0][:7] > "2026-11" and metric.kind != "flow") else "0"
                assert figure == expected.get(cell, nothing), (metric.key, cell)


@pytest.mark.parametrize("key", list(REPORTS))
async def test_every_report_has_a_page_that_says_what_its_figures_mean(looking: Page, key: str) -> None:
    answer = await looking.request.get(f"/reports/{key}?{YEAR}")
    text = await answer.text()
    assert answer.ok
    assert len(text) < 100_000
    assert "What the figures mean" in text
    assert 'class="notice refused"' not in text


async def test_the_catalogue_leads_to_a_report_that_is_asked_anew_by_keyboard(looking: Page) -> None:
    await looking.goto("/reports")
    await looking.get_by_role("link", name="Tax", exact=True).first.click()
    await expect(looking.get_by_role("heading", name="Tax", exact=True)).to_be_visible()
    await looking.goto("/reports/net_billing")
    await looking.get_by_label("Split by").select_option("customer_id")
    await looking.get_by_label("Compare with").select_option("previous_year")
    await looking.get_by_label("By time").select_option("none")
    await looking.get_by_label("Compare with").press("Tab")
    await looking.keyboard.press("Enter")
    await expect(looking).to_have_url(re.compile("by=customer_id"))
    figures = looking.get_by_role("region", name="Figures")
    await expect(figures.get_by_role("columnheader", name="Change")).to_be_visible()
    await figures.get_by_role("link", name="Halden Robotics").click()
    await expect(looking.get_by_role("heading", name="Halden Robotics", exact=True)).to_be_visible()


async def test_a_wide_report_has_each_figure_beneath_the_head_of_its_column_on_a_phone(looking: Page) -> None:
    await looking.set_viewport_size({"width": 390, "height": 844})
    await looking.goto("/reports/ageing?as_of=2026-11-20&by=customer_id")
    region = looking.get_by_role("region", name="Receivables by age, as a table")
    assert await region.evaluate("table => table.scrollWidth - table.clientWidth") <= 0
    heads = [text.strip() for text in await region.locator("thead th").all_text_contents()]
    for part in ("tbody tr", "tfoot tr"):
        cells = region.locator(part).first.locator("th, td")
        labels = [await cell.get_attribute("data-label") for cell in await cells.all()]
        assert labels == heads
        shown = [box for cell in await cells.all() if (box := await cell.bounding_box())]
        assert len(shown) > 3, "cells without a figure are left out, the others are there"
        assert all(0 <= box["x"] < box["x"] + box["width"] <= 390 for box in shown)
    await looking.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param("from=2026-13-01", "From: '2026-13-01' is no day", id="no such month"),
        pytest.param("from=2026-05-01&until=2026-04-01", "must not be before the first day", id="backwards"),
        pytest.param("from=1990-01-01&until=2026-04-01", "1100 days", id="too long"),
        pytest.param("grain=hour", "must be one of month, week, day", id="no such grain"),
        pytest.param("by=feature", "must be one of", id="no such dimension"),
        pytest.param("currency=dollars", "urrency", id="no such currency"),
        pytest.param("range=soon", "must be one of 12_months", id="no such range"),
    ],
)
async def test_what_makes_no_sense_is_said_on_the_page(looking: Page, query: str, said: str) -> None:
    await looking.goto(f"/reports/net_billing?{query}")
    await expect(looking.get_by_role("alert")).to_contain_text(said)


async def test_files_are_of_the_kinds_that_there_are(looking: Page) -> None:
    assert (await looking.request.get("/reports/net_billing/table.xlsx")).status == 404
    assert (await looking.request.get("/reports/nothing")).status == 404
    pytest.importorskip("pyarrow")
    parquet = await looking.request.get(f"/reports/net_billing/table.parquet?{YEAR}")
    assert (await parquet.body()).startswith(b"PAR1")
