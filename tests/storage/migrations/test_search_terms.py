"""Words of customers are there for those of before, too, and follow what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
from psycopg.rows import dict_row

from farthing.storage.migrations import upgrade
from tests.storage.earlier import undo_after
from tests.storage.migrations.test_migrations import _insert

AT = datetime(2026, 2, 1, tzinfo=UTC)
_SCOPE = "SELECT set_config('farthing.tenant_id', 't', true), set_config('farthing.environment_id', 'e', true)"


def _terms(connection: psycopg.Connection[dict[str, object]], customer_id: str) -> list[object]:
    rows = connection.execute(
        "SELECT term FROM customer_search_terms WHERE customer_id = %s ORDER BY term", [customer_id]
    )
    return [row["term"] for row in rows]


def test_customers_of_before_are_found_by_their_words(new_database: Callable[..., str]) -> None:
    url = new_database()
    named = {"name": "Ökonom & Söhne GmbH", "external_id": "oek-1", "email": "Rechnung@Oekonom.example"}
    words = ["1", "example", "gmbh", "oek", "oekonom", "rechnung", "söhne", "ökonom"]
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(_SCOPE)
        listed = {"former_external_ids": "[]", "contact_persons": "[]", "tax_treatment": "taxable"}
        _insert(connection, "customers", {"id": "cust_1", **named, **listed}, AT)
        assert _terms(connection, "cust_1") == words
        connection.execute(undo_after("0053"))
    upgrade(url)
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(_SCOPE)
        assert _terms(connection, "cust_1") == words
        connection.execute("""UPDATE customers SET name = 'Neu', former_external_ids = '["alt-7"]'""")
        assert _terms(connection, "cust_1") == ["1", "7", "alt", "example", "neu", "oek", "oekonom", "rechnung"]
        connection.execute("UPDATE customers SET name = repeat('a', 200)")
        assert "a" * 60 in _terms(connection, "cust_1")
        connection.execute("DELETE FROM customers")
        assert _terms(connection, "cust_1") == []
