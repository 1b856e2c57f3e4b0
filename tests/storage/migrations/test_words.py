"""The database checks every column of words: what `tables.py` promises, the migrated schema keeps."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import CheckConstraint, create_engine, inspect

from farthing.storage.postgres import dialect_url
from farthing.storage.tables import Base, Words
from tests.application import routed_application


def test_each_column_of_words_has_its_constraint(new_database: Callable[..., str]) -> None:
    """A column that fails here needs, in the newest revision: ALTER TABLE ... ADD CONSTRAINT ck_..._known CHECK."""
    routed_application()
    engine = create_engine(dialect_url(new_database()))
    reflected = inspect(engine)
    missing = []
    for table in Base.metadata.sorted_tables:
        kept = {
            str(check["name"]): set(str(check["sqltext"]).split("'")[1::2])
            for check in reflected.get_check_constraints(table.name)
        }
        for column in table.columns:
            name = f"ck_{table.name}_{column.name}_known"
            if isinstance(column.type, Words) and kept.get(name) != set(column.type.enums):
                missing.append(name)
    engine.dispose()
    assert missing == []


def test_each_constraint_of_the_tables_is_in_the_schema(new_database: Callable[..., str]) -> None:
    routed_application()
    engine = create_engine(dialect_url(new_database()))
    reflected = inspect(engine)
    missing = [
        f"{table.name}: {constraint.name}"
        for table in Base.metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
        and f"ck_{table.name}_{constraint.name}"[:63]
        not in {str(check["name"]) for check in reflected.get_check_constraints(table.name)}
        and str(constraint.name) not in {str(check["name"]) for check in reflected.get_check_constraints(table.name)}
    ]
    engine.dispose()
    assert missing == []


def test_an_unknown_word_is_refused(new_database: Callable[..., str]) -> None:
    with psycopg.connect(new_database()) as connection:
        connection.execute("SELECT set_config('farthing.tenant_id', 't', true)")
        with pytest.raises(psycopg.errors.CheckViolation, match="ck_tenants_status_known"):
            connection.execute(
                "INSERT INTO tenants (id, name, internal_status, status, billing_details, metadata, created_at, "
                "updated_at, created_by, updated_by) "
                "VALUES ('t', 'Acme', 'trialing', 'retired', '{}', '{}', now(), now(), '', '')"
            )
