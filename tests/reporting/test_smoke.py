from tests.reporting.ledger import Ledger
from farthing.reporting.analytics.catalogue import METRICS
import pytest

@pytest.mark.parametrize("key", list(METRICS))
async def test_every_metric_by_every_dimension(ledger: Ledger, key: str) -> None:
    metric = METRICS[key]
    for dimension in metric.dimensions:
        name = dimension.replace("<key>", "tier")
        more = {} 
        rows = await ledger.table(key, shape="breakdown", dimensions=[name], **more)
        more = {"dimensions": ["meter_id"]} if key == "usage_quantity" else {}
        await ledger.table(key, shape="timeseries", grain="month", filters=[{"field": name, "op": "contains", "value": ["x"]}], compare="previous_year", **more)
