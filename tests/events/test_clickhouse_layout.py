"""Where ClickHouse is, and the tables it is given: one process, one server, a cluster."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import farthing
from farthing.clickhouse_address import BadAddress, ClickHouseAddress, read_address
from farthing.events.stores.clickhouse.client import statement_settings
from farthing.events.stores.clickhouse.schema import EVENTS, IDS, USAGE, table_statements
from farthing.settings import BadSettings, load


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "clickhouse://me:p%40ss@host:9000/books",
            ClickHouseAddress("books", "host", 9000, "me", "p@ss"),
        ),
        ("clickhouses://host/books", ClickHouseAddress("books", "host", 8443, "default", "", is_secure=True)),
        ("chdb:///var/lib/events", ClickHouseAddress("farthing", folder="/var/lib/events")),
    ],
)
def test_an_address_is_read(url: str, expected: ClickHouseAddress) -> None:
    assert read_address(url) == expected
    assert "p@ss" not in f"{expected} {expected!r}"


@pytest.mark.parametrize(
    ("url", "cluster"),
    [
        ("http://host/books", ""),
        ("clickhouse:///books", ""),
        ("clickhouse://host", ""),
        ("clickhouse://host/a;b", ""),
        ("clickhouse://host:port/books", ""),
        ("clickhouse://host/books?secure=1", ""),
        ("clickhouse://host/books", "a b"),
        ("chdb://folder", ""),
        ("chdb:///folder", "cluster"),
    ],
)
def test_a_text_that_is_no_address_is_refused(url: str, cluster: str) -> None:
    with pytest.raises(BadAddress):
        read_address(url, cluster)
    with pytest.raises(BadSettings, match="FARTHING_EVENTS_URL"):
        load({"FARTHING_EVENTS_URL": url, "FARTHING_EVENTS_CLUSTER": cluster})


def test_one_process_with_the_engine_in_it() -> None:
    with pytest.raises(BadSettings, match="FARTHING_PROCESSES must be 1"):
        load({"FARTHING_EVENTS_URL": "chdb:///folder"})
    assert load({"FARTHING_EVENTS_URL": "chdb:///folder", "FARTHING_PROCESSES": "1"}).events_url
    with pytest.raises(BadSettings, match="FARTHING_EVENTS_CLUSTER needs"):
        load({"FARTHING_EVENTS_CLUSTER": "books"})


def test_on_a_cluster_tables_are_replicated_and_distributed() -> None:
    statements = list(table_statements(read_address("clickhouse://host/books", "three")))
    assert all("ON CLUSTER three" in statement for statement in statements)
    local = next(statement for statement in statements if "books.events_local" in statement)
    assert "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/events_local', '{replica}', " in local
    assert "ORDER BY (environment_id, event_name, external_customer_id, timestamp, id)" in local
    distributed = [statement for statement in statements if "ENGINE = Distributed" in statement]
    assert [statement.split("Distributed")[1] for statement in distributed] == [
        "(three, books, events_local, sipHash64(environment_id, external_customer_id))",
        "(three, books, meter_usage_local, sipHash64(environment_id, external_customer_id))",
        "(three, books, event_ids_local, sipHash64(environment_id, id))",
    ]
    # an answer that lacks a shard is an error, and what was acknowledged is on a quorum
    of_cluster = statement_settings(read_address("clickhouse://host/books", "three"))
    assert of_cluster["skip_unavailable_shards"] == 0
    assert of_cluster["fallback_to_stale_replicas_for_distributed_queries"] == 0
    assert of_cluster["insert_quorum"] == "auto"
    assert of_cluster["select_sequential_consistency"] == 1
    assert of_cluster["distributed_foreground_insert"] == 1


def test_on_one_server_what_is_acknowledged_is_on_disk() -> None:
    statements = list(table_statements(read_address("clickhouse://host/books")))
    assert not any("ON CLUSTER" in statement for statement in statements)
    for table in (EVENTS, USAGE, IDS):
        (made,) = [statement for statement in statements if f"books.{table} (" in statement]
        assert "fsync_after_insert = 1, fsync_part_directory = 1" in made


READ_THE_TABLES = {
    "erasure/usage.py",
    "events/ingest/statements.py",
    "events/tables.py",
    "events/usage/usage_statement.py",
    "transfer/exports/selections/events.py",
    "transfer/exports/selections/usage.py",
}
"""What knows the tables of events: each asks the store before it reads them, or is asked by PostgreSQL's alone."""


def test_nothing_else_reads_the_tables_of_events_in_postgresql() -> None:
    """It would find nothing there while events are stored elsewhere, and answer wrong without a word."""
    root = Path(farthing.__file__).parent
    reading = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO|USING) (?:events|meter_usage)\b|\b(?:StoredEvent|MeterUsage)\b")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "versions" not in path.parts and "stores" not in path.parts and reading.search(path.read_text())
    }
    assert found == READ_THE_TABLES
