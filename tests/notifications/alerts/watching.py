"""What tests of alerts look at: the log, the events, and the looks that are due."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from farthing.credits.wallets.evaluation import evaluate_due as evaluate_wallets
from farthing.notifications.alerts.evaluation import evaluate_due, schedule
from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.billing.office import Office
from tests.notifications.test_payloads import unknown_fields


def level(threshold: str, condition: str = "below") -> dict[str, str]:
    return {"threshold": threshold, "condition": condition}


WATCHED = {"alert_enabled": True, "critical": level("0"), "warning": level("100"), "info": level("200")}


def above(critical: str, **levels: str) -> dict[str, Any]:
    """Settings of spend that are on."""
    thresholds = {name: level(threshold, "above") for name, threshold in levels.items()}
    return {"alert_enabled": True, "critical": level(critical, "above"), **thresholds}


async def alerts(account: Account, **wanted: Any) -> list[dict[str, Any]]:
    """The log, oldest first."""
    page = await account.post("/alerts/search", {"limit": 1000, **wanted}, expect=200)
    rows: list[dict[str, Any]] = page["items"][::-1]
    return rows


async def states(account: Account, alert_type: str, **wanted: Any) -> list[str]:
    rows = await alerts(account, alert_type=alert_type, **wanted)
    return [row["alert_status"] for row in rows]


async def events(account: Account, prefix: str) -> list[dict[str, Any]]:
    """The bodies of the events whose names begin so, in their order; each has the shape of the catalogue."""
    async with account.transaction() as session:
        query = select(SystemEvent).where(SystemEvent.event_name.startswith(prefix))
        recorded = (await session.scalars(query.order_by(SystemEvent.position))).all()
    for event in recorded:
        payload = EVENTS[event.event_name].payload
        msgspec.convert(event.payload, payload)
        assert unknown_fields(event.payload, payload) == [], event.event_name
    return [event.payload or {} for event in recorded]


async def names(account: Account, prefix: str) -> list[str]:
    return [body["event_type"] for body in await events(account, prefix)]


async def look_at_usage(office: Office, moment: str = "") -> int:
    """Do the looks at new usage that are due; how many customers were looked at."""
    if moment:
        await office.on(moment)
    await _repeat(office, schedule)
    return await _repeat(office, evaluate_due)


async def look_at_wallets(office: Office, moment: str = "") -> int:
    """Do the looks at wallets that are due."""
    if moment:
        await office.on(moment)
    return await _repeat(office, evaluate_wallets)


async def _repeat(office: Office, work: Any) -> int:
    done = 0
    while True:
        async with office.transaction() as session:
            batch = await work(session, office.now)
        if not batch:
            return done
        done += batch
