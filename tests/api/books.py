"""The stored state of one account, read as a superuser whom row-level security does not confine."""

from __future__ import annotations

from types import TracebackType

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.account import Account

# from the catalogue itself: the views of the information schema ask for each column what one may do with it
_COLUMNS = """
SELECT relname::text, array_agg(attname::text) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
GROUP BY relname ORDER BY relname
"""
NOT_STATE = ("last_used_at",)
"""Columns that change by looking."""


class Books:
    """Opens a connection; `state()` is a fingerprint of every row of the account in every table."""

    def __init__(self, sockets: str, account: Account) -> None:
        self._account = account
        name = make_url(account.database.url).database
        self._connection = psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True)
        self._tables = self.tables(self._connection)

    def __enter__(self) -> Books:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    @staticmethod
    def tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
        """Every table that holds rows of somebody, and the column that says whose."""
        found = []
        for table, columns in connection.execute(_COLUMNS).fetchall():
            for column in ("environment_id", "tenant_id"):
                if column in columns:
                    found.append((table, column))
                    break
            else:
                if table in {"tenants", "environments"}:
                    found.append((table, "id"))
        return found

    def state(self, *, only_environment: bool = False) -> dict[str, tuple[int, str]]:
        """Table to the number and the fingerprint of the account's rows."""
        parts = []
        owner = {"environment_id": self._account.environment_id, "tenant_id": self._account.tenant_id}
        for table, column in self._tables:
            if only_environment and column != "environment_id":
                continue
            whose = owner.get(column) or owner["tenant_id" if table == "tenants" else "environment_id"]
            parts.append(
                sql.SQL(
                    "SELECT {name}, count(*), coalesce(md5(string_agg(row, '' ORDER BY row)), '') FROM "
                    "(SELECT (to_jsonb(t) - {ignored}::text[])::text AS row FROM {table} t WHERE {column} = {whose}) r"
                ).format(
                    name=sql.Literal(table),
                    table=sql.Identifier(table),
                    column=sql.Identifier(column),
                    whose=sql.Literal(whose),
                    ignored=sql.Literal(list(NOT_STATE)),
                )
            )
        rows = self._connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
        return {table: (count, print_) for table, count, print_ in rows}
