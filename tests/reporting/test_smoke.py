"""Every metric can be asked by each of its dimensions, over time and beside a year before."""

from __future__ import annotations

import pytest

from farthing.reporting.analytics.catalogue import METRICS
from tests.reporting.ledger import Ledger

NEEDS = {"usage_quantity": ["meter_id"]}


@pytest.mark.parametrize("key", list(METRICS))
async def test_a_metric_is_split_and_narrowed_by_every_dimension(ledger: Ledger, key: str) -> None:
    customer = await ledger.customer(metadata={"tier": "gold"}, address_country="DE")
    await ledger.invoiced(customer, "100", paid="40")
    for dimension in METRICS[key].dimensions:
        name = dimension.replace("<key>", "tier")
        beside = [] if name in NEEDS.get(key, []) else NEEDS.get(key, [])
        narrowed = [{"field": name, "op": "not_contains", "value": ["x"]}]
        await ledger.table(key, shape="breakdown", dimensions=[name, *beside], filters=narrowed)
        await ledger.table(
            key,
            shape="timeseries",
            grain="month",
            dimensions=NEEDS.get(key, []),
            filters=narrowed,
            compare="previous_year",
        )
