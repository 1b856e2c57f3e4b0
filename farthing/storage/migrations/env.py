"""Alembic's entry: runs migrations on the connection it is handed, and drafts new ones from the tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alembic import context
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from farthing.storage.scope import row_level_security
from farthing.storage.tables import Base, owner_column, package_of


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    """The job queue's own tables are migrated by the queue's own schema; a draft is of one package's tables."""
    if kind != "table":
        return True
    package = context.config.attributes.get("package")
    if (name or "").startswith("procrastinate_"):
        return False
    return package is None or (name is not None and package_of(name).startswith(package))


def _confine(_context: MigrationContext, _revision: object, directives: list[Any]) -> None:
    """Add row-level security behind every table that a draft creates."""
    for script in directives:
        upgrade: ops.UpgradeOps = script.upgrade_ops
        upgrade.ops = [step for op in upgrade.ops for step in _with_security(op)]
        script.downgrade_ops.ops = []


def _with_security(op: ops.MigrateOperation) -> Iterable[ops.MigrateOperation]:
    yield op
    if isinstance(op, ops.CreateTableOp):
        by = owner_column(op.table_name)
        for statement in row_level_security(op.table_name, by) if by else ():
            yield ops.ExecuteSQLOp(statement)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=_ours,
        process_revision_directives=_confine,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if "connection" in context.config.attributes:
    _run(context.config.attributes["connection"])
else:
    engine = create_engine(context.config.attributes["url"])
    with engine.connect() as fresh:
        _run(fresh)
    engine.dispose()
