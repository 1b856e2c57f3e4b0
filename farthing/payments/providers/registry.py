"""Finding the provider behind a connection, among the adapters that the deployment was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farthing.core.errors import NotImplementedHere
from farthing.payments.integration_schemas import SyncConfig
from farthing.payments.providers.interface import Capability, Provider
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

TEST_MODE = "test"
"""The mode of a connection that is served by the built-in test provider, whatever provider it stands for."""


@dataclass(frozen=True, slots=True)
class ProviderSupport:
    """Everything an adapter may need of the connection it works for."""

    provider_type: str
    connection_id: str
    scope: Scope
    secrets: Mapping[str, Any] = field(repr=False)
    metadata: Mapping[str, Any]
    database: Database
    base_url: str
    """Where this deployment is reached."""
    api_url: str | None
    """Where the provider's API is, if the operator says so; else where the provider says."""


@dataclass(frozen=True, slots=True)
class ConnectionDraft:
    """A connection as it is about to be stored."""

    secrets: Mapping[str, Any] = field(repr=False)
    sync_config: SyncConfig | None
    is_production: bool
    """Whether its environment is."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """What one provider brings: how a connection to it is opened, and what a connection must have to be stored."""

    open: Callable[[ProviderSupport], Provider]
    check_connection: Callable[[ConnectionDraft], None]
    """Raises ValidationFailed, naming the field."""


def is_test(metadata: Mapping[str, Any]) -> bool:
    """Whether a connection with this metadata is a simulation."""
    return metadata.get("mode") == TEST_MODE


def adapter_name(provider_type: str, metadata: Mapping[str, Any]) -> str:
    """Which adapter serves a connection."""
    return TEST_MODE if is_test(metadata) else provider_type


def provider_for(standing: ProviderSupport, adapters: Mapping[str, Adapter]) -> Provider:
    """The provider behind a connection. Raises NotImplementedHere when this deployment has no adapter for it."""
    name = adapter_name(standing.provider_type, standing.metadata)
    adapter = adapters.get(name)
    if adapter is None:
        raise NotImplementedHere(
            f"This deployment cannot talk to '{name}' yet; connect it with metadata.mode = 'test' to simulate it",
            {"provider": name},
        )
    return adapter.open(standing)


def require_capability(provider: Provider, capability: Capability, name: str) -> None:
    """Raises NotImplementedHere unless the provider supports the call."""
    if capability not in provider.capabilities:
        raise NotImplementedHere(f"'{name}' does not support {capability.value}", {"provider": name})
