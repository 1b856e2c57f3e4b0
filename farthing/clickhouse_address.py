"""Where a ClickHouse is: what `FARTHING_EVENTS_URL` says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PLAIN, SECURE, IN_PROCESS = "clickhouse", "clickhouses", "chdb"
_PORTS = {PLAIN: 8123, SECURE: 8443}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class BadAddress(ValueError):
    """A text that names no ClickHouse; the message says what would."""


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """A server and a database there, or a folder in which this process is the server itself.

    `cluster` names the cluster on which tables are made, "" for a single server.
    """

    database: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    is_secure: bool = False
    folder: str = ""
    cluster: str = ""

    def __str__(self) -> str:
        """Where it is, without who may enter."""
        if self.folder:
            return f"{IN_PROCESS}://{self.folder}"
        scheme = SECURE if self.is_secure else PLAIN
        return f"{scheme}://{self.host}:{self.port}/{self.database}"


def read_address(url: str, cluster: str = "") -> ClickHouseAddress:
    """The address that a URL gives: clickhouse(s)://user:secret@host:port/database or chdb:///folder.

    Raises BadAddress.
    """
    if cluster and not _NAME.fullmatch(cluster):
        raise BadAddress(f"the cluster '{cluster}' must be a name of letters, digits and underscores")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"must look like clickhouse://user:secret@host:8123/database: {error}") from error
    if parts.scheme == IN_PROCESS:
        return _in_process(parts.netloc, unquote(parts.path), cluster)
    if parts.scheme not in _PORTS:
        raise BadAddress("must begin with clickhouse://, clickhouses:// or chdb:///")
    database = unquote(parts.path.removeprefix("/"))
    if not parts.hostname:
        raise BadAddress("must name a host, as in clickhouse://user:secret@host:8123/database")
    if not _NAME.fullmatch(database):
        raise BadAddress("must end with the name of a database, of letters, digits and underscores")
    if parts.query or parts.fragment:
        raise BadAddress("must end with the name of a database; it takes no parameters")
    return ClickHouseAddress(
        database,
        parts.hostname,
        port or _PORTS[parts.scheme],
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
        is_secure=parts.scheme == SECURE,
        cluster=cluster,
    )


def _in_process(host: str, folder: str, cluster: str) -> ClickHouseAddress:
    if host or not folder.strip("/"):
        raise BadAddress("must name a folder by its whole path, as in chdb:///var/lib/farthing/events")
    if cluster:
        raise BadAddress("is one process, which is no part of a cluster")
    return ClickHouseAddress("farthing", folder=folder)
