"""Draft a migration for the tables of one package: `python -m farthing.storage.migrations invoices`.

Brings a throw-away PostgreSQL to the latest revision, compares it with that package's tables and prints the body of
an `upgrade()`. A revision that is not released yet may be drafted again with `--rewrite 0004_invoices.py`: its body
is emptied, compared and filled anew. Read the draft; what is not a table (a trigger, a function) is written by hand
in a revision of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import tempfile
from pathlib import Path
from typing import Annotated

import cyclopts
from alembic import command

import farthing
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import configuration, upgrade

_VERSIONS = Path(__file__).parent / "versions"
_BODY = re.compile(r"def upgrade\(\) -> None:\n.*", re.DOTALL)


def draft(package: str, rewrite: Annotated[str | None, cyclopts.Parameter(help="a file in versions/")] = None) -> None:
    """Compare `package`'s tables with the migrated schema and write or print what is missing."""
    for module in pkgutil.walk_packages(farthing.__path__, "farthing."):
        if module.name.endswith((".tables", ".outbox", ".idempotency")):
            importlib.import_module(module.name)
    if rewrite is not None:
        path = _VERSIONS / rewrite
        path.write_text(_BODY.sub("def upgrade() -> None:\n    pass\n", path.read_text()))
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data", {"fsync": "off"}) as server:
        upgrade(server.url())
        config = configuration(server.url())
        config.attributes["package"] = f"farthing.{package}"
        script = command.revision(config, message="draft", autogenerate=True, rev_id="draft")
    assert script is not None
    assert not isinstance(script, list)
    made = Path(script.path)  # type: ignore[union-attr]  # one revision was asked for
    body = _BODY.search(made.read_text())
    made.unlink()
    assert body is not None
    if rewrite is None:
        print(body[0])
    else:
        path.write_text(_BODY.sub(lambda _: body[0], path.read_text()))


if __name__ == "__main__":
    cyclopts.run(draft)
