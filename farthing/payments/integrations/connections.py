"""Connections: accounts with other systems, and their secrets.

Rule: docs/rules/integrations.md#connections
Rule: docs/rules/integrations.md#whether-it-works
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy import update as change
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity.tables import Environment, EnvironmentType
from farthing.payments.integration_schemas import CreateConnectionRequest, SyncConfig, UpdateConnectionRequest
from farthing.payments.integrations.credentials import Safe
from farthing.payments.integrations.gateways import COLLECTORS, sealed_for
from farthing.payments.ports import PaymentPorts
from farthing.payments.providers.registry import TEST_MODE, ConnectionDraft, adapter_name, is_test
from farthing.payments.tables import Connection, ProviderType
from farthing.storage.postgres import ports_of, scope_of
from farthing.storage.queries.rows import lock_row, unique

WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 (its name)


async def create(session: AsyncSession, safe: Safe, given: CreateConnectionRequest) -> Connection:
    """Store a connection with its secrets sealed. A simulated one gets a webhook secret of its own.

    Raises AlreadyExists when the environment is connected to the provider, ValidationFailed for a simulation where
    there can be none.
    """
    metadata = dict(given.metadata or {})
    environment = await _environment(session)
    _check_mode(environment, given.provider_type, metadata)
    connection = Connection(
        id=new_id(Kind.CONNECTION),
        name=given.name,
        provider_type=given.provider_type,
        sync_config=_stored(given.sync_config),
        meta=metadata,
    )
    secrets_given = dict(given.encrypted_secret_data or {})
    _check_with_provider(session, connection, secrets_given, environment)
    _seal(session, safe, connection, secrets_given)
    async with unique(
        session,
        uq_connections_provider=AlreadyExists(
            f"This environment is connected to {given.provider_type} already",
            {"provider_type": given.provider_type.value},
        ),
    ):
        session.add(connection)
    return connection


async def update(session: AsyncSession, safe: Safe, id: str, given: UpdateConnectionRequest) -> Connection:
    """Change what is given; secrets are replaced key by key. Raises InvalidOperation for a deleted connection."""
    connection = await _live(session, id)
    environment = await _environment(session)
    if given.name is not None:
        connection.name = given.name
    if given.sync_config is not None:
        connection.sync_config = _stored(given.sync_config)
    if given.metadata is not None:
        _check_mode(environment, connection.provider_type, given.metadata)
        connection.meta = dict(given.metadata)
    if given != UpdateConnectionRequest(name=given.name):
        # secrets sealed with a master key that is gone can only be entered again
        lost = given.encrypted_secret_data is not None and connection.credentials_key_id != safe.key_id
        owner = sealed_for(connection.environment_id, connection.id)
        known = {} if lost else safe.open(connection.credentials, connection.credentials_key_id, owner)
        all_secrets = {**known, **(given.encrypted_secret_data or {})}
        _check_with_provider(session, connection, all_secrets, environment)
        _seal(session, safe, connection, all_secrets)
    await session.flush()
    return connection


async def remove(session: AsyncSession, id: str) -> None:
    """Archive a connection and forget its secrets. Raises InvalidOperation for a deleted one."""
    connection = await _live(session, id)
    connection.status = Status.ARCHIVED
    connection.credentials = b""
    connection.credentials_key_id = ""


async def reseal_credentials(session: AsyncSession, old: Safe, new: Safe) -> int:
    """Seal under `new` what `old` sealed in the session's environment, with the rows locked; how many there were.

    Nobody changed the connections, so that their times stay.
    """
    sealed = (Connection.id, Connection.environment_id, Connection.credentials)
    rows = await session.execute(
        select(*sealed).where(Connection.credentials_key_id == old.key_id).order_by(Connection.id).with_for_update()
    )
    count = 0
    for connection_id, environment_id, credentials in rows.all():
        owner = sealed_for(environment_id, connection_id)
        again = new.seal(old.open(credentials, old.key_id, owner), owner)
        values = {"credentials": again, "credentials_key_id": new.key_id}
        await session.execute(change(Connection).where(Connection.id == connection_id).values(**values))
        count += 1
    return count


async def forget_credentials(session: AsyncSession) -> None:
    """Forget the secrets of the environment's connections, when the master key that sealed them is lost."""
    await session.execute(change(Connection).values(credentials=b"", credentials_key_id=""))


async def _live(session: AsyncSession, id: str) -> Connection:
    connection = await lock_row(session, Connection, id)
    if connection.status is not Status.PUBLISHED:
        raise InvalidOperation("connection was deleted", {"connection_id": id})
    return connection


def _seal(session: AsyncSession, safe: Safe, connection: Connection, given: dict[str, Any]) -> None:
    if is_test(connection.meta):
        given.setdefault(WEBHOOK_SECRET, secrets.token_urlsafe(32))
    owner = sealed_for(scope_of(session).environment_id, connection.id)
    connection.credentials = safe.seal(given, owner)
    connection.credentials_key_id = safe.key_id


async def _environment(session: AsyncSession) -> Environment:
    return await session.get_one(Environment, scope_of(session).environment_id)


def _check_mode(environment: Environment, provider_type: ProviderType, metadata: Mapping[str, Any]) -> None:
    if not is_test(metadata):
        return
    if provider_type not in COLLECTORS:
        raise ValidationFailed.of("metadata.mode", f"'{TEST_MODE}' is for providers that collect payments")
    if environment.type is EnvironmentType.PRODUCTION:
        raise ValidationFailed.of("metadata.mode", f"'{TEST_MODE}' is refused in a production environment")


def _check_with_provider(
    session: AsyncSession, connection: Connection, given: Mapping[str, Any], environment: Environment
) -> None:
    """Let who talks to the provider look at a connection; one that nobody talks to is stored unchecked."""
    ports, name = ports_of(session, PaymentPorts), adapter_name(connection.provider_type.value, connection.meta)
    adapter = ports.adapters.get(name)
    check = ports.connection_checks.get(name) if adapter is None else adapter.check_connection
    if check is not None:
        config = None if connection.sync_config is None else msgspec.convert(connection.sync_config, SyncConfig)
        is_production = environment.type is EnvironmentType.PRODUCTION
        check(ConnectionDraft(given, config, is_production=is_production))


def _stored(config: SyncConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    stored: dict[str, Any] = msgspec.to_builtins(config)
    return stored
