"""What a stranger sends leaves no trace that grows, and no credential stands in a log."""

from __future__ import annotations

import io
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from farthing.api.work import UNMATCHED
from farthing.logs import LibraryLines, configure, without_credentials
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.application import routed_application
from tests.conftest import running, settings_for

LABELS = re.compile(r'(\w+)="([^"]*)"')


async def labels(base_url: str) -> set[tuple[str, str]]:
    async with httpx.AsyncClient() as http:
        return set(LABELS.findall((await http.get(f"{base_url}/metrics")).text))


async def test_made_up_methods_and_paths_make_no_labels(base_url: str) -> None:
    await labels(base_url)  # the first request brings the labels of every histogram
    before = await labels(base_url)
    marks = [uuid.uuid4().hex.upper() for _ in range(20)]
    async with httpx.AsyncClient() as http:
        for mark in marks:
            await http.request(f"X{mark}", f"{base_url}/v1/customers")
            await http.get(f"{base_url}/{mark}/{mark}?{mark}={mark}", headers={"X-Request-ID": mark})
            await http.post(f"{base_url}/v1/events", json={"event_name": mark}, headers={"x-api-key": mark})
    after = await labels(base_url)
    assert not [label for label in after if any(mark in label[1] for mark in marks)]
    assert len(after - before) < 20
    assert ("method", "other") in after


TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ0eXAiOiJwb3J0YWwifQ.c2lnbmF0dXJlb2Zub2JvZHk"


@pytest.mark.parametrize("path", ["/v1/invoices/documents/{token}", "/portal/{token}", "/portal/{token}/x/y/z"])
async def test_no_token_stands_in_the_log_when_a_page_fails(
    base_url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def failing(token: str, *_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr("farthing.invoices.routes.open_link", failing)
    monkeypatch.setattr("farthing.web.portal.visit.session._claims", failing)
    with capture_logs() as written:
        async with httpx.AsyncClient() as http:
            address = f"{base_url}{path.format(token=TOKEN)}?key={TOKEN}"
            answer = await http.get(address, headers={"accept": "text/html"})
    assert answer.status_code in {404, 500}
    assert TOKEN not in str(written)
    if answer.status_code == 500:
        (failed,) = [line for line in written if line["event"] == "request.failed"]
        assert failed["route"] == path
        assert failed["code"]
        assert "broken" in str(failed["exc_info"])


def test_a_line_is_rid_of_the_credentials_that_an_exception_brought() -> None:
    line = f'{{"exception":"KeyError: /portal/{TOKEN}?a=1, sk_{"7" * 26}"}}'
    assert without_credentials(None, "", line) == '{"exception":"KeyError: /portal/[credential]?a=1, [credential]"}'


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("no user at postgresql://farthing:hush@db/books", "no user at postgresql://[credential]@db/books"),
        ("sk_live_" + "7" * 24, "[credential]"),
        ("rk_test_" + "7" * 24, "[credential]"),
        ("whsec_abcdefgh+/=", "[credential]"),
        ("https://example.com:80/a@b and pk_short", "https://example.com:80/a@b and pk_short"),
    ],
)
def test_what_libraries_log_holds_no_credential_and_nothing_that_a_terminal_obeys(text: str, written: str) -> None:
    said = f"\x1b[2J%s\r\n\x9bm {text}"
    record = logging.LogRecord("library", logging.WARNING, __file__, 1, said, ("\x07",), None)
    assert LibraryLines("%(name)s %(message)s").format(record) == f"library \\x1b[2J\\x07\\x0d\n\\x9bm {written}"


def test_an_exception_makes_a_terminal_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    before = structlog.get_config()
    try:
        configure(Settings(log_format="console"))
        structlog.get_logger().error("failed", exc_info=ValueError("\x1b]0;owned\x07"))
    finally:
        structlog.configure(**before)
    assert "ValueError: \\x1b]0;owned\\x07" in shown.getvalue()


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_rows_that_the_database_names_are_not_logged(
    account: Account, monkeypatch: pytest.MonkeyPatch, log_format: Literal["console", "json"]
) -> None:
    statement = "INSERT INTO tenants (id) VALUES ('row of somebody')"
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    before = structlog.get_config()
    try:
        configure(Settings(log_format=log_format))
        try:
            async with account.database.transaction(SYSTEM) as session:
                await session.execute(text(statement))
        except IntegrityError as error:
            gathered = ExceptionGroup("several", [error])
            structlog.get_logger().error("failed", exc_info=gathered)
            record = logging.LogRecord("library", logging.ERROR, "", 1, "failed", (), (type(error), error, None))
            written.write(LibraryLines().format(record))
    finally:
        structlog.configure(**before)
    # what is wrong is there twice, for whoever mends it, and in whose row it is nowhere
    assert written.getvalue().count("violates not-null constraint") >= 2
    assert "Failing row" not in written.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False], ids=["on a terminal", "elsewhere"])
def test_the_log_is_json_lines_or_columns_on_a_terminal(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: is_terminal)
    before = structlog.get_config()
    monkeypatch.setattr("sys.stderr", written)
    try:
        configure(Settings())
        structlog.get_logger("a test").warning("something.happened", seconds=3)
    finally:
        structlog.configure(**before)
    (line,) = written.getvalue().splitlines()
    if is_terminal:
        assert "something.happened" in line
        assert not line.startswith("{")
    else:
        assert json.loads(line).items() >= {"event": "something.happened", "level": "warning", "seconds": 3}.items()


@pytest.fixture
async def logging_url(database: Database, database_url: str) -> AsyncIterator[str]:
    """A server that writes a line for each request, as in production."""
    async with running(settings_for(database_url, access_log=True), database) as url:
        yield url


async def test_a_request_is_logged_by_its_route(logging_url: str) -> None:
    async with httpx.AsyncClient() as http:
        with capture_logs() as written:
            assert (await http.get(f"{logging_url}/v1/nothing-here")).status_code == 404
    (request,) = [line for line in written if line["event"] == "request"]
    assert request["path"] == UNMATCHED
    assert request.keys() >= {"request_id", "method", "status", "ms", "address", "tenant_id"}
    assert "nothing-here" not in str(written)


async def test_nothing_of_a_body_stands_in_the_log(logging_url: str) -> None:
    secrets = {"email": "nobody@example.com", "password": "a password of nobody"}
    async with httpx.AsyncClient() as http:
        with capture_logs() as written:
            assert (await http.post(f"{logging_url}/v1/auth/login", json=secrets)).status_code == 403
    assert any(line["event"] == "request" for line in written)
    assert [secret for secret in secrets.values() if secret in str(written)] == []


ADDRESSES_THAT_ARE_CREDENTIALS = re.compile(r"\{token|/test/gateway/sessions/\{id")


async def test_no_address_that_is_a_credential_stands_in_the_log(logging_url: str) -> None:
    paths = sorted({route.path_format for route in routed_application().routes})
    secret = [path for path in paths if ADDRESSES_THAT_ARE_CREDENTIALS.search(path)]
    assert len(secret) > 10
    with capture_logs() as written:
        async with httpx.AsyncClient(base_url=logging_url) as http:
            for path in secret:
                await http.get(re.sub(r"\{[^}]*\}", "anybodys-secret", path))
    logged = {line["path"] for line in written if line["event"] == "request"}
    assert {"/checkout/{token}", "/portal/{token}", "/password/{token}", "/v1/tasks/files/{token}"} <= logged
    assert "anybodys-secret" not in str(written)
