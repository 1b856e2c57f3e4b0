"""kill -9 at every commit of requests: a repeat finishes what was left, and nothing is there twice.

A repeat with the same Idempotency-Key is answered as the undisturbed request would have been, and every table has grown
by what that adds. Where there is no key, the repeat may be refused, and the next billing run does what was left. A move
of a clock runs the duties itself: there, and without a key, what moves money is compared.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import psycopg
import pytest
from psycopg import sql

from farthing.billing.clock import routes as clock_routes
from farthing.billing.collection.collect import collect_due
from farthing.billing.periods.finalize import BillingHooks
from farthing.core.clock import FixedClock
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.api.interrupted.checkouts_to_interrupt import CHECKOUTS
from tests.api.interrupted.deployment import Deployment, Request
from tests.api.interrupted.killable import Relay, relay_folder, servers
from tests.api.interrupted.requests_to_interrupt import EVERY_KIND, IN_EVERY_RUN, Kind, a_subscription
from tests.conftest import running, settings_for
from tests.waiting import PATIENCE_SECONDS

EVERY_COMMIT = bool(os.environ.get("FARTHING_TEST_EVERY_COMMIT"))
MOST_COMMITS = 16
"""A kind that commits more often is killed at so many of its commits, spread evenly, in turn after and before them.

A move of a clock commits about ninety times: wherever it stops, every duty commits, most of them without effect.
"""
_MOVE_SECONDS = 100
"""How long a move of a clock is waited for, on a machine that is busy: one that is answered before its end is no answer
to compare."""
_MONEY = {
    "invoices",
    "invoice_line_items",
    "invoice_settlements",
    "test_gateway_charges",
    "subscription_line_items",
    "wallet_transactions",
}
"""What a request without a key, and one that runs duties, must leave alike; a try that was cut off may leave one more
payment, which failed."""
# a move of a clock counts what it did when it has come to a stop, so what it did right before a kill is not counted
_UNLIKE = re.compile(
    r"eyJ[\w.-]+|[0-9A-HJKMNP-TV-Z]{26}|\d{4}-\d\d-\d\dT[0-9:.]+Z|[a-z_]+-[0-9a-f]{16,64}|[0-9a-f]{32,64}|(INV|CN)-[0-9A-Z-]+"
    r"|\b\d{10}\b|(?<=sequence\":)\d+|127\.0\.0\.1:\d+|(?<=\"counts\":)\{[^}]*\}"
)


@pytest.fixture(scope="module")
async def deployment(new_database: Callable[..., str], sockets: str) -> AsyncIterator[Deployment]:
    folder, database_url = relay_folder(), new_database()
    settings, database = settings_for(database_url), Database(database_url, wire(), 20)
    patience = pytest.MonkeyPatch()
    patience.setattr(clock_routes, "PATIENCE_SECONDS", _MOVE_SECONDS)
    async with (
        servers(database_url) as group,
        Relay(folder, sockets).open() as relay,
        running(settings, database) as url,
        Account(url, settings, database) as account,
        AsyncExitStack() as ending,
    ):
        made = Deployment(account, group, sockets, relay, ending)
        await made.connect()
        yield made
    patience.undo()
    await database.close()
    shutil.rmtree(folder)


def kills(commits: int) -> list[tuple[int, bool]]:
    """The commits to kill at, each with whether to kill before it rather than after it."""
    if not EVERY_COMMIT:
        return [(number, False) for number in range(1, commits + 1)]
    if commits <= MOST_COMMITS:
        return [(number, before) for number in range(1, commits + 1) for before in (False, True)]
    step = (commits - 1) / (MOST_COMMITS - 1)
    return [(1 + round(place * step), place % 2 == 1) for place in range(MOST_COMMITS)]


def alike(answer: httpx.Response) -> tuple[int, str]:
    """An answer without what differs between any two requests: ids, times, keys, tokens and numbers."""
    return answer.status_code, _UNLIKE.sub("*", answer.headers.get("location", "") + answer.text)


def first_difference(answer: httpx.Response, expected: httpx.Response) -> tuple[str, str]:
    """Where two answers begin to differ, for the message of a failure."""
    (_, given), (_, wanted) = alike(answer), alike(expected)
    pairs = enumerate(zip(given, wanted, strict=False))
    at = next((index for index, (left, right) in pairs if left != right), 0)
    return given[max(at - 80, 0) : at + 80], wanted[max(at - 80, 0) : at + 80]


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def _money_of(books: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in books.items() if name in _MONEY}


async def let_the_next_run_collect(deployment: Deployment) -> None:
    """What the duties do by themselves when a try that was interrupted is due again."""
    account = deployment.account
    clock = FixedClock(account.database.clock.now() + timedelta(hours=2))
    gateways = Gateways(account.database, account.settings, BillingHooks())
    async with account.database.session(account.scope, clock=clock) as session:
        await reconcile(session, gateways, clock.now())
    assert await collect_due(account.database, account.scope, gateways, clock) == {}


class Walk:
    """One kind of request: undisturbed first, then killed at a commit, each time in books of its own."""

    def __init__(self, deployment: Deployment, prepare: Kind) -> None:
        self.deployment, self.prepare = deployment, prepare
        self.undisturbed = httpx.Response(500)
        self.books: dict[str, int] = {}
        self._victim, self._port = 0, 0

    async def undisturbed_commits(self) -> int:
        """Send the request with nothing killed: how many commits it makes that write."""
        await self._start_victim()
        request, before = await self.prepare(self.deployment), self.deployment.counts()
        self.deployment.relay.arm(self._victim, 0)
        self.undisturbed = await self.deployment.send(request, uuid.uuid4().hex, self._port)
        refused = self.prepare.__name__.endswith("refused")
        assert (self.undisturbed.status_code >= 400) is refused, self.undisturbed.text
        self.books = grown(before, self.deployment.counts())
        return self.deployment.relay.commits

    async def kill(self, number: int, *, before: bool) -> None:
        """Kill at a commit, repeat twice, and compare."""
        where = f"killed {'before' if before else 'after'} commit {number}"
        deployment, relay = self.deployment, self.deployment.relay
        request, key = await self.prepare(deployment), uuid.uuid4().hex
        counts = deployment.counts()
        relay.arm(self._victim, number, before=before)
        try:
            answer = await deployment.send(request, key, self._port)
        except httpx.TransportError:
            await asyncio.wait_for(relay.killed.wait(), PATIENCE_SECONDS)
        else:
            # the one more that was counted was not the request's own, such as the note of when a key was last used
            assert relay.commits < number > 1, f"{where}: {answer.text}"
            relay.arm(self._victim, 0)
            return
        starting = asyncio.create_task(self._start_victim())
        try:
            repeated = await self._repeat(request, key, where)
            books, wanted = grown(counts, deployment.counts()), self.books
            if not request.keyed or request.runs_duties:
                books, wanted = _money_of(books), _money_of(wanted)
            assert books == wanted, f"{where}; the repeat was answered {repeated.status_code} {repeated.text}"
        finally:
            await starting

    async def _repeat(self, request: Request, key: str, where: str) -> httpx.Response:
        """Send the request again, twice; without a key, let the next run do what was left. The first answer."""
        answer = await self.deployment.repeat(request, key)
        again = await self.deployment.send(request, key)
        if not request.keyed:
            assert answer.status_code < 500, f"{where}: {answer.text}"
            await let_the_next_run_collect(self.deployment)
            return answer
        assert alike(answer) == alike(self.undisturbed), f"{where}: {first_difference(answer, self.undisturbed)}"
        assert (again.status_code, again.content) == (answer.status_code, answer.content), where
        return answer

    async def _start_victim(self) -> None:
        self._victim, self._port = await self.deployment.group.start(str(self.deployment.relay.folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    "prepare",
    [*EVERY_KIND, *CHECKOUTS] if EVERY_COMMIT else IN_EVERY_RUN,
    ids=lambda prepare: prepare.__name__.replace("_", " "),
)
async def test_a_repeat_after_a_kill_finishes_and_answers_the_same(deployment: Deployment, prepare: Kind) -> None:
    walk = Walk(deployment, prepare)
    commits = await walk.undisturbed_commits()
    assert commits >= 1
    for number, before in kills(commits):
        await walk.kill(number, before=before)


async def test_killed_while_its_answer_cannot_be_stored_a_subscription_is_made_once(deployment: Deployment) -> None:
    victim, port = await deployment.group.start(str(deployment.relay.folder))
    deployment.relay.arm(victim, 0)
    request, key = await a_subscription(deployment), uuid.uuid4().hex
    async with await psycopg.AsyncConnection.connect(deployment.administration) as holder:
        await holder.execute("LOCK TABLE idempotent_responses IN SHARE MODE")
        sending = asyncio.create_task(deployment.send(request, key, port))
        await _somebody_waits(deployment)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            await sending
    answer = await deployment.repeat(request, key)
    assert answer.status_code == 201
    customer = {"customer_id": request.body["customer_id"]}
    for path in ("/subscriptions/search", "/invoices/search"):
        assert len((await deployment.post(path, customer))["items"]) == 1


async def _somebody_waits(deployment: Deployment) -> None:
    """Until a statement waits for the table of keys."""
    waiting = sql.SQL("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'idempotent_responses'::regclass")
    async with await psycopg.AsyncConnection.connect(deployment.administration, autocommit=True) as watcher:
        for _ in range(600):
            if (await (await watcher.execute(waiting)).fetchone()) != (0,):
                return
            await asyncio.sleep(0.05)
    raise AssertionError("nobody stored anything for the key within half a minute")
