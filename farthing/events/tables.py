"""Tables of the event store.

`events` holds what was sent, once per id; `meter_usage` what each of it counts, once per event and matching meter.
Rows are many and indexes cost ingest dearly, so there are only those that a question or a promise needs. Neither
table has a foreign key: an event comes before its customer, and what it counts is replaced in its own transaction.

`sequence` is the order of acceptance (see `arrival`): greater for whatever was accepted later.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Integer, PrimaryKeyConstraint, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, InEnvironment, Quantity, Scoped


class StoredEvent(InEnvironment, Base):
    """The last accepted version of one event. `properties` keeps its numbers exactly."""

    __tablename__ = "events"
    label = "Event"

    # eight bytes each first: no padding
    sequence: Mapped[int] = mapped_column(BigInteger)
    timestamp: Mapped[datetime]
    ingested_at: Mapped[datetime]
    id: Mapped[str] = mapped_column(String(255))
    external_customer_id: Mapped[str] = mapped_column(String(255))
    event_name: Mapped[str] = mapped_column(String(255))
    customer_id: Mapped[str] = mapped_column(Text, default="")
    source: Mapped[str] = mapped_column(Text, default="")
    properties: Mapped[dict[str, Any]]
    owner_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """Where it first came in the order of acceptance, if it was sent again since: that decides whose it is."""
    sent_by: Mapped[int | None] = mapped_column(BigInteger)
    """Whose credential sent it, as a number (see `store.sender_named`); null for what was sent before it was kept."""

    __table_args__ = (
        # an event is its id within an environment; backfills walk it
        PrimaryKeyConstraint("environment_id", "id"),
        # the listing of an environment, newest first; retention, oldest first; monitoring
        Index("ix_events_time", "environment_id", "timestamp"),
        # the listing of a customer; analytics by property join what a customer's events say
        Index("ix_events_customer", "environment_id", "external_customer_id", "timestamp"),
    )


class WithdrawnEvent(InEnvironment, Base):
    """Where an event stood that was deleted, or sent again for another customer or time.

    What an invoice measured there then cannot be measured again, and this says why. Forgotten as the events are.
    """

    __tablename__ = "events_withdrawn"
    label = "Withdrawn event"

    id = None  # type: ignore[assignment]  # the id may be in use again
    sequence: Mapped[int] = mapped_column(BigInteger)
    """When it was withdrawn, in the order of acceptance."""
    timestamp: Mapped[datetime] = mapped_column()
    external_customer_id: Mapped[str] = mapped_column(String(255))

    __table_args__ = (
        # has anything of this customer and time been withdrawn since an invoice was computed?
        Index("ix_events_withdrawn_customer", "environment_id", "external_customer_id", "timestamp"),
        # retention takes the oldest
        Index("ix_events_withdrawn_timestamp", "environment_id", "timestamp"),
    )
    __mapper_args__ = {"primary_key": [sequence, external_customer_id, timestamp]}


class UsageNotice(InEnvironment, Base):
    """Whose events one append stored, for those who look at customers with new usage; see `events.upkeep.notices`.

    One small row for each append, so that nobody has to search the events for what came lately.
    """

    __tablename__ = "usage_notices"
    label = "Usage notice"

    id = None  # type: ignore[assignment]  # a row is its append
    sequence: Mapped[int] = mapped_column(BigInteger)
    """Where the append began in the order of acceptance."""
    arrived_at: Mapped[datetime]
    """When the first of its events came, by the environment's clock."""
    external_customer_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))

    __table_args__ = (
        # taken in the order of acceptance
        PrimaryKeyConstraint("environment_id", "sequence"),
    )


class MeterUsage(InEnvironment, Base):
    """What one event counts for one meter. Written with its event and removed with it."""

    __tablename__ = "meter_usage"
    label = "Meter usage"

    id = None  # type: ignore[assignment]  # a row is its event, seen by a meter
    sequence: Mapped[int] = mapped_column(BigInteger)
    """The event's own."""
    timestamp: Mapped[datetime]
    meter_id: Mapped[str] = mapped_column(String(50))
    external_customer_id: Mapped[str] = mapped_column(String(255))
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    key: Mapped[str] = mapped_column(Text, default="")
    """What a unique count tells apart, or the group of a grouped meter; else empty."""
    quantity_error: Mapped[str | None] = mapped_column(String(40))
    owner_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The event's own."""

    __table_args__ = (
        # a customer's usage of a meter over a time is one index-only range scan; and, because an event says where its
        # rows lie, the same index finds them when the event is replaced
        Index(
            "uq_meter_usage",
            "environment_id",
            "meter_id",
            "external_customer_id",
            "timestamp",
            "sequence",
            unique=True,
            postgresql_include=["quantity", "key"],
        ),
    )
    __mapper_args__ = {"primary_key": [sequence, meter_id]}


class MeterVersion(InEnvironment, Base):
    """Counts the changes of an environment's meters, kept by a trigger on them.

    Every append compares it with the meters it remembers, beneath a lock that a backfill waits for: see `store`.
    """

    __tablename__ = "meter_versions"
    label = "Meter version"

    id = None  # type: ignore[assignment]  # one row per environment
    version: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (PrimaryKeyConstraint("environment_id"),)


class MeterBackfill(Scoped, Base):
    """How far a new or widened meter has come through the events stored before it. Its id is the meter's.

    Asked for by a trigger on `meters`, so that no way of making a meter can forget it.
    """

    __tablename__ = "meter_backfills"
    label = "Backfill"

    id: Mapped[str] = mapped_column(String(50), ForeignKey("meters.id"), primary_key=True)
    event_name: Mapped[str] = mapped_column(String(255))
    requested_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    """When appends that did not know the meter had all ended; the walk begins after that."""
    finished_at: Mapped[datetime | None]
    finished_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """Where in the order of acceptance the last walk ended: what was measured before it may lack what it added. 0 for
    a meter's first walk, which invoices wait for; null until that has ended."""
    reached: Mapped[str] = mapped_column(String(255), default="")
    """The last event id visited, in the order of the key of `events`."""
    visited: Mapped[int] = mapped_column(BigInteger, default=0)
    metered: Mapped[int] = mapped_column(BigInteger, default=0)

    __table_args__ = (
        # what is left to do
        Index("ix_meter_backfills_open", "environment_id", "id", postgresql_where=text("finished_at IS NULL")),
    )


class PendingEventWrite(InEnvironment, Base):
    """A write to a store outside this database that was decided, and may not have reached it whole.

    Crossed out when it has; whoever finds one that nobody works on finishes it. See
    `events.stores.clickhouse.writes.pending`.
    """

    __tablename__ = "pending_event_writes"
    label = "Pending write of events"

    id = None  # type: ignore[assignment]  # a row is its write
    sequence: Mapped[int] = mapped_column(BigInteger)
    """Where the write stands in the order of acceptance; what an invoice reads ends before it."""
    content: Mapped[bytes]
    """Every row that it consists of."""

    __table_args__ = (
        # finished in the order of acceptance; the first one bounds the watermark
        PrimaryKeyConstraint("environment_id", "sequence"),
    )


HERE, MOVING = "here", "moving"
"""Ids of `EventStorePlace`: where events are, and where they are being moved to or from."""


class EventStorePlace(Base):
    """One row where events are not stored in this database: where they are. See `events.stores.place`.

    Every append reads it: without a row here, none stores events in this database that belong elsewhere.
    """

    __tablename__ = "event_store"
    label = "Event store"

    id: Mapped[str] = mapped_column(String(10), primary_key=True)
    address: Mapped[str] = mapped_column(Text)
    """Where it was when it was first used, without who may enter."""
    token: Mapped[str] = mapped_column(String(40))
    """What the store itself says that it is, so that no other is taken for it."""
    reached: Mapped[str] = mapped_column(Text, default="", server_default="")
    """How far a move of the events has come, as JSON."""


class EventArrival(Base):
    """One row: which cluster the database lives in, and how often it moved to another. See `arrival`."""

    __tablename__ = "event_arrival"
    label = "Event arrival"

    id: Mapped[str] = mapped_column(String(10), primary_key=True)
    cluster: Mapped[int] = mapped_column(BigInteger)
    moves: Mapped[int] = mapped_column(Integer, default=0)
