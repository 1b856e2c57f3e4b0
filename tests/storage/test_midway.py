"""Commits in the middle of a request go through one helper."""

from __future__ import annotations

import ast
from pathlib import Path

import farthing

_SESSION_OWNERS = {
    # they open the session that they commit
    "api/idempotency.py",
    "api/work.py",
    "billing/collection/collect.py",
    "billing/dunning/retries.py",
    "billing/run/passes.py",
    "demo/checkouts.py",
    "erasure/command.py",
    "events/ingest/store.py",  # it begins the transaction of an append by itself
    "jobs/duties/duty.py",
    "own_billing/host.py",
    "storage/midway.py",
    "storage/migrations/__init__.py",
    "transfer/imports/writing.py",
}


def test_whoever_is_handed_a_session_commits_it_by_the_helper_only() -> None:
    root = Path(farthing.__file__).parent
    committing = {
        str(module.relative_to(root))
        for module in root.rglob("*.py")
        if ".commit" in (code := module.read_text())  # to parse all of it takes seconds
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    }
    assert committing == _SESSION_OWNERS
