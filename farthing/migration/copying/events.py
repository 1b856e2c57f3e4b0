"""Raw events, so that usage of the open periods is billed: appended as ingest appends them, by the ids that they have.

Rule: docs/rules/migration.md#events
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg

from farthing.core.caller import RequestTerms
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.events.ingest.arrivals import Arrival, Sender
from farthing.events.ingest.incoming import AcceptedTimes, IngestEventRequest, arrival_of
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.sequence import settle_in
from farthing.events.ingest.store import append
from farthing.events.usage.event_store import EventStore
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import RequestConfig
from farthing.migration.source.api import SourceApi, SourceFailed
from farthing.migration.source.fields import SourceRecord, fields_of
from farthing.storage.connections.liveness import KEEPALIVES
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

EVENTS = "events"
PAGE = 500
_SENDER = Sender(None, corrects_all=True)
_FIELDS = ("event_name", "external_customer_id", "customer_id", "timestamp", "source", "properties")


async def copy_events(
    database: Database,
    scope: Scope,
    source: SourceApi,
    since: datetime,
    until: datetime,
    refuse: Callable[[SourceRecord, str], None],
    report: Callable[[int], None],
) -> int:
    """Copy the events of `[since, until)`, and how many there were; `refuse` hears of those that cannot be stored.

    Copying them again changes nothing. Raises NotOffered, SourceFailed.
    """
    async with database.transaction(scope, read_only=True) as session:
        config = await current.read(session, RequestConfig)
    terms = RequestTerms(config.refuse_unknown_fields, config.earliest_event_time, config.event_years_ahead)
    times = AcceptedTimes.at(until, terms)
    memory, copied = MeterMemory(), 0
    store = database.ports.part(EventStore)
    async with await psycopg.AsyncConnection.connect(
        database.url,
        autocommit=True,
        connect_timeout=10,
        application_name=f"{database.application_name} migration",
        **KEEPALIVES,
    ) as connection:
        await settle_in(connection)
        cursor: dict[str, Any] = {}
        while True:
            asked = {"start_time": instant(since), "end_time": instant(until), "page_size": PAGE, **cursor}
            answer = await source.post("/events/query", asked)
            records = answer.get("events") or [] if isinstance(answer, dict) else None
            if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
                raise SourceFailed.of("url", "POST /events/query was answered with something else than events")
            arrivals = [
                arrival for record in records if (arrival := _arrival(record, until, times, refuse)) is not None
            ]
            if arrivals:
                await append(connection, scope, arrivals, memory, store.append_measured)
            copied += len(arrivals)
            report(len(records))
            if not records or not answer.get("has_more") or not answer.get("iter_last_key"):
                return copied
            if cursor == {"iter_last_key": answer["iter_last_key"]}:
                raise SourceFailed.of("url", "POST /events/query leads from a page of events to the same page")
            cursor = {"iter_last_key": answer["iter_last_key"]}


def _arrival(
    record: SourceRecord, now: datetime, times: AcceptedTimes, refuse: Callable[[SourceRecord, str], None]
) -> Arrival | None:
    body = {**fields_of(record, _FIELDS), "event_id": record.get("id") or record.get("event_id")}
    try:
        request = convert(body, IngestEventRequest, strict=False)
        return arrival_of(request, now, _SENDER, None, times)
    except ValidationFailed as error:
        refuse(record, "; ".join(f"{field_name} {why}" for field_name, why in error.details.items()))
        return None
