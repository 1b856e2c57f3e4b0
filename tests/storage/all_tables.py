"""Every table of the product, whatever else a test has imported."""

from __future__ import annotations

import importlib
import pkgutil

import farthing


def load_all_tables() -> None:
    """Import each module that declares tables."""
    for module in pkgutil.walk_packages(farthing.__path__, "farthing."):
        if module.name.endswith(("tables", ".outbox", ".idempotency")):
            importlib.import_module(module.name)
