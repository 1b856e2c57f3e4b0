"""Bodies of marketplace agreements and usage records."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import BadField, Moment, Request, Response, Timestamp, currency_code
from farthing.core.enums import Status
from farthing.payments.tables import ProviderType
from farthing.storage.queries.listing import ListQuery

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Id = Annotated[str, Meta(min_length=1, max_length=50)]
BLOCKS = {
    ProviderType.AWS_MARKETPLACE: "aws",
    ProviderType.GCP_MARKETPLACE: "gcp",
    ProviderType.AZURE_MARKETPLACE: "azure",
}


class AwsMarketplaceAgreement(Request):
    """An agreement at AWS Marketplace."""

    product_code: Text
    license_arn: Text
    customer_aws_account_id: Text
    dimension: Text
    concurrent_agreements: bool = False


class GcpMarketplaceAgreement(Request):
    """An agreement at Google Cloud Marketplace."""

    service_name: Text
    usage_reporting_id: Text
    metric_name: Text
    account_id: Text


class AzureMarketplaceAgreement(Request):
    """An agreement at Azure Marketplace."""

    plan_id: Text
    dimension: Text
    resource_id: Text
    beneficiary_account_id: Text


class RegisterMarketplaceAgreementRequest(Request):
    """Which subscription stands for which agreement; exactly the block of its marketplace."""

    customer_id: Id
    plan_id: Id
    subscription_id: Id
    provider: ProviderType
    aws: AwsMarketplaceAgreement | None = None
    gcp: GcpMarketplaceAgreement | None = None
    azure: AzureMarketplaceAgreement | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.provider not in BLOCKS:
            names = ", ".join(provider.value for provider in BLOCKS)
            raise BadField("provider", f"must be one of {names}")
        for provider, block in BLOCKS.items():
            given = getattr(self, block) is not None
            if provider is self.provider and not given:
                raise BadField(block, f"is required for {provider.value}")
            if provider is not self.provider and given:
                raise BadField(block, f"does not go with {self.provider.value}")

    @property
    def agreement_id(self) -> str:
        """What the marketplace calls the agreement."""
        if self.aws is not None:
            return self.aws.license_arn
        if self.gcp is not None:
            return self.gcp.usage_reporting_id
        assert self.azure is not None, "checked when the body was read"
        return self.azure.resource_id

    @property
    def account_id(self) -> str:
        """What the marketplace calls the customer."""
        if self.aws is not None:
            return self.aws.customer_aws_account_id
        if self.gcp is not None:
            return self.gcp.account_id
        assert self.azure is not None, "checked when the body was read"
        return self.azure.beneficiary_account_id

    @property
    def product_id(self) -> str:
        """What the marketplace calls the plan."""
        if self.aws is not None:
            return self.aws.product_code
        if self.gcp is not None:
            return self.gcp.service_name
        assert self.azure is not None, "checked when the body was read"
        return self.azure.plan_id

    @property
    def meter(self) -> str:
        """Hash of what the marketplace counts under; it takes one quantity an hour for each."""
        if self.aws is not None:
            sold = self.aws.license_arn if self.aws.concurrent_agreements else self.aws.product_code
            parts: tuple[str, ...] = (sold, self.aws.customer_aws_account_id, self.aws.dimension)
        elif self.gcp is not None:
            parts = (self.gcp.service_name, self.gcp.usage_reporting_id, self.gcp.metric_name)
        else:
            assert self.azure is not None, "checked when the body was read"
            parts = (self.azure.resource_id, self.azure.dimension)
        return sha256("\n".join(parts).encode()).hexdigest()


class RegisterMarketplaceAgreementResponse(Response):
    """The mappings of an agreement."""

    customer_mapping_id: str
    plan_mapping_id: str
    subscription_mapping_id: str
    status: Literal["active"]


class UsageRecordFilter(ListQuery):
    """Filters of usage records; `period_start` and `period_end` are exact."""

    subscription_id: Id | None = None
    customer_id: Id | None = None
    customer_external_id: Text | None = None
    plan_id: Id | None = None
    currency: str | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None
    synced: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.currency is not None:
            self.currency = currency_code("currency", self.currency)


class UsageRecordSyncEntry(Response):
    """What a marketplace made of a record."""

    agreement_id: str
    connection_id: str
    reporting_id: str | None = None
    synced_at: Timestamp | None = None
    skipped: bool | None = None
    skip_reason: str | None = None


class UsageRecordResponse(Response):
    """What the usage of a subscription came to in one hour; the figures are numbers."""

    id: str
    customer_id: str
    customer_external_id: str
    subscription_id: str
    plan_id: str
    currency: str
    period_start: Timestamp
    period_end: Timestamp
    amount: float
    quantity: float
    synced: bool
    syncs: dict[str, UsageRecordSyncEntry]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class ListUsageRecordsResponse(Page[UsageRecordResponse]):
    """One page of usage records."""

    items: list[UsageRecordResponse]


def terms_of(request: RegisterMarketplaceAgreementRequest) -> dict[str, Any]:
    """The fields of the marketplace's block, as they are stored."""
    block = getattr(request, BLOCKS[request.provider])
    return {name: getattr(block, name) for name in block.__struct_fields__}
