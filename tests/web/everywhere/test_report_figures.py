"""The table of a report, its file and its totals say what the API answers to the same question, cell by cell."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from farthing.reporting.analytics.catalogue import AGE, CURRENCY, METRICS, MetricUnit, ReportMetric
from farthing.reporting.analytics.schemas import ReportShape
from farthing.web.dashboard.reports.catalogue import REPORTS, ReportPage
from farthing.web.rendering.words.wording import GLOBALS, money, quantity
from tests.account import Account
from tests.web.everywhere.figures_on_pages import NOTHING, ShownTable, as_text, shown_table
from tests.web.everywhere.places import Place
from tests.web.stage import Stage
from tests.web.visitor import Visitor

FIRST, LAST = date(2026, 5, 1), date(2026, 11, 20)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def written(metric: ReportMetric, value: str, currency: str) -> str:
    """A figure of an answer as a page writes it."""
    if value == "":
        return ""
    if metric.unit is MetricUnit.MONEY:
        return money(value, currency)
    if metric.unit is MetricUnit.PERCENT:
        return f"{GLOBALS['grouped'](Decimal(value))} %"
    return as_text(str(quantity(value)))


@dataclass(frozen=True, slots=True)
class ReportBooks:
    """Reads reports as somebody signed in, and asks the API the same."""

    api: Account
    http: httpx.AsyncClient

    async def differences(self, page: ReportPage, days: tuple[date, date], **asked: str) -> list[str]:
        """Where the page of a report, or its file, is not what the API answers."""
        first, last = days
        grain, dimension = asked.get("grain", page.grain), asked.get("by", page.dimension)
        grain = grain if page.has_series else ""
        query = {"grain": grain or "none", "by": dimension or "none"}
        query |= {"as_of": f"{last}"} if page.is_as_of else {"from": f"{first}", "until": f"{last}"}
        answer = await self.http.get(f"/reports/{page.key}?{urlencode(query)}")
        assert answer.status_code == 200, answer.text
        table = shown_table(answer.text)
        file = (await self.http.get(f"/reports/{page.key}/table.csv?{urlencode(query)}")).text
        found = [] if table is None else _unlike_the_file(table, list(csv.reader(io.StringIO(file))))
        for metric in page.metrics:
            rows = await self._answer(metric, days, grain, [*([AGE] if page.spreads_ages else []), dimension])
            figures = Counter(written(metric, row["value"], row[CURRENCY]) for row in rows)
            wanted = Counter({figure: count for figure, count in figures.items() if not NOTHING.fullmatch(figure)})
            shown = Counter() if table is None else self._column(page, metric, table)
            if shown != wanted and not (table is not None and "rows. The files" in answer.text and shown <= wanted):
                found.append(f"{metric.key}: shown {shown - wanted}, answered {wanted - shown}")
            found += await self._unlike_the_whole(page, metric, days, table)
        return [f"{page.key} {query}: {each}" for each in found]

    @staticmethod
    def _column(page: ReportPage, metric: ReportMetric, table: ShownTable) -> Counter[str]:
        if page.spreads_ages:
            return sum((table.column(head) for head in table.heads[-6:-1]), Counter())
        return table.column(metric.name)

    async def _unlike_the_whole(
        self, page: ReportPage, metric: ReportMetric, days: tuple[date, date], table: ShownTable | None
    ) -> list[str]:
        """Where the sums below a table are not what is answered for all of the days in one."""
        if table is None or not table.totals:
            return []
        whole = METRICS["total_receivables"] if page.spreads_ages else metric
        wholes = await self._answer(whole, days, "", [])
        wanted = {row[CURRENCY]: written(metric, row["value"], row[CURRENCY]) for row in wholes}
        place = len(table.heads) - 1 if page.spreads_ages else table.heads.index(metric.name)
        shown = {total[0].removeprefix("All in ").removeprefix("All").lower(): total[place] for total in table.totals}
        return [
            f"{metric.key}: all in {code} is {figure}, answered {wanted.get(code, '')}"
            for code, figure in shown.items()
            if figure != wanted.get(code, "") and not (NOTHING.fullmatch(figure) and code not in wanted)
        ]

    async def _answer(
        self, metric: ReportMetric, days: tuple[date, date], grain: str, dimensions: Sequence[str]
    ) -> list[Mapping[str, str]]:
        """What the API answers for one metric, a row at a time, with its currency and its value."""
        split = [dimension for dimension in dimensions if dimension]
        if metric.allows(CURRENCY) and metric.unit in {MetricUnit.MONEY, MetricUnit.PERCENT}:
            split.append(CURRENCY)
        shape = ReportShape.BREAKDOWN if split else ReportShape.SCALAR
        time = {"range": f"{days[0]}..{days[1] + timedelta(days=1)}", **({"grain": grain} if grain else {})}
        definition: dict[str, Any] = {"metrics": [metric.key], "dimensions": split, "time": time, "limit": 1000}
        definition["shape"] = (ReportShape.TIMESERIES if grain else shape).value
        answer = await self.api.post("/analytics/query", {"definition": definition}, expect=200)
        names = [column["name"] for column in answer["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in answer["rows"]]
        assert not answer["meta"]["truncated"]
        return [{CURRENCY: "", **row, "value": row[metric.key]} for row in rows]


def _unlike_the_file(table: ShownTable, file: Sequence[Sequence[str]]) -> list[str]:
    """Where a table is not its file: the heads, the first rows, each figure."""
    if list(table.heads) != list(file[0]):
        return [f"heads {table.heads} of the page, {file[0]} of the file"]
    place = table.heads.index("Currency") if "Currency" in table.heads else None
    return [
        f"{shown} on the page is {plain} in the file"
        for row, line in zip(table.rows, file[1:], strict=False)
        for shown, plain in zip(row, line, strict=True)
        if _NUMBER.fullmatch(plain) and shown not in _ways_to_write(plain, line[place] if place is not None else "")
    ]


def _ways_to_write(plain: str, currency: str) -> set[str]:
    value = Decimal(plain)
    ways = {plain, as_text(str(quantity(value))), f"{GLOBALS['grouped'](value)} %"}
    return ways | ({money(value, currency)} if currency else set())


@pytest.fixture
async def books(stage: Stage, everywhere: list[Place]) -> ReportBooks:
    """The books of the stage, with what the pages of all places add to them."""
    return ReportBooks(stage.account, (await Visitor(stage.account).sign_in(stage)).http)


async def test_every_report(books: ReportBooks) -> None:
    found = [each for page in REPORTS.values() for each in await books.differences(page, (FIRST, LAST))]
    assert found == []


SPLIT = (
    *("net_billing", "tax_charged", "collected", "total_receivables"),
    *("recognized_revenue", "deferred_revenue", "event_count", "mrr_new"),
)


@pytest.mark.parametrize("key", SPLIT)
async def test_reports_by_each_dimension(books: ReportBooks, key: str) -> None:
    page = REPORTS[key]
    found = [
        each
        for dimension, _ in page.dimensions
        for each in await books.differences(page, (FIRST, LAST), grain="", by=dimension)
    ]
    assert found == []
