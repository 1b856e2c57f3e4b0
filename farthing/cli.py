"""The command line: which commands there are, where each stands, and how one ends.

Each command loads what it needs and no more, so that help and `openapi` answer at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cyclopts
from rich.markup import escape

import farthing
from farthing.commands import jobs, mcp, operations, serving
from farthing.commands.access import keys, secret, users
from farthing.commands.books import billing, erase, events, files, migrate_from
from farthing.commands.running import errors
from farthing.core.errors import FarthingError, NotFound, ValidationFailed
from farthing.settings import BadSettings

COMMANDS: Mapping[str, Callable[..., None] | cyclopts.App] = MappingProxyType(
    {
        "serve": serving.serve,
        "worker": serving.worker,
        "migrate": operations.migrate,
        "bill": billing.bill,
        "report": files.report,
        "import": files.import_,
        "export": files.export,
        "clock": billing.clock,
        "demo": operations.demo,
        "openapi": operations.openapi,
        "sbom": operations.sbom,
        "doctor": operations.doctor,
        "backup": operations.backup,
        "restore": operations.restore,
        "keys": keys.keys,
        "jobs": jobs.jobs,
        "fx": files.fx,
        "users": users.users,
        "secret": secret.secret,
        "billing": billing.billing,
        "events": events.events,
        "erase": erase.erase,
        "migrate-from": migrate_from.migrate_from,
        "mcp": mcp.mcp,
    }
)
"""The commands, and the groups of them, by name."""


def _application() -> cyclopts.App:
    application = cyclopts.App(
        name="farthing", help="Usage-based billing, exact to the farthing.", version=farthing.__version__
    )
    for name, command in COMMANDS.items():
        application.command(command, name=name)
    return application


app = _application()


def main() -> None:
    """Run a command; what the operator can mend is said in one line and ends with status 2."""
    # what is loaded now, an answer or an invoice is many small objects; walking them every 700 costs a sixth of a run
    gc.set_threshold(50_000, 20, 20)

    import psycopg
    from sqlalchemy.exc import OperationalError

    from farthing.backup import BackupFailed
    from farthing.secret_file import UnusableSecretKey
    from farthing.serving.listener import CannotListen
    from farthing.storage.connections.unusable import UnusableDatabase
    from farthing.storage.embedded import EmbeddedFailed
    from farthing.storage.postgres import UnsafeDatabase

    try:
        app(exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        errors.print(f"farthing: {str(error).strip()}")
        sys.exit(2)
    except (
        BackupFailed,
        BadSettings,
        CannotListen,
        EmbeddedFailed,
        UnsafeDatabase,
        UnusableDatabase,
        UnusableSecretKey,
    ) as error:
        errors.print(f"[red]farthing:[/red] {escape(str(error))}", markup=True)
        sys.exit(2)
    except (OperationalError, psycopg.OperationalError) as error:
        errors.print(f"[red]farthing:[/red] {escape(str(UnusableDatabase.because(error)))}", markup=True)
        sys.exit(2)
    except ValidationFailed as error:
        for field, reason in error.details.items():
            errors.print(f"[red]farthing:[/red] {escape(f'{field} {reason}')}", markup=True)
        sys.exit(2)
    except FarthingError as error:
        errors.print(f"[red]farthing:[/red] {escape(error.message)}", markup=True)
        sys.exit(2 if isinstance(error, NotFound) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
