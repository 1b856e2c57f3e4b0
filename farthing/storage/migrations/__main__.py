"""Draft a migration for the tables of one package: `python -m farthing.storage.migrations invoices`.

Brings a throw-away PostgreSQL to the latest revision, compares it with that package's tables and prints the body of
an `upgrade()`. A revision that is not released yet may be drafted again with `--rewrite 0004_invoices.py`: its body
is emptied and filled anew. Read the draft; what is not a table (a trigger, a function) is written by hand in a
revision of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import tempfile
from pathlib import Path
from typing import Annotated

import cyclopts
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

import farthing
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import dialect_url
from farthing.storage.scope import row_level_security
from farthing.storage.tables import Base, owner_column, package_of

_VERSIONS = Path(__file__).parent / "versions"
_BODY = re.compile(r"def upgrade\(\) -> None:\n.*", re.DOTALL)


def draft(package: str, rewrite: Annotated[str | None, cyclopts.Parameter(help="a file in versions/")] = None) -> None:
    """Compare `package`'s tables with the migrated schema and write or print what is missing."""
    for module in pkgutil.walk_packages(farthing.__path__, "farthing."):
        if module.name.endswith(("tables", ".outbox", ".idempotency")):
            importlib.import_module(module.name)
    if rewrite is not None:
        path = _VERSIONS / rewrite
        path.write_text(_BODY.sub("def upgrade() -> None:\n    pass\n", path.read_text()))
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data", {"fsync": "off"}) as server:
        # a rewritten revision is drafted where it stands; what comes after it may need its tables
        upgrade(server.url(), rewrite.split("_")[0] if rewrite else "head")
        body = "def upgrade() -> None:\n" + _difference(server.url(), f"farthing.{package}")
    if rewrite is None:
        print(body)
    else:
        path.write_text(_BODY.sub(lambda _: body, path.read_text()))


def _difference(url: str, package: str) -> str:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
        return kind != "table" or package_of(name or "").startswith(package)

    engine = create_engine(dialect_url(url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
            upgrade_ops = produce_migrations(context, Base.metadata).upgrade_ops
            assert upgrade_ops is not None
            upgrade_ops.ops = [step for op in upgrade_ops.ops for step in (op, *_security(op))]
            return f"    {render_python_code(upgrade_ops, migration_context=context)}\n"
    finally:
        engine.dispose()


def _security(op: ops.MigrateOperation) -> list[ops.MigrateOperation]:
    """Row-level security behind every table that a draft creates."""
    if not isinstance(op, ops.CreateTableOp):
        return []
    by = owner_column(op.table_name)
    return [ops.ExecuteSQLOp(statement) for statement in (row_level_security(op.table_name, by) if by else ())]


if __name__ == "__main__":
    cyclopts.run(draft)
