"""The commands about billing: `farthing bill`, `clock`, and `billing adopt` of a host that bills its tenants."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, in_utc, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database

billing = cyclopts.App(name="billing", help="Billing the tenants of this deployment.")


def bill(
    *,
    environment: Annotated[str | None, Parameter(help="Only this environment; default: all of them.")] = None,
    until: Annotated[datetime | None, Parameter(help="As if it were this time (UTC).")] = None,
    dry_run: Annotated[bool, Parameter(help="Work everything out and undo it again.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Bill what is due: periods that ended, trials, cancellations, drafts to be computed and finalized."""
    from farthing.billing.commands import bill_environments

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await bill_environments(settings, database, console, environment, in_utc(until), dry_run=dry_run)

    with_database(settings, task)


def clock(
    environment: Annotated[str, Parameter(help="Id of a development environment.")],
    time: Annotated[datetime | None, Parameter(help="Where its clock shall stand (UTC); nothing lets it run.")] = None,
    *,
    data_dir: DataDir = None,
) -> None:
    """Set an environment's test clock; all that is due on the way is done."""
    from farthing.billing.commands import set_clock

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await set_clock(settings, database, console, environment, in_utc(time))

    with_database(settings, task)


@billing.command
def adopt(*, data_dir: DataDir = None) -> None:
    """Take every tenant in as a customer of FARTHING_BILLING_ENVIRONMENT; who is one already stays as it is."""
    from farthing.own_billing.host import require_host
    from farthing.own_billing.tenants import adopt as adopt_tenants

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        count = await adopt_tenants(await require_host(database, settings))
        console.print(f"{count} tenants taken in")

    with_database(settings, task)
