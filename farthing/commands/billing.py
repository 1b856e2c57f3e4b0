"""The command about own billing: `farthing billing adopt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cyclopts

from farthing.cli import DataDir, _settings, _with_database, console

if TYPE_CHECKING:
    from farthing.storage.postgres import Database

billing = cyclopts.App(name="billing", help="Billing the tenants of this deployment.")


@billing.command
def adopt(*, data_dir: DataDir = None) -> None:
    """Take every tenant in as a customer of FARTHING_BILLING_ENVIRONMENT; who is one already stays as it is."""
    from farthing.own_billing.host import require_host
    from farthing.own_billing.tenants import adopt as adopt_tenants

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        count = await adopt_tenants(await require_host(database, settings))
        console.print(f"{count} tenants taken in")

    _with_database(settings, task)
