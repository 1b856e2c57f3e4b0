"""What `farthing serve --demo` prints at its first start and at later ones."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from farthing import demo
from farthing.commands import serving
from farthing.identity.bootstrap import OWNER_EMAIL, FirstStart, first_start
from farthing.identity.sign_in.email_and_password import sign_in
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.conftest import settings_for


async def test_the_password_is_set_once_and_said_before_and_after_the_load(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CUSTOMERS", 2)
    monkeypatch.setattr(demo, "EVENTS", 200)
    settings = settings_for(new_database())
    database = Database(settings.database_url or "", wire())
    try:
        first = await first_start(database, settings)
        said = [await _said(settings, database, start, monkeypatch) for start in (first, None)]
        (password,) = set(re.findall(rf"Sign in: {OWNER_EMAIL} with (\S+)", said[0]))
        assert said[0].count(password) == 2
        assert "Demo: everything is loaded" in said[0]
        assert "API key" in said[0].rpartition("everything is loaded")[2]
        assert "Sign in: " + OWNER_EMAIL + ", with the password and the API key of the first start" in said[1]
        assert "loaded" not in said[1]
        assert (await sign_in(database, OWNER_EMAIL, password)).email == OWNER_EMAIL
    finally:
        await database.close()


async def _said(
    settings: Settings, database: Database, first: FirstStart | None, monkeypatch: pytest.MonkeyPatch
) -> str:
    printed = io.StringIO()
    monkeypatch.setattr(serving, "console", Console(file=printed, width=200))
    await serving._load_demo(settings, database, first)
    return printed.getvalue()
