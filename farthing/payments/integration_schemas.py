"""Bodies of connections, mappings and what may be synchronised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import BadField, Request, Response, Timestamp
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.customers.schemas import EntityIntegrationMappingResponse
from farthing.customers.tables import IntegrationEntityType
from farthing.payments.tables import ProviderType
from farthing.storage.queries.listing import ListQuery

MOST_SECRETS = 50
LONGEST_SECRET = 10_000
MOST_METADATA_KEYS = 50

Text255 = Annotated[str, Meta(min_length=1, max_length=255)]


class EntitySyncConfig(Request):
    """Which way changes of one kind of entity travel."""

    inbound: bool = False
    outbound: bool = False


class S3ExportConfig(Request):
    bucket: str | None = None
    region: str | None = None
    key_prefix: str | None = None
    compression: Literal["none", "gzip"] | None = None
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    is_flexprice_managed: bool | None = None


class AWSMarketplaceSyncConfig(Request):
    region: str | None = None


class MetadataCustomField(Request):
    field: str
    metadata_key: str
    source: Literal["customer", "invoice"]


class ServicePeriodCustomFields(Request):
    start_field_id: str | None = None
    end_field_id: str | None = None


class InvoiceSyncSettings(Request):
    """How an invoice's copy is dressed for a provider."""

    metadata_custom_fields: list[MetadataCustomField] | None = None
    normalize_fixed_to: (
        Literal["MONTHLY", "ANNUAL", "WEEKLY", "DAILY", "QUARTERLY", "HALF_YEARLY", "ONETIME"] | None
    ) = None
    service_period_custom_fields: ServicePeriodCustomFields | None = None


class SyncConfig(Request, omit_defaults=True):
    """What travels between Farthing and a provider. Plans and subscriptions never go out, bills never come in."""

    plan: EntitySyncConfig | None = None
    subscription: EntitySyncConfig | None = None
    invoice: EntitySyncConfig | None = None
    customer: EntitySyncConfig | None = None
    payment: EntitySyncConfig | None = None
    price: EntitySyncConfig | None = None
    deal: EntitySyncConfig | None = None
    quote: EntitySyncConfig | None = None
    s3: S3ExportConfig | None = None
    aws_marketplace: AWSMarketplaceSyncConfig | None = None
    invoice_sync_settings: InvoiceSyncSettings | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("plan", "subscription"):
            sync: EntitySyncConfig | None = getattr(self, name)
            if sync is not None and sync.outbound:
                raise BadField(f"{name}.outbound", "is not possible")
        for name in ("invoice", "deal", "quote", "price"):
            sync = getattr(self, name)
            if sync is not None and sync.inbound:
                raise BadField(f"{name}.inbound", "is not possible")


class CreateConnectionRequest(Request):
    """An account with another system; its secrets go in and never come out."""

    name: Text255
    provider_type: ProviderType
    encrypted_secret_data: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    sync_config: SyncConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_secrets(self.encrypted_secret_data)
        check_free_metadata(self.metadata)


class UpdateConnectionRequest(Request):
    """What may change on a connection; secrets given replace those of the same keys."""

    name: Text255 | None = None
    encrypted_secret_data: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    sync_config: SyncConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_secrets(self.encrypted_secret_data)
        check_free_metadata(self.metadata)


class ConnectionQuery(ListQuery):
    """Filters of the list of connections."""

    connection_ids: Annotated[list[str], Meta(max_length=1000)] | None = None
    provider_type: ProviderType | None = None


class ConnectionResponse(Response):
    """A connection, without its secrets."""

    id: str
    name: str
    provider_type: ProviderType
    metadata: dict[str, Any]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    sync_config: SyncConfig | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListConnectionsResponse(Response):
    """One page of connections; an older shape than other lists."""

    connections: list[ConnectionResponse]
    total: int
    limit: int
    offset: int


class IntegrationConfigEntry(Response):
    """What a provider could synchronise, and what its connection does."""

    provider: ProviderType
    base_config: SyncConfig
    current_config: SyncConfig | None = None


class IntegrationConfigResponse(Response):
    integrations: list[IntegrationConfigEntry]


class LinkIntegrationMappingRequest(Request):
    """An entity and its image at a provider."""

    entity_type: IntegrationEntityType
    entity_id: Text255
    provider_type: Annotated[str, Meta(min_length=1, max_length=50)]
    provider_entity_id: Text255
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_provider(self.provider_type)
        check_free_metadata(self.metadata)


class DelinkIntegrationMappingRequest(Request):
    """Which mapping to end."""

    entity_type: IntegrationEntityType
    entity_id: Text255
    provider_type: Annotated[str, Meta(min_length=1, max_length=50)]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_provider(self.provider_type)


class LinkIntegrationMappingResponse(Response):
    mapping: EntityIntegrationMappingResponse


class ListEntityIntegrationMappingsResponse(Page[EntityIntegrationMappingResponse]):
    """The mappings of one entity."""

    items: list[EntityIntegrationMappingResponse]


class SyncRequest(Request):
    """An entity to copy to the providers now."""

    entity_type: Literal["invoice", "customer"]
    entity_id: Text255
    method: Literal["push", "pull"] = "push"


class MappingQuery(ListQuery):
    """Which entity's mappings to list; both are required."""

    entity_type: IntegrationEntityType | None = None
    entity_id: str | None = None


def check_provider(name: str) -> None:
    """Raises BadField for a system nobody can be connected to."""
    if name not in set(ProviderType):
        raise BadField("provider_type", f"must be one of {', '.join(ProviderType)}")


def check_free_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Metadata of connections and mappings may hold any JSON, within limits. Raises ValidationFailed."""
    if metadata is None:
        return
    if len(metadata) > MOST_METADATA_KEYS or len(msgspec.json.encode(metadata)) > LONGEST_SECRET:
        raise ValidationFailed.of("metadata", f"must have at most {MOST_METADATA_KEYS} keys and {LONGEST_SECRET} bytes")


def _check_secrets(secrets: Mapping[str, Any] | None) -> None:
    if secrets is None:
        return
    if len(secrets) > MOST_SECRETS:
        raise BadField("encrypted_secret_data", f"must have at most {MOST_SECRETS} keys")
    for key, value in secrets.items():
        if isinstance(value, (dict, list)):
            raise BadField(f"encrypted_secret_data.{key}", "must be text, a number or a boolean")
        if isinstance(value, str) and len(value) > LONGEST_SECRET:
            raise BadField(f"encrypted_secret_data.{key}", f"must be at most {LONGEST_SECRET} characters long")
