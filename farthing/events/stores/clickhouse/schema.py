"""The tables in ClickHouse, on one server or on a cluster.

A row is replaced by one with the same sort key and a higher version. The time belongs into that key: parts of two
months are never merged, so all versions of a key have to lie in one month. An event that moves leaves a deleted row
where it stood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farthing.clickhouse_address import ClickHouseAddress

EVENTS, USAGE, IDS, STORE = "events", "meter_usage", "event_ids", "event_store"

# months of 1970 to 2100, and one part for what lies outside: functions of dates answer nonsense far from today
_MONTH = "toYYYYMM(toDateTime(intDiv(greatest(toInt64(0), least(timestamp, toInt64(4102444799000))), 1000), 'UTC'))"
_DURABLE = "fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000"


@dataclass(frozen=True, slots=True)
class ClickHouseTable:
    """A table: its columns, by what its rows replace each other, and by what they are told to shards."""

    name: str
    columns: tuple[tuple[str, str], ...]
    order: str
    shard: str
    partition: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.columns)


# times of events are milliseconds since 1970: ClickHouse's own type of times ends in 2299 and cuts what lies beyond
TABLES = (
    ClickHouseTable(
        EVENTS,
        (
            ("environment_id", "LowCardinality(String)"),
            ("event_name", "LowCardinality(String)"),
            ("external_customer_id", "String"),
            ("timestamp", "Int64"),
            ("id", "String"),
            ("customer_id", "String"),
            ("source", "String"),
            ("properties", "String CODEC(ZSTD)"),
            # the text by which each property is compared, see metering.canonical
            ("texts", "Map(String, String) CODEC(ZSTD)"),
            ("ingested_at", "Int64"),  # microseconds
            ("sequence", "Int64"),
            ("owner_sequence", "Nullable(Int64)"),
            ("sent_by", "Nullable(Int64)"),
            ("version", "UInt64"),
            ("is_deleted", "UInt8"),
        ),
        order="environment_id, event_name, external_customer_id, timestamp, id",
        shard="sipHash64(environment_id, external_customer_id)",
        partition=_MONTH,
    ),
    ClickHouseTable(
        USAGE,
        (
            ("environment_id", "LowCardinality(String)"),
            ("meter_id", "LowCardinality(String)"),
            ("external_customer_id", "String"),
            ("timestamp", "Int64"),
            ("id", "String"),
            # the widest decimal there is: sums of narrower ones overflow without a word
            ("quantity", "Decimal(76, 15)"),
            # quantity times milliseconds, for weighted sums
            ("moment", "Decimal(76, 15)"),
            ("key", "String"),
            ("quantity_error", "LowCardinality(Nullable(String))"),
            ("sequence", "Int64"),
            ("owner_sequence", "Nullable(Int64)"),
            ("version", "UInt64"),
            ("is_deleted", "UInt8"),
        ),
        order="environment_id, meter_id, external_customer_id, timestamp, id",
        shard="sipHash64(environment_id, external_customer_id)",
        partition=_MONTH,
    ),
    ClickHouseTable(
        IDS,
        (
            ("environment_id", "LowCardinality(String)"),
            ("id", "String"),
            ("event_name", "LowCardinality(String)"),
            ("external_customer_id", "String"),
            ("timestamp", "Int64"),
            ("version", "UInt64"),
            ("is_deleted", "UInt8"),
        ),
        order="environment_id, id",
        shard="sipHash64(environment_id, id)",
    ),
)
BY_NAME = {table.name: table for table in TABLES}


def table_statements(address: ClickHouseAddress) -> Iterator[str]:
    """What makes the tables where they are missing, in order."""
    on_cluster = f" ON CLUSTER {address.cluster}" if address.cluster else ""
    database = address.database
    yield f"CREATE DATABASE IF NOT EXISTS {database}{on_cluster}"
    for table in TABLES:
        yield from _table(table, database, address.cluster, on_cluster)
    # whose events these are; a row that one process reads must be there for all, so it is replicated without shards
    yield (
        f"CREATE TABLE IF NOT EXISTS {database}.{STORE}{on_cluster} (token String) "
        f"ENGINE = {_engine('MergeTree', '', STORE, replicated=bool(address.cluster), sharded=False)} ORDER BY token"
    )


def _table(table: ClickHouseTable, database: str, cluster: str, on_cluster: str) -> Iterator[str]:
    name = f"{table.name}_local" if cluster else table.name
    columns = ", ".join(f"{column} {kind}" for column, kind in table.columns)
    engine = _engine("ReplacingMergeTree", "version, is_deleted", name, replicated=bool(cluster), sharded=True)
    partition = f" PARTITION BY {table.partition}" if table.partition else ""
    settings = "" if cluster else f" SETTINGS {_DURABLE}"
    yield (
        f"CREATE TABLE IF NOT EXISTS {database}.{name}{on_cluster} ({columns}) ENGINE = {engine}"
        f"{partition} ORDER BY ({table.order}){settings}"
    )
    if cluster:
        yield (
            f"CREATE TABLE IF NOT EXISTS {database}.{table.name}{on_cluster} AS {database}.{name} "
            f"ENGINE = Distributed({cluster}, {database}, {name}, {table.shard})"
        )


def _engine(family: str, arguments: str, name: str, *, replicated: bool, sharded: bool) -> str:
    if not replicated:
        return f"{family}({arguments})"
    shard, replica = ("{shard}", "{replica}") if sharded else ("all", "{shard}-{replica}")
    path = f"'/clickhouse/tables/{shard}/{{database}}/{name}', '{replica}'"
    return f"Replicated{family}({', '.join(part for part in (path, arguments) if part)})"


def local_name(name: str, address: ClickHouseAddress) -> str:
    """The table that holds the rows of one, for statements that a distributed table does not take."""
    if address.cluster:
        return f"{address.database}.{name}_local ON CLUSTER {address.cluster}"
    return f"{address.database}.{name}"
