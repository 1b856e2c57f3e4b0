"""What a failure of PostgreSQL is answered with, and what the log tells the operator to do."""

from __future__ import annotations

import os

import psycopg
import pytest
from sqlalchemy import text

from farthing.settings import Settings
from farthing.storage.connections.failures import failure_of, what_to_do
from farthing.storage.connections.timeouts import OF_BACKGROUND_WORK
from farthing.storage.scope import SYSTEM
from tests.account import Account


@pytest.mark.parametrize(
    ("error", "status", "action"),
    [
        pytest.param(psycopg.errors.OutOfMemory(), 503, "work_mem", id="out of memory"),
        pytest.param(psycopg.errors.TooManyConnections(), 503, "max_connections", id="no free connection"),
        pytest.param(psycopg.errors.DiskFull(), 503, "free space", id="disk full"),
        pytest.param(psycopg.errors.QueryCanceled(), 503, "FARTHING_STATEMENT_TIMEOUT_SECONDS", id="statement timeout"),
        pytest.param(psycopg.errors.ReadOnlySqlTransaction(), 503, "use the primary", id="a standby"),
        pytest.param(psycopg.errors.DeadlockDetected(), 409, None, id="deadlock"),
        pytest.param(psycopg.errors.SerializationFailure(), 409, None, id="conflict of transactions"),
        pytest.param(psycopg.errors.NumericValueOutOfRange(), 400, None, id="a number out of range"),
    ],
)
def test_what_passes_says_when_to_come_back_and_what_the_operator_can_do(
    error: psycopg.Error, status: int, action: str | None
) -> None:
    refused = failure_of(error)
    assert refused is not None
    assert refused.status == status
    assert status == 400 or refused.retry_after_seconds
    done = what_to_do(error)
    assert done is None if action is None else done is not None and action in done


def test_work_that_nobody_waits_for_has_longer_limits_than_a_request() -> None:
    of_requests = Settings().request_timeouts
    assert OF_BACKGROUND_WORK.lock_seconds > of_requests.lock_seconds
    assert OF_BACKGROUND_WORK.statement_seconds > of_requests.statement_seconds


async def test_the_server_shows_whose_a_connection_is(account: Account) -> None:
    async with account.database.transaction(SYSTEM) as session:
        name = await session.scalar(text("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"))
    assert name == account.database.application_name
    assert name.split()[:2] == ["farthing", str(os.getpid())]
