"""In every table of an environment each text, document and file is one that erasing looks through, or names nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import ARRAY, Enum, LargeBinary, String, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

import farthing.migration.tables  # noqa: F401  # the application itself has no need of them
from farthing.erasure.belongings import READ_OTHERWISE, SHORTEST_TEXT, Stage, environment_tables, personal_tables
from farthing.storage.tables import Base
from tests.application import routed_application

NAMES_NOBODY = {
    **dict.fromkeys(
        ("addons", "cost_sheets", "coupons", "features", "groups", "meters", "plans", "price_units", "tax_rates"),
        "the catalogue",
    ),
    **dict.fromkeys(("connections", "secrets", "settings", "webhook_endpoints"), "what staff set up"),
    "meter_backfills": "names of events",
    "attachment_contents": "goes with its attachment",
    "migrations": "the address of a server",
    "pending_event_writes": "empty where anybody can be erased: there only while events are stored elsewhere",
    "clock_advances": "counts",
    "customer_dunning": "days",
    "idempotent_responses": "read as answers",
    "stored_file_pieces": "forgotten with their file",
    "test_gateway_refunds": "keys of requests",
    "usage_notices": "renamed with events",
    "usage_reports": "a marketplace's own ids",
}
"""Tables of an environment that erasing passes over, and why."""
FACTS = {
    "plan_display_name": "of the catalogue",
    "meter_display_name": "of the catalogue",
    "provider_entity_id": "the provider's id",
    "gateway_payment_id": "the provider's id",
    "gateway_refund_id": "the provider's id",
    "gateway_tracking_id": "the provider's id",
    "gateway_payment_method_id": "the provider's id",
    "payment_method_id": "the provider's id",
    "agreement_id": "the marketplace's id",
    "event_id": "the provider's id of an event",
    "reference_id": "an id",
    "entity_id": "an id",
    "customer_external_id": "renamed with events",
}
"""Columns that are long enough for a name and say none."""


def _can_name(type: TypeEngine[object]) -> bool:
    if isinstance(type, String):
        return not isinstance(type, Enum) and (type.length is None or type.length >= SHORTEST_TEXT)
    return isinstance(type, JSONB | ARRAY | LargeBinary)


def _naming(table: Table) -> set[str]:
    return {column.name for column in table.columns if _can_name(column.type) and column.name != "id"}


def test_every_column_that_can_name_somebody_is_looked_through_or_names_nobody() -> None:
    routed_application()
    read = {table.name: set[str]() for table in environment_tables()}
    for stage in Stage:
        for personal in personal_tables(stage):
            read[personal.name] |= set(personal.columns)
    passed_over = {
        f"{table.name}.{column}"
        for table in environment_tables()
        if table.name not in READ_OTHERWISE and table.name not in NAMES_NOBODY
        for column in _naming(table) - read[table.name] - FACTS.keys()
    }
    assert passed_over == set()


@pytest.mark.parametrize("name", sorted(READ_OTHERWISE | NAMES_NOBODY.keys()))
def test_what_is_decided_of_a_table_is_about_one_that_exists(name: str) -> None:
    routed_application()
    assert name in Base.metadata.tables
    read = {table.name for stage in Stage for table in personal_tables(stage)}
    assert name not in read


def test_a_column_is_erased_in_one_stage() -> None:
    routed_application()
    books, documents = (
        {(table.name, column) for table in personal_tables(stage) for column in table.columns} for stage in Stage
    )
    assert books & documents == set()
    assert ("invoices", "write_off_reason") in books
    assert ("invoices", "description") in documents
