"""The commands that run a process: `farthing serve`, `worker`."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import farthing
from farthing.commands.running import DataDir, console, read_settings, with_database
from farthing.core.origin import SERVICE, ChangeSource, acting_as
from farthing.serving.loading import Loading
from farthing.settings import Settings

if TYPE_CHECKING:
    from farthing.identity.bootstrap import FirstStart
    from farthing.storage.postgres import Database


def serve(
    *,
    data_dir: DataDir = None,
    host: Annotated[str | None, Parameter(help="Address to listen on (FARTHING_HOST).")] = None,
    port: Annotated[int | None, Parameter(help="Port to listen on (FARTHING_PORT).")] = None,
    processes: Annotated[
        int | None, Parameter(help="How many processes answer; 0: as many as suit this machine (FARTHING_PROCESSES).")
    ] = None,
    demo: Annotated[bool, Parameter(help="Load a small company's books on first start.", negative="")] = False,
) -> None:
    """Serve the API, and work on jobs; with no FARTHING_DATABASE_URL, run PostgreSQL too."""
    from farthing.serving import listener
    from farthing.serving.engine import engine
    from farthing.serving.processes import demands_of, processes_for_this_machine
    from farthing.storage.capacity import demand_of

    # whoever looks at the demo for the first time should see where it is, not what the background does
    log_level = "warning" if demo and "FARTHING_LOG_LEVEL" not in os.environ else None
    settings = read_settings(data_dir=data_dir, host=host, port=port, processes=processes, log_level=log_level)
    listener.check_free(settings)
    count = settings.processes or processes_for_this_machine(settings)
    loading = Loading(serves=True)

    async def started(database: Database, first: FirstStart | None) -> None:
        from farthing.serving.document import have_document_made

        _greet(settings, first)
        async with asyncio.TaskGroup() as beside:
            beside.create_task(have_document_made(), name="document")
            if demo:
                await _load_demo(settings, database, first)
            elif first is not None:
                await _invite_owner(settings, database)

    async def task(database: Database) -> None:
        from farthing.serving import server

        await server.serve(settings, database, started, arrange=loading.routes)

    if count == 1:
        with_database(settings, task, demand_of(settings.pool_size, works=settings.worker), loading)
        return
    with engine(settings, demands_of(settings, count)) as postgres, acting_as(SERVICE, ChangeSource.WORKER):
        loading.wait_for_code()
        from farthing.serving import supervisor

        status = supervisor.serve_together(settings, count, postgres, loading.routes, started)
    if status:
        sys.exit(status)


def _greet(settings: Settings, first: FirstStart | None) -> None:
    console.print(f"Farthing {farthing.__version__} at [bold]{settings.base_url}[/bold]", markup=True)
    if first is None:
        return
    if settings.bootstrap_api_key:
        console.print("API key: the one in FARTHING_BOOTSTRAP_API_KEY")
    else:
        console.print(f"API key: [bold]{first.api_key}[/bold]  (shown once; keep it)", markup=True)


async def _load_demo(settings: Settings, database: Database, first: FirstStart | None) -> None:
    """Say how to sign in, load the demo, and say at last once more where it is: by then that has scrolled away."""
    from farthing import demo

    password = await demo.first_password(database)
    _say_how_to_sign_in(password)
    if await demo.ensure_demo(settings, database, console):
        console.print("Demo: everything is loaded", end="\n\n")
        _greet(settings, first)
        _say_how_to_sign_in(password)


def _say_how_to_sign_in(password: str | None) -> None:
    from farthing.identity.bootstrap import OWNER_EMAIL

    if password is not None:
        console.print(f"Sign in: [bold]{OWNER_EMAIL}[/bold] with [bold]{password}[/bold]", markup=True)
        return
    console.print(f"Sign in: {OWNER_EMAIL}, with the password and the API key of the first start")
    console.print("  (lost? with the server stopped: farthing users password, farthing keys create)")


async def _invite_owner(settings: Settings, database: Database) -> None:
    """Print how the first person of a new deployment signs in."""
    from farthing.identity.bootstrap import OWNER_EMAIL
    from farthing.identity.sign_in import operator

    link = await operator.link_for(database, settings, OWNER_EMAIL)
    console.print(f"Sign in: as [bold]{OWNER_EMAIL}[/bold], once you have set a password at", markup=True)
    console.print(f"  {link.url}")
    console.print(f"  (works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC)")


def worker(*, data_dir: DataDir = None) -> None:
    """Work on jobs and periodic duties only."""
    from farthing.storage.capacity import demand_of

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        from farthing.serving import server

        await server.work_until_stopped(settings, database)

    with_database(settings, task, demand_of(settings.pool_size, works=True))
