"""A comparison that finds nothing proves something only if it finds what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.judging.comparison import Comparison
from benchmarks.chaos.traffic.catalogue import Tenant
from benchmarks.chaos.traffic.client import Client, open_http
from benchmarks.chaos.traffic.ledger import Entry, Kind, Ledger, State

_EVENT = """
    INSERT INTO events (environment_id, id, sequence, timestamp, ingested_at, external_customer_id, event_name,
        customer_id, source, properties)
    VALUES ('env_1', %s, 1, now(), now(), 'acme', 'used', '', '', '{"x": 7}')
"""


@pytest.fixture
def admin(new_database: Callable[..., str], sockets: str) -> Iterator[psycopg.Connection[Any]]:
    name = make_url(new_database()).database
    with psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True) as connection:
        yield connection


async def compare(ledger: Ledger, admin: psycopg.Connection[Any]) -> tuple[Comparison, Findings]:
    """A comparison of `ledger` with a database that no service uses."""
    findings = Findings()
    async with open_http("http://127.0.0.1:9", "sk_nobody") as http:
        comparison = Comparison(ledger, admin, Tenant(Client(http), "env_1", "meter_1", "plan_1", "plan_2"), findings)
        await comparison.run()
    return comparison, findings


def entry(kind: Kind, state: State, **details: Any) -> Entry:
    return Entry(kind, f"{kind}-1", details, state=state, made_id="made_1")


def every_kind(state: State) -> Ledger:
    ledger = Ledger()
    for example in (
        entry(Kind.EVENT, state, customer="acme", value=7),
        entry(Kind.CUSTOMER, state),
        entry(Kind.INVOICE, state, total=Decimal(10), customer_id="cust_1", is_clocked=True),
        entry(Kind.PAYMENT, state, amount=Decimal(1), invoice_id="inv_1"),
        entry(Kind.SUBSCRIPTION, state, customer_id="cust_1", is_clocked=True),
        entry(Kind.PLAN_CHANGE, state, subscription_id="subs_1", plan_id="plan_2"),
        entry(Kind.CLOCK_MOVE, state, target=datetime(2025, 2, 1, tzinfo=UTC)),
    ):
        ledger.record(example)
    return ledger


async def test_what_was_acknowledged_and_is_not_there_is_lost(admin: psycopg.Connection[Any]) -> None:
    comparison, findings = await compare(every_kind(State.ACKNOWLEDGED), admin)
    everything = {Kind.EVENT, Kind.CUSTOMER, Kind.INVOICE, Kind.PAYMENT, Kind.SUBSCRIPTION, Kind.PLAN_CHANGE}
    assert set(comparison.tally.lost) == {*everything, Kind.CLOCK_MOVE}
    assert findings.count(Defect.LOST) == len(findings.found) >= 7


async def test_what_got_no_answer_may_be_missing(admin: psycopg.Connection[Any]) -> None:
    _, findings = await compare(every_kind(State.SENT), admin)
    assert findings.found == []


async def test_an_event_that_nobody_sent_or_that_counts_for_nothing_is_found(admin: psycopg.Connection[Any]) -> None:
    admin.execute(_EVENT, ["foreign"])
    comparison, _ = await compare(Ledger(), admin)
    assert comparison.tally.doubled == {Kind.EVENT: 1}
    assert comparison.tally.different == 1, "it has no usage"


async def test_an_event_with_other_content_is_lost(admin: psycopg.Connection[Any]) -> None:
    ledger = Ledger()
    ledger.record(entry(Kind.EVENT, State.ACKNOWLEDGED, customer="acme", value=8))
    admin.execute(_EVENT, ["events-1"])
    comparison, _ = await compare(ledger, admin)
    assert comparison.tally.lost == {Kind.EVENT: 1}
