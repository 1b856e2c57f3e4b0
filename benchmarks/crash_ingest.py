"""Killing the service while events come in: `python -m benchmarks.crash_ingest 200`.

Each round starts the service on the same data folder, sends events from several clients, kills the server or its
PostgreSQL with SIGKILL at a random moment, and after the next start holds the store against what was acknowledged:
every acknowledged event is there, nothing is there that was not sent, and each counts exactly once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.harness import Service, service

CLIENTS = 6
BATCH = 25
LONGEST_ROUND_SECONDS = 1.0


@dataclass(slots=True)
class Ledger:
    """What clients know: ids that were acknowledged, and ids whose answer never came."""

    acknowledged: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)


class Broken(AssertionError):
    """The store is not what was promised."""


def crash_rounds(folder: Path, rounds: int, seed: int = 1) -> Ledger:
    """Run `rounds` rounds; every second one kills PostgreSQL first. Raises Broken."""
    chance = random.Random(seed)
    ledger = Ledger()
    for number in range(rounds):
        with service(folder, FARTHING_WORKER="false") as running:
            check(running, ledger)
            asyncio.run(_round(running, ledger, chance, database_first=number % 2 == 1))
    with service(folder, FARTHING_WORKER="false") as running:
        check(running, ledger)
        # whoever got no answer sends again, and then everything is there once
        asyncio.run(_send_again(running, ledger))
        check(running, ledger)
        if ledger.unanswered:
            raise Broken(f"{len(ledger.unanswered)} events could not be sent again")
    return ledger


def check(running: Service, ledger: Ledger) -> None:
    """Hold the store against the ledger."""
    with psycopg.connect(running.admin_url) as connection:
        stored = {row[0] for row in connection.execute("SELECT id FROM events")}
        counted: Any = connection.execute("SELECT count(*), count(DISTINCT sequence), sum(quantity) FROM meter_usage")
        rows, distinct, total = counted.fetchone()
    if missing := ledger.acknowledged - stored:
        raise Broken(f"{len(missing)} acknowledged events are lost, for example {min(missing)}")
    if foreign := stored - ledger.acknowledged - ledger.unanswered:
        raise Broken(f"{len(foreign)} stored events were never sent, for example {min(foreign)}")
    if not (rows == distinct == len(stored) == (total or 0)):
        raise Broken(f"{len(stored)} events have {rows} usage rows that sum to {total}")


async def _round(running: Service, ledger: Ledger, chance: random.Random, *, database_first: bool) -> None:
    async with running.client() as client:
        await _meter(client)
        clients = [asyncio.create_task(_client(client, ledger, random.Random(chance.random()))) for _ in range(CLIENTS)]
        await asyncio.sleep(chance.uniform(0.1, LONGEST_ROUND_SECONDS))
        postmaster = _postmaster(running)
        if database_first:
            os.kill(postmaster, signal.SIGKILL)
            await asyncio.sleep(0.05)
        os.kill(running.process.pid, signal.SIGKILL)
        await asyncio.gather(*clients)
        running.process.wait()
        await _buried(postmaster)


async def _buried(process_id: int) -> None:
    """A killed process keeps its number until its parent takes note; PostgreSQL takes it for alive till then."""
    for _ in range(600):
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.05)


async def _meter(client: httpx.AsyncClient) -> None:
    listed = await client.get("/meters")
    if not listed.json()["items"]:
        aggregation = {"type": "SUM", "field": "x"}
        body = {"name": "x", "event_name": "call", "aggregation": aggregation, "reset_usage": "BILLING_PERIOD"}
        (await client.post("/meters", json=body)).raise_for_status()


async def _client(client: httpx.AsyncClient, ledger: Ledger, chance: random.Random) -> None:
    """Send batches, single events and events that were sent before, until the service is gone."""
    while True:
        ids = [uuid.UUID(int=chance.getrandbits(128)).hex for _ in range(chance.choice([1, BATCH]))]
        if len(ids) > 1:
            # and some that were sent before, answered and not
            ids += [*islice(ledger.unanswered, 5), *islice(ledger.acknowledged, 5)]
        if not await _sent(client, ledger, list(dict.fromkeys(ids))):
            return


async def _send_again(running: Service, ledger: Ledger) -> None:
    async with running.client() as client:
        ids = sorted(ledger.unanswered)
        for start in range(0, len(ids), 1000):
            await _sent(client, ledger, ids[start : start + 1000])


async def _sent(client: httpx.AsyncClient, ledger: Ledger, ids: list[str]) -> bool:
    """Whether a request was acknowledged; until then its new ids may be stored or not."""
    events = [
        {
            "event_name": "call",
            "external_customer_id": f"c{one[0]}",
            "event_id": one,
            "timestamp": "2025-01-01T00:00:00Z",
            "properties": {"x": 1},
        }
        for one in ids
    ]
    ledger.unanswered |= set(ids) - ledger.acknowledged
    try:
        if len(events) == 1:
            answer = await client.post("/events", json=events[0])
        else:
            answer = await client.post("/events/bulk", json={"events": events})
    except httpx.HTTPError:
        return False
    if answer.status_code == 202:
        ledger.acknowledged |= set(ids)
        ledger.unanswered -= set(ids)
        return True
    if answer.status_code < 500:
        raise Broken(f"{answer.status_code} {answer.text}")
    return False


def _postmaster(running: Service) -> int:
    return int((running.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory(prefix="farthing-crash-") as folder:
        ledger = crash_rounds(Path(folder), rounds)
    print(f"{rounds} crashes: {len(ledger.acknowledged):,} acknowledged events, each there and counted once")


if __name__ == "__main__":
    main()
