"""Requests and responses of customers, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from farthing.core.encoding.wire import BadField, Request, Response, Timestamp, checked_metadata, currency_code
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.customers import fields
from farthing.customers.tables import IntegrationEntityType, TaxTreatment
from farthing.storage.queries.listing import ListQuery, Pagination

MOST_CONTACT_PERSONS = 50
MOST_MAPPINGS = 50
MOST_IDS = 1000

Identifier = Annotated[str, Meta(min_length=1, max_length=255)]
ExternalId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
"""What the tenant calls a customer: not only blanks."""
Line = Annotated[str, Meta(max_length=255)]
Word = Annotated[str, Meta(max_length=100)]
Short = Annotated[str, Meta(max_length=20)]
Ids = Annotated[list[str], Meta(max_length=MOST_IDS)]


class CustomerContactPerson(Request):
    """Somebody to talk to at a customer; the same shape goes in and out."""

    first_name: Identifier
    id: Annotated[str, Meta(max_length=50)] | None = None
    last_name: Line | None = None
    salutation: Line | None = None
    email: str | None = None
    mobile: Line | None = None
    designation: Line | None = None
    department: Line | None = None
    is_primary: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        fields.email_address("email", self.email or "")


class CreateEntityIntegrationMappingRequest(Request):
    """A provider and its id for the customer, under either pair of names.

    `entity_type` and `entity_id` are what clients of the general endpoint send; here they can only mean the customer.
    """

    provider_type: Annotated[str, Meta(max_length=50)] | None = None
    provider: Annotated[str, Meta(max_length=50)] | None = None
    provider_entity_id: Line | None = None
    id: Line | None = None
    entity_type: IntegrationEntityType | None = None
    entity_id: Line | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.provider_name:
            raise BadField("provider_type", "is required")
        if not self.image:
            raise BadField("provider_entity_id", "is required")
        if self.entity_type not in {None, IntegrationEntityType.CUSTOMER}:
            raise BadField("entity_type", "must be customer")

    @property
    def provider_name(self) -> str:
        return self.provider_type or self.provider or ""

    @property
    def image(self) -> str:
        """The provider's id."""
        return self.provider_entity_id or self.id or ""


class TaxRateOverride(Request):
    """A tax rate to link instead of those that would be inherited."""

    tax_rate_code: Identifier
    currency: str
    priority: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    auto_apply: bool = True
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        self.metadata = checked_metadata(self.metadata)


class CustomerFields(Request):
    """What may be given at creation and at update alike. Absent and null are the same: nothing is said."""

    email: str | None = None
    contact: Short | None = None
    address_line1: Line | None = None
    address_line2: Line | None = None
    address_city: Word | None = None
    address_state: Word | None = None
    address_postal_code: Short | None = None
    address_country: str | None = None
    timezone: str | None = None
    billing_currency: str | None = None
    contact_persons: Annotated[list[CustomerContactPerson], Meta(max_length=MOST_CONTACT_PERSONS)] | None = None
    tax_id: Word | None = None
    tax_treatment: TaxTreatment | None = None
    language: Literal["", "en", "de", "fr", "es", "hi", "ja"] | None = None
    """Of its mails and its portal; empty leaves it to the merchant's settings and to browsers."""
    metadata: dict[str, str] | None = None
    integration_entity_mapping: (
        Annotated[list[CreateEntityIntegrationMappingRequest], Meta(max_length=MOST_MAPPINGS)] | None
    ) = None

    def __post_init__(self) -> None:
        super().__post_init__()
        fields.email_address("email", self.email or "")
        fields.country("address_country", self.address_country or "")
        if self.timezone is not None:
            self.timezone = fields.timezone("timezone", self.timezone)
        if self.billing_currency:
            self.billing_currency = currency_code("billing_currency", self.billing_currency)
        fields.tax_id("tax_id", self.tax_id or "")
        if self.metadata is not None:
            self.metadata = fields.buyer_metadata(self.metadata)
        persons = self.contact_persons or ()
        if sum(person.is_primary is True for person in persons) > 1:
            raise BadField("contact_persons", "must have at most one primary person")
        given_ids = [person.id for person in persons if person.id]
        if len(set(given_ids)) < len(given_ids):
            raise BadField("contact_persons", "must not repeat an id")
        providers = [mapping.provider_name for mapping in self.integration_entity_mapping or ()]
        if len(set(providers)) < len(providers):
            raise BadField("integration_entity_mapping", "must not repeat a provider")


class CreateCustomerRequest(CustomerFields, kw_only=True):
    """A new customer."""

    external_id: ExternalId
    name: Identifier
    tax_rate_overrides: Annotated[list[TaxRateOverride], Meta(max_length=100)] | None = None
    """None: inherit the tenant's; empty: no tax; else these."""
    skip_onboarding_workflow: bool | None = None
    onboarding_workflow_name: str | None = None


class UpdateCustomerRequest(CustomerFields):
    """What to change; a field that is absent or null stays."""

    external_id: ExternalId | None = None
    name: Identifier | None = None


class CustomerQuery(ListQuery):
    """The filter of the customer list. Conditions are joined by AND; an empty list of ids is no condition."""

    customer_ids: Ids | None = None
    external_ids: Ids | None = None
    external_id: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        fields.email_address("email", self.email or "")


class CustomerFilter(CustomerQuery):
    """The body of a customer search; a customer matches `metadata` when it carries all its pairs."""

    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.metadata or ()) > MOST_IDS:
            raise ValidationFailed.of("metadata", f"must have at most {MOST_IDS} keys")


class EntityIntegrationMappingResponse(Response):
    """An entity's mirror image at a provider. Times have whole seconds."""

    id: str
    entity_type: IntegrationEntityType
    entity_id: str
    provider_type: str
    provider_entity_id: str
    metadata: dict[str, Any]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class CustomerResponse(Response):
    """A customer."""

    id: str
    external_id: str
    name: str
    email: str
    address_line1: str
    address_line2: str
    address_city: str
    address_state: str
    address_postal_code: str
    address_country: str
    timezone: str
    tax_treatment: TaxTreatment
    contact_persons: list[CustomerContactPerson]
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    contact: str | None = None
    billing_currency: str | None = None
    tax_id: str | None = None
    """The VAT or other tax number of the customer, where one is known."""
    language: str | None = None
    """The language of its mails and its portal, where it has one of its own."""
    integrations: list[EntityIntegrationMappingResponse] | None = None
    """Only with `expand=integrations`."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "shown_metadata"}


class ListCustomersResponse(Response):
    """One page of customers."""

    items: list[CustomerResponse]
    pagination: Pagination


class PortalSessionResponse(Response):
    """A way into the customer portal, and the token alone for those who build their own."""

    url: str
    token: str
    expires_at: Timestamp
