"""Questions that are refused, and questions that are kept."""

from __future__ import annotations

from typing import Any

import pytest
from flexprice import Flexprice

from tests.reporting.ledger import YEAR, Ledger

BILLING: dict[str, Any] = {"metrics": ["net_billing"], "shape": "scalar", "time": {"range": YEAR}}
RANGE = {"name": "when", "type": "date_range"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        pytest.param({"metrics": []}, "metrics", id="no metric"),
        pytest.param({"metrics": ["mrr"] * 2}, "metrics", id="a metric twice"),
        pytest.param({"metrics": ["mrr", "net_billing"]}, "metrics", id="two families"),
        pytest.param({"metrics": ["profit"]}, "metrics[0]", id="no such metric"),
        pytest.param({"family": "usage"}, "family", id="a family that is not the metric's"),
        pytest.param({"shape": "timeseries"}, "time.grain", id="a series without a grain"),
        pytest.param({"shape": "breakdown"}, "dimensions", id="a breakdown without a dimension"),
        pytest.param({"dimensions": ["country"]}, "dimensions", id="a scalar with a dimension"),
        pytest.param(
            {"shape": "breakdown", "dimensions": ["bucket"]}, "dimensions[0]", id="a dimension that it does not have"
        ),
        pytest.param({"time": {"range": "2026-01-01..2026-01-01"}}, "time.range", id="an empty range"),
        pytest.param({"time": {"range": "2020-01-01..2026-01-01"}}, "time.range", id="a range too long"),
        pytest.param({"time": {"range": "last_0_days"}}, "time.range", id="no days"),
        pytest.param({"time": {"range": "2026-02-30..2026-03-01"}}, "time.range", id="no such day"),
        pytest.param(
            {"shape": "timeseries", "time": {"range": YEAR, "grain": "hour"}}, "time.grain", id="hours of billing"
        ),
        pytest.param({"filters": [{"field": "country", "op": "gt", "value": ["a"]}]}, "filters[0].op", id="gt of text"),
        pytest.param({"filters": [{"field": "country", "op": "eq"}]}, "filters[0].value", id="no value"),
        pytest.param(
            {"filters": [{"field": "country", "op": "eq", "value": ["$x"]}]}, "filters[0].value", id="no such variable"
        ),
        pytest.param({"sort": [{"field": "country"}]}, "sort[0].field", id="not a column"),
        pytest.param({"currency": "dollars"}, "definition.currency", id="no currency"),
        pytest.param({"limit": 0}, "definition.limit", id="no rows"),
        pytest.param({"variables": [RANGE, RANGE]}, "variables[1].name", id="a variable twice"),
        pytest.param({"variables": [{**RANGE, "required": True}]}, "variables.when", id="a missing variable"),
        pytest.param({"variables": [{**RANGE, "default": ["soon"]}]}, "variables.when", id="not of its type"),
        pytest.param({"metrics": ["usage_quantity"]}, "dimensions", id="usage of unlike things"),
    ],
)
async def test_what_is_wrong_is_named(ledger: Ledger, changed: dict[str, Any], field: str) -> None:
    body = {"definition": {**BILLING, **changed}}
    refused = await ledger.account.post("/analytics/query", body, expect=400)
    assert (refused["code"], list(refused["details"])) == ("validation_error", [field])


async def test_a_view_is_kept_edited_and_asked(ledger: Ledger) -> None:
    customer = await ledger.customer(address_country="DE")
    await ledger.invoiced(customer, "10")
    views: Any = Flexprice(server_url=f"{ledger.account.base_url}/v1", api_key_auth=ledger.account.key).analytics
    land = {"name": "land", "type": "string_list"}
    condition = {"field": "country", "op": "in", "value": ["$land"], "optional": True}
    definition = {**BILLING, "currency": "usd", "filters": [condition], "variables": [land]}
    made = await views.create_analytics_view_async(name="Mine", definition=definition)
    assert (made.name, made.version, made.definition.metrics) == ("Mine", 1, ["net_billing"])
    asked = [await views.query_analytics_view_async(id=made.id)]
    asked += [await views.query_analytics_view_async(id=made.id, variables={"land": [land]}) for land in ("DE", "FR")]
    assert [answer.rows for answer in asked] == [[["10"]], [["10"]], [["0"]]]
    edited = await views.update_analytics_view_async(id=made.id, name="Ours", definition=definition)
    assert (edited.name, edited.version) == ("Ours", 2)
    await ledger.account.post("/analytics/views", {"name": "Ours", "definition": BILLING}, expect=409)
    assert [view.id for view in (await views.list_analytics_views_async(family="billing")).items] == [made.id]
    assert (await views.list_analytics_views_async(family="usage")).items == []
    await views.delete_analytics_view_async(id=made.id)
    assert (await ledger.account.http.get(f"/analytics/views/{made.id}")).status_code == 404


async def test_the_client_reads_every_answer(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.invoiced(customer, "12.50")
    sdk: Any = Flexprice(server_url=f"{ledger.account.base_url}/v1", api_key_auth=ledger.account.key).analytics
    listed = (await sdk.list_analytics_reports_async()).items
    assert {"net_billing", "days_to_pay"} <= {entry.key for entry in listed}
    report = await sdk.run_analytics_report_async(
        key="net_billing", range="last_30_days", shape="scalar", currency="usd", compare="previous_period"
    )
    assert report.rows == [["12.5", "0", ""]]
    assert [column.name for column in report.columns][1:] == ["net_billing_prev", "net_billing_change_percent"]
    revenue = await sdk.get_revenue_analytics_async(start_time=ledger.now)
    assert (revenue.rows[0].net_amount, revenue.query.start_time, revenue.rows[0].group["currency"]) == (
        12.5,
        ledger.now,
        "usd",
    )
