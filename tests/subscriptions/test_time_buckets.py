"""Stretches of the day with terms of their own decide money: the database itself keeps their rules.

Rule: docs/rules/commitments.md#windowed
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from farthing.storage.migrations import upgrade
from tests.storage.earlier import undo_after

MORNING = {
    "id": "morning",
    "start": {"hour": 6, "minute": 0},
    "end": {"hour": 12, "minute": 0},
    "price_id": "price_1",
    "commitment_type": "amount",
    "commitment_value": "5",
    "overage_factor": "2",
    "true_up_enabled": False,
}
NIGHT = {**MORNING, "id": "night", "start": {"hour": 22, "minute": 30}, "end": {"hour": 6, "minute": 0}}
WHOLE_DAY = {**MORNING, "start": {"hour": 0, "minute": 0}, "end": {"hour": 24, "minute": 0}}


_AN_ITEM = """
    INSERT INTO subscription_line_items (id, tenant_id, environment_id, status, created_at, updated_at, created_by,
        updated_by, subscription_id, customer_id, entity_id, entity_type, price_id, price_type, meter_id, currency,
        quantity, billing_period, billing_period_count, invoice_cadence, start_date, commitment_windowed,
        commitment_true_up_enabled, commitment_time_buckets, plan_display_name, meter_display_name, display_name,
        metadata)
    VALUES ('item_1', 't', 'e', 'published', now(), now(), '', '', 's', 'c', 'p', 'plan', 'price_1', 'USAGE', 'm',
        'usd', 0, 'MONTHLY', 1, 'ARREAR', now(), true, false, %s, '', '', '', '{}')
"""


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in MORNING.items() if key != name}


@pytest.mark.parametrize(
    ("buckets", "sound"),
    [
        pytest.param([MORNING], True, id="one"),
        pytest.param([MORNING, NIGHT], True, id="one that ends where the other begins, past midnight"),
        pytest.param([WHOLE_DAY], True, id="all day"),
        pytest.param([without("overage_factor")], True, id="the factor is 1 unless given"),
        pytest.param(
            [{**MORNING, "overage_factor": "1.25", "commitment_value": "0"}], True, id="fractions, and nothing"
        ),
        pytest.param([], False, id="none at all"),
        pytest.param([MORNING, {**NIGHT, "id": "morning"}], False, id="two of one id"),
        pytest.param([{**MORNING, "id": ""}], False, id="no id"),
        pytest.param([without("id"), NIGHT], False, id="an id is missing"),
        pytest.param([without("price_id"), NIGHT], False, id="a price is missing"),
        pytest.param([without("commitment_type"), NIGHT], False, id="a type is missing"),
        pytest.param([without("commitment_value"), NIGHT], False, id="a value is missing"),
        pytest.param([without("end"), NIGHT], False, id="an end is missing"),
        pytest.param([{**MORNING, "commitment_type": "hours"}], False, id="a type that there is not"),
        pytest.param([{**MORNING, "commitment_value": "-1"}], False, id="a negative value"),
        pytest.param([{**MORNING, "commitment_value": "1e5"}], False, id="a value that is no plain number"),
        pytest.param([{**MORNING, "overage_factor": "0.5"}], False, id="a factor below 1"),
        pytest.param([{**MORNING, "end": {"hour": 24, "minute": 1}}], False, id="past the end of the day"),
        pytest.param([MORNING, WHOLE_DAY | {"id": "day"}], False, id="one inside the other"),
        pytest.param([NIGHT, {**MORNING, "start": {"hour": 5, "minute": 59}}], False, id="a minute in both"),
    ],
)
def test_the_database_knows_sound_buckets(database_url: str, buckets: list[Any], sound: bool) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT commitment_time_buckets_are_sound(%s)", [Jsonb(buckets)]).fetchone()
    assert row == (sound,)


def test_an_upgrade_names_buckets_of_one_id_apart(new_database: Callable[..., str]) -> None:
    url = new_database()
    with psycopg.connect(url.replace("farthing@", "postgres@"), autocommit=True) as connection:
        connection.execute(undo_after("0042"))
        connection.execute("SET session_replication_role = replica")  # its subscription and price are of no interest
        connection.execute(_AN_ITEM, [Jsonb([MORNING, {**NIGHT, "id": "morning"}])])
    upgrade(url)
    with psycopg.connect(url.replace("farthing@", "postgres@")) as connection:
        row = connection.execute(
            "SELECT commitment_time_buckets -> 0 ->> 'id', commitment_time_buckets -> 1 FROM subscription_line_items"
        ).fetchone()
    assert row == ("morning", {**NIGHT, "id": "morning-2"})
