"""The command `farthing erase`: what would be erased, or the erasure and what it came to."""

from __future__ import annotations

from rich.console import Console
from sqlalchemy import select

from farthing.core.errors import NotFound
from farthing.erasure.erase import DocumentsChoice, erase
from farthing.erasure.usage import finish_usage
from farthing.identity.tables import Environment
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope


async def erase_from_command_line(
    database: Database,
    console: Console,
    environment_id: str,
    customer_id: str,
    documents: DocumentsChoice,
    *,
    does_it: bool,
) -> int:
    """Erase a customer and print what was erased and what is kept; undone again unless `does_it`. Raises NotFound."""
    async with database.transaction(SYSTEM, read_only=True) as session:
        environment = await session.scalar(select(Environment).where(Environment.id == environment_id))
    if environment is None:
        raise NotFound(f"There is no environment {environment_id}", {"environment_id": environment_id})
    async with database.session(Scope(environment.tenant_id, environment.id)) as session:
        erasure = await erase(session, customer_id, documents)
        if does_it:
            await finish_usage(session)
        await (session.commit() if does_it else session.rollback())
    console.print(f"{'erased' if does_it else 'would be erased'}: {customer_id}, now under {erasure.external_id}")
    for table, count in sorted(erasure.rows.items()):
        console.print(f"  {count:,} rows of {table}")
    if erasure.kept:
        until = f"{erasure.kept.until:%Y-%m-%d}"
        console.print(f"kept: {erasure.kept.count} issued documents name the customer until {until}")
    if not does_it:
        console.print("nothing was changed; --yes does it")
    return 0
