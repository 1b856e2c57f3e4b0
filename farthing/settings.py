"""Configuration: `FARTHING_*` environment variables, read once, checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from farthing import secret_file
from farthing.clickhouse_address import BadAddress, read_address
from farthing.mail_server import MailServer, UnusableMailServer, mail_server
from farthing.storage.connections.timeouts import Timeouts

PREFIX = "FARTHING_"
OF_CLIENTS = frozenset({"FARTHING_URL", "FARTHING_KEY"})
"""Variables with the prefix that are no settings: they say which deployment `farthing mcp` asks, and with which key."""
DEFAULT_TENANT_NAME = "Farthing"
"""What a company is called that nobody named."""


FIXED_IN_POSTGRES = frozenset(
    {
        *("config_file", "data_directory", "external_pid_file", "hba_file", "ident_file"),
        *("listen_addresses", "port", "unix_socket_directories", "unix_socket_group", "unix_socket_permissions"),
        *("archive_command", "archive_library", "archive_mode", "wal_level"),
        *("fsync", "full_page_writes", "synchronous_commit"),
    }
)
"""What the embedded PostgreSQL must have as we have it: where it is found, and that what was answered is on disk."""


class BadSettings(ValueError):
    """The configuration cannot be used; the message names each variable and what would be right."""


class OperatorKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the deployment rather than of the database."""

    tenant_id: str
    user_id: str
    name: str
    is_active: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings; each field is the variable of its name in capitals, with the prefix."""

    database_url: str | None = None
    """Any PostgreSQL 15+; without it an embedded one runs in the data folder."""
    events_url: str | None = None
    """A ClickHouse that stores the events; without it PostgreSQL does."""
    events_cluster: str | None = None
    """The cluster of that ClickHouse on which the tables are made."""
    data_dir: str = "farthing-data"
    wal_archive_dir: str | None = None
    """Where the embedded PostgreSQL copies its write-ahead log to, for recovery to a point in time."""
    postgres_settings: str | None = None
    """JSON object: settings of the embedded PostgreSQL in place of those that suit the machine and the data."""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    processes: Annotated[int, Meta(ge=0, le=64)] = 0
    """How many processes `serve` answers with; 0 is as many as suit this machine."""
    secret_key: str | None = None
    """Master key of hashes, tokens and stored credentials; embedded, a random one is kept in the data folder."""
    secret_key_previous: str | None = None
    """The master key before a rotation, for as long as it is accepted."""
    trusted_proxies: str | None = None
    """Networks, separated by commas, whose `forwarded_header` is believed; nobody else's is."""
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """The header in which the trusted proxies say whom they speak for."""
    bootstrap_api_key: Annotated[str, Meta(min_length=20, max_length=200)] | None = None
    api_key_header: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$")] = "x-api-key"
    cors_origins: str = "*"
    rate_limit_per_second: Annotated[float, Meta(ge=0)] = 0
    rate_limit_burst: Annotated[int, Meta(ge=1)] = 100
    signup_enabled: bool = True
    default_tenant_name: str = DEFAULT_TENANT_NAME
    pool_size: Annotated[int, Meta(ge=2, le=500)] = 20
    tenant_connections: Annotated[int, Meta(ge=0, le=500)] = 0
    """The most connections that requests of one tenant hold at once; 0 is a third of all."""
    connection_wait_seconds: Annotated[float, Meta(gt=0, le=600)] = 10
    """How long a request waits for one of them before it is answered with 503."""
    lock_timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 5
    statement_timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 30
    idle_transaction_timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 60
    worker_lock_timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 60
    worker_statement_timeout_seconds: Annotated[float, Meta(gt=0, le=86400)] = 3600
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    access_log: bool = True
    worker: bool = True
    """Whether `serve` also works on jobs; `farthing worker` always does."""
    worker_processes: Annotated[int, Meta(ge=1, le=16)] = 1
    """How many processes work on jobs beside several that answer; they share a long billing run."""
    stalled_job_seconds: Annotated[float, Meta(ge=3, le=30)] = 30
    """How long a worker may give no sign of life before others take up what it has in hand."""
    event_retention_days: Annotated[int, Meta(ge=0)] = 0
    """How long events are kept; 0 keeps them for ever. What an open period or a draft needs is kept in any case."""
    operator_keys: str | None = None
    """JSON object: hex SHA-256 of a key to {tenant_id, user_id, name, is_active}."""
    environment_access: str | None = None
    """JSON object: tenant to user to the list of environments the user may enter."""
    fx_url: Annotated[str, Meta(pattern="^https?://", max_length=2000)] | None = None
    """Where a file of euro reference rates is fetched from once a day; without it nothing is fetched."""
    provider_urls: str | None = None
    """JSON object: payment provider to the address of its API, in place of the provider's own."""
    publishable_keys_full_access: bool = False
    strict_external_ids: bool = False
    portal_url: str | None = None
    portal_session_seconds: int = 3600
    webhook_allow_private: bool = False
    """Whether webhooks may go to private hosts and over plain HTTP; to cloud metadata addresses they never do."""
    transfer_allow_private: bool = False
    """Whether imports may be fetched from, and exports go to, private hosts and over plain HTTP; to cloud metadata
    addresses they never do."""
    export_dir: str | None = None
    """The folder of exports to local connections; with an embedded PostgreSQL, `exports` in the data folder."""
    export_retention_days: Annotated[int, Meta(ge=0)] = 90
    """How long exported files stay in that folder; 0 keeps them for ever."""
    smtp_url: str | None = None
    """The mail server: smtp, smtps or smtp+starttls, with user and password where it asks for them."""
    mail_from: str | None = None
    """The address that mail is sent from."""
    mail_test_to: str | None = None
    """Where all mail of development environments goes; without it none leaves them."""
    billing_environment: str | None = None
    """The environment in which the host bills its own tenants; without it nobody bills them."""
    billing_plan: str | None = None
    """The plan, by its id or lookup key, on which tenants begin there."""
    billing_grace_days: Annotated[int, Meta(ge=0, le=3650)] = 14
    """How long a tenant may be overdue before it is suspended."""
    public_url: str | None = None
    """Where clients reach this deployment; used in links. Default: the address it listens on."""

    @property
    def embedded(self) -> bool:
        return self.database_url is None

    @property
    def export_folder(self) -> Path | None:
        """Where exports to local connections go; None in a deployment that has no such place."""
        if self.export_dir is not None:
            return Path(self.export_dir)
        return Path(self.data_dir) / "exports" if self.embedded else None

    @property
    def request_timeouts(self) -> Timeouts:
        """Limits of a request's transaction."""
        return Timeouts(
            self.lock_timeout_seconds, self.statement_timeout_seconds, self.idle_transaction_timeout_seconds
        )

    @property
    def worker_timeouts(self) -> Timeouts:
        """Limits of a transaction of a duty or a command."""
        statement_seconds = self.worker_statement_timeout_seconds
        return Timeouts(self.worker_lock_timeout_seconds, statement_seconds, idle_seconds=statement_seconds)

    @property
    def origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    @property
    def base_url(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    def operators(self) -> dict[str, OperatorKey]:
        """Operator keys by the hash they present."""
        return msgspec.json.decode(self.operator_keys or "{}", type=dict[str, OperatorKey])

    def environments_by_user(self) -> dict[str, dict[str, list[str]]]:
        """Tenant to user to environments; who is not listed may enter all."""
        return msgspec.json.decode(self.environment_access or "{}", type=dict[str, dict[str, list[str]]])

    def embedded_settings(self) -> dict[str, str]:
        """Settings of the embedded PostgreSQL that the operator chose. Raises ValueError."""
        kind = dict[Annotated[str, Meta(pattern="^[a-z_]+$")], str | int | float | bool]
        given = msgspec.json.decode(self.postgres_settings or "{}", type=kind)
        if fixed := sorted(FIXED_IN_POSTGRES & given.keys()):
            raise ValueError(f"{', '.join(fixed)} cannot be set")
        return {name: _postgres_value(value) for name, value in given.items()}

    def provider_api_urls(self) -> dict[str, str]:
        """Addresses of payment providers' APIs that are not the providers' own. Raises ValueError."""
        urls = msgspec.json.decode(self.provider_urls or "{}", type=dict[str, str])
        for name, url in urls.items():
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"the address of {name} must be an http or https URL")
        return {name: url.rstrip("/") for name, url in urls.items()}

    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks of trusted proxies. Raises ValueError for a text that is no network."""
        return [ip_network(text.strip()) for text in (self.trusted_proxies or "").split(",") if text.strip()]

    def mail_server(self) -> MailServer | None:
        """Where mail is handed in; None in a deployment without mail. Raises UnusableMailServer."""
        return mail_server(self.smtp_url, self.mail_from, self.mail_test_to)

    def master_key(self) -> str:
        """The secret everything else is derived from. Raises UnusableSecretKey."""
        return self.secret_key if self.secret_key is not None else secret_file.read(Path(self.data_dir))

    def previous_master_key(self) -> str | None:
        """The secret before the last rotation, if it is still at hand. Raises UnusableSecretKey."""
        if self.secret_key is not None:
            return self.secret_key_previous
        return secret_file.read_if_there(Path(self.data_dir) / secret_file.PREVIOUS)


def _postgres_value(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def load(environ: Mapping[str, str], **given: object) -> Settings:
    """Settings from environment variables, overlaid with what the command line gave. Raises BadSettings."""
    fields = set(Settings.__struct_fields__)
    values: dict[str, object] = {}
    problems: list[str] = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in OF_CLIENTS or text == "":
            continue
        field = name.removeprefix(PREFIX).lower()
        if field in fields:
            values[field] = text
        else:
            problems.append(f"{name} is not a setting")
    values.update({name: value for name, value in given.items() if value is not None})
    for field, value in values.items():
        try:
            msgspec.convert({field: value}, Settings, strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{PREFIX}{field.upper()}: {str(error).split(' - at')[0]}")
    if problems:
        raise BadSettings("; ".join(sorted(problems)))
    settings = msgspec.convert(values, Settings, strict=False)
    _cross_check(settings)
    return settings


def _cross_check(settings: Settings) -> None:
    if settings.database_url is not None:
        if not settings.database_url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            raise BadSettings("FARTHING_DATABASE_URL must be a postgresql:// URL")
        _check_url(settings.database_url)
        if settings.secret_key is None:
            raise BadSettings("FARTHING_SECRET_KEY is required with FARTHING_DATABASE_URL: all processes must share it")
    if settings.postgres_settings is not None and settings.database_url is not None:
        raise BadSettings(
            "FARTHING_POSTGRES_SETTINGS is for the embedded PostgreSQL; with FARTHING_DATABASE_URL, set up that server"
        )
    if settings.wal_archive_dir is not None:
        if settings.database_url is not None:
            raise BadSettings(
                "FARTHING_WAL_ARCHIVE_DIR is for the embedded PostgreSQL; with FARTHING_DATABASE_URL, "
                "set archive_command of that server"
            )
        if not settings.wal_archive_dir.isprintable():
            raise BadSettings("FARTHING_WAL_ARCHIVE_DIR must be a path without control characters")
    _check_master_keys(settings)
    _check_event_store(settings)
    try:
        settings.proxies()
    except ValueError as error:
        raise BadSettings(f"FARTHING_TRUSTED_PROXIES must be networks such as 10.0.0.0/8: {error}") from error
    try:
        settings.mail_server()
    except UnusableMailServer as error:
        raise BadSettings(str(error)) from error
    if settings.bootstrap_api_key is not None and not settings.bootstrap_api_key.startswith("sk_"):
        raise BadSettings("FARTHING_BOOTSTRAP_API_KEY must start with sk_")
    for name, read in (
        ("OPERATOR_KEYS", settings.operators),
        ("ENVIRONMENT_ACCESS", settings.environments_by_user),
        ("PROVIDER_URLS", settings.provider_api_urls),
        ("POSTGRES_SETTINGS", settings.embedded_settings),
    ):
        try:
            read()
        except ValueError as error:
            raise BadSettings(f"FARTHING_{name} is not the JSON it should be: {error}") from error


def _check_url(url: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError) as error:
        raise BadSettings(
            "FARTHING_DATABASE_URL must look like postgresql://role:password@host:5432/database; "
            "write characters such as @, : and / of a password as %40, %3A and %2F"
        ) from error


def _check_event_store(settings: Settings) -> None:
    if settings.events_url is None:
        if settings.events_cluster is not None:
            raise BadSettings("FARTHING_EVENTS_CLUSTER needs FARTHING_EVENTS_URL: it is a cluster of that ClickHouse")
        return
    try:
        address = read_address(settings.events_url, settings.events_cluster or "")
    except BadAddress as error:
        raise BadSettings(f"FARTHING_EVENTS_URL {error}") from error
    if address.folder and settings.processes != 1:
        raise BadSettings("FARTHING_EVENTS_URL is one process with chdb:///, so FARTHING_PROCESSES must be 1")


def _check_master_keys(settings: Settings) -> None:
    for name, key in (("SECRET_KEY", settings.secret_key), ("SECRET_KEY_PREVIOUS", settings.secret_key_previous)):
        if key is not None and len(key.strip()) < secret_file.SHORTEST_CONFIGURED:
            raise BadSettings(f"FARTHING_{name} must have at least {secret_file.SHORTEST_CONFIGURED} characters")
    if settings.secret_key is None and settings.secret_key_previous is not None:
        raise BadSettings("FARTHING_SECRET_KEY_PREVIOUS needs FARTHING_SECRET_KEY: it is the key before that one")
