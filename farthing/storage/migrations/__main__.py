"""Draft a migration: `python -m farthing.storage.migrations 0002 "what it does"`, then read and edit it.

Brings a throw-away PostgreSQL to the latest revision, compares it with the tables and writes the difference.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

from alembic import command

import farthing
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import configuration, upgrade


def main() -> None:
    number, message = sys.argv[1:]
    for module in pkgutil.walk_packages(farthing.__path__, "farthing."):
        if module.name.endswith((".tables", ".outbox")):
            importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data", {"fsync": "off"}) as server:
        upgrade(server.url())
        command.revision(configuration(server.url()), message=message, autogenerate=True, rev_id=number)


if __name__ == "__main__":
    main()
