"""Failure texts that others read say nothing of SQL, the driver, the stack or a path."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

import farthing
from farthing.core.errors import InvalidOperation
from farthing.storage.connections.reasons import public_reason

INTERNAL = "SELECT secret FROM /var/lib/data"


def by_driver(error: psycopg.Error) -> DBAPIError:
    return DBAPIError(INTERNAL, {"secret": INTERNAL}, error)


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeout(INTERNAL),
        psycopg.OperationalError(INTERNAL),
        by_driver(psycopg.errors.CheckViolation(INTERNAL)),
        by_driver(psycopg.errors.NumericValueOutOfRange(INTERNAL)),
        OSError(2, INTERNAL, "/etc/passwd"),
        KeyError(INTERNAL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_reason_holds_nothing_internal(error: Exception) -> None:
    reason = public_reason(error)
    assert reason
    assert not {"SELECT", "secret", "/", "psycopg"} & set(reason.replace("/", " / ").split())


def test_a_refusal_of_our_own_is_its_own_reason() -> None:
    assert public_reason(InvalidOperation("The invoice is a draft")) == "The invoice is a draft"


OF_ANYTHING = ("Exception", "BaseException", "Error", "DBAPIError", "SQLAlchemyError", "OperationalError")
"""Handlers of these catch errors whose text is not ours."""
OF_A_GIVEN_FILE = {"csv.Error"}
"""What these say is of the file that the reader has sent himself."""
READ_BY_OPERATORS_ONLY = ("backup/",)
"""Commands whose only reader runs the deployment."""


def _texts_of_caught_errors(module: Path) -> Iterator[int]:
    code = module.read_text()
    if not re.search(rf"except\b[^:]*\b({'|'.join(OF_ANYTHING)})\b", code):  # to parse all of it takes seconds
        return
    for handler in ast.walk(ast.parse(code)):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        named = set(ast.unparse(handler.type).strip("()").split(", ")) - OF_A_GIVEN_FILE
        caught = {part.split(".")[-1] for part in named}
        if not caught & set(OF_ANYTHING):
            continue
        logged = {
            part
            for call in ast.walk(handler)
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("log.")
            for part in ast.walk(call)
        }
        for part in ast.walk(handler):
            shown = part.value if isinstance(part, ast.FormattedValue) else None
            if isinstance(part, ast.Call) and ast.unparse(part.func) in {"str", "repr"}:
                shown = part.args[0]
            if part not in logged and isinstance(shown, ast.Name) and shown.id == handler.name:
                yield getattr(part, "lineno", 0)


def test_no_text_of_an_unknown_error_is_shown() -> None:
    root = Path(farthing.__file__).parent
    found = {
        name
        for module in sorted(root.rglob("*.py"))
        if not (name := str(module.relative_to(root))).startswith(READ_BY_OPERATORS_ONLY)
        if any(_texts_of_caught_errors(module))
    }
    assert found == {"storage/capacity.py"}, "that one looks for a word, and shows nothing"
