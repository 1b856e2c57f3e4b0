"""Whether PostgreSQL grants the connections that a process wants; pools are made to fit, or the start is refused.

A pool that is larger than what the server grants fails in the middle of the day, for whoever comes last. What is wanted
is therefore compared with what can be had before anything starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from farthing.storage.connections.hot_reads import HOT_READS
from farthing.storage.postgres import OVERFLOW, UnsafeDatabase

INGEST = 3
LISTENER = 1
HEALTH = 1
JOBS = 9
"""Two that fetch jobs and look after the queue, three that listen for new ones, one for each of four runs at once."""
OTHERS = 40
"""What an embedded PostgreSQL grants besides: to commands, to many runs at once, to processes being replaced."""
LEAST_POOL = 2
LEAST_HOT_READS = 1


@dataclass(frozen=True, slots=True)
class Demand:
    """The most connections a process opens, by what for."""

    pool: int
    overflow: int = OVERFLOW
    hot_reads: int = HOT_READS
    fixed: int = INGEST + LISTENER + HEALTH
    """What cannot be had in part: ingest, notices, health, and jobs where the process works on them."""

    @property
    def total(self) -> int:
        return self.pool + self.overflow + self.hot_reads + self.fixed

    @property
    def least(self) -> int:
        """With fewer the process cannot do its work."""
        return LEAST_POOL + LEAST_HOT_READS + self.fixed


def demand_of(pool_size: int, *, works: bool) -> Demand:
    """What one process that serves wants; `works`: whether it works on jobs too."""
    return Demand(pool_size, fixed=INGEST + LISTENER + HEALTH + (JOBS if works else 0))


@dataclass(frozen=True, slots=True)
class ConnectionGrant:
    """What the server grants this role, and how much of it others hold already."""

    most: int
    limited_by: str
    in_use: int

    @property
    def free(self) -> int:
        return max(0, self.most - self.in_use)


_SERVER = """
    SELECT current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0),
           role.rolconnlimit, base.datconnlimit,
           count(activity.pid), count(activity.pid) FILTER (WHERE activity.usesysid = role.oid),
           count(activity.pid) FILTER (WHERE activity.datid = base.oid)
    FROM pg_roles AS role
    JOIN pg_database AS base ON base.datname = current_database()
    LEFT JOIN pg_stat_activity AS activity
           ON activity.usesysid IS NOT NULL AND activity.datid IS NOT NULL AND activity.pid <> pg_backend_pid()
    WHERE role.rolname = current_user
    GROUP BY role.rolconnlimit, base.datconnlimit
"""


def granted(url: str) -> ConnectionGrant:
    """What can be had now: the tightest of the server's, the role's and the database's limit."""
    try:
        with psycopg.connect(url, connect_timeout=10, application_name="farthing") as connection:
            row = connection.execute(_SERVER).fetchone()
    except psycopg.OperationalError as error:
        if "too many" in str(error) or "remaining connection slots" in str(error):
            raise TooFewConnections(
                "PostgreSQL has no free connection; raise max_connections, or stop what uses it"
            ) from error
        raise
    assert row is not None
    server, role, database, all_in_use, of_role, of_database = row
    grants = [ConnectionGrant(server, "max_connections less what is reserved", all_in_use)]
    if role >= 0:
        grants.append(ConnectionGrant(role, "the role's CONNECTION LIMIT", of_role))
    if database >= 0:
        grants.append(ConnectionGrant(database, "the database's CONNECTION LIMIT", of_database))
    return min(grants, key=lambda grant: grant.free)


class TooFewConnections(UnsafeDatabase):
    """The server does not grant what the process needs at least; the message says what to set."""


def fitted(demand: Demand, grant: ConnectionGrant) -> Demand:
    """The demand, made smaller where the server grants less. Raises TooFewConnections below the least."""
    if demand.total <= grant.free:
        return demand
    if demand.least > grant.free:
        raise TooFewConnections(shortage(demand, grant))
    spare = grant.free - demand.least
    pool = min(demand.pool - LEAST_POOL, -(-spare * 2 // 3))
    hot_reads = min(demand.hot_reads - LEAST_HOT_READS, spare - pool)
    overflow = min(demand.overflow, spare - pool - hot_reads)
    return replace(demand, pool=LEAST_POOL + pool, hot_reads=LEAST_HOT_READS + hot_reads, overflow=overflow)


def fitted_together(demands: Sequence[Demand], grant: ConnectionGrant) -> list[Demand]:
    """The demands of processes that serve together, each made smaller in proportion where the server grants less.

    Raises TooFewConnections where they cannot all have the least they need.
    """
    wanted, least = sum(demand.total for demand in demands), sum(demand.least for demand in demands)
    if wanted <= grant.free:
        return list(demands)
    if least > grant.free:
        raise TooFewConnections(
            f"PostgreSQL grants {grant.most} connections ({grant.limited_by}), of which {grant.in_use} are in use; "
            f"{len(demands)} processes want {wanted} and need at least {least}. "
            f"Raise that limit by {wanted - grant.free}, or set fewer processes (FARTHING_PROCESSES)"
        )
    spare = grant.free - least
    parts = [demand.least + spare * (demand.total - demand.least) // (wanted - least) for demand in demands]
    return [fitted(demand, replace(grant, most=part, in_use=0)) for demand, part in zip(demands, parts, strict=True)]


def shortage(demand: Demand, grant: ConnectionGrant) -> str:
    """What is wanted, what is granted, and what to set."""
    return (
        f"PostgreSQL grants {grant.most} connections ({grant.limited_by}), of which {grant.in_use} are in use; "
        f"this process wants {demand.total} and needs at least {demand.least}. "
        f"Raise that limit by {demand.total - grant.free}, lower FARTHING_POOL_SIZE (now {demand.pool}), "
        "or run fewer processes"
    )
