"""Bodies of identity's requests and responses, named as in the wire contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from farthing.core.clock import instant
from farthing.core.encoding.wire import BadField, Moment, Request, Response, Timestamp
from farthing.core.enums import Status
from farthing.identity.sign_in import passwords
from farthing.identity.tables import EnvironmentType, UserType
from farthing.storage.queries.listing import ListQuery, Pagination

Name = Annotated[str, Meta(max_length=255)]
FilledName = Annotated[str, Meta(min_length=1, max_length=255)]
EnvironmentName = Annotated[str, Meta(min_length=1, max_length=50)]
Password = Annotated[str, Meta(max_length=passwords.LONGEST)]

Self = TypeVar("Self", bound="WholeSeconds")


class WholeSeconds(Response):
    """Times without a fraction, as tenants and environments send them."""

    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls: type[Self], row: Any, **given: Any) -> Self:
        times = {name: instant(getattr(row, name).replace(microsecond=0)) for name in ("created_at", "updated_at")}
        return super().of(row, **times, **given)


class SignUpRequest(Request):
    """`token` is for identity providers other than the built-in one, which ignores it."""

    email: str
    password: Annotated[str, Meta(min_length=passwords.SHORTEST, max_length=passwords.LONGEST)]
    tenant_name: Name | None = None
    token: str | None = None
    metadata: dict[str, str] | None = None


class LoginRequest(Request):
    email: str
    password: Password
    code: Annotated[str, Meta(max_length=32)] | None = None
    """Of the second factor, where the person has one."""


class AuthResponse(Response):
    """The token to send as `Authorization: Bearer`."""

    token: str
    user_id: str
    tenant_id: str


class Address(Request, omit_defaults=True):
    """A postal address; every part may be missing."""

    address_line1: Annotated[str, Meta(max_length=255)] | None = None
    address_line2: Annotated[str, Meta(max_length=255)] | None = None
    address_city: Annotated[str, Meta(max_length=100)] | None = None
    address_state: Annotated[str, Meta(max_length=100)] | None = None
    address_postal_code: Annotated[str, Meta(max_length=20)] | None = None
    address_country: Annotated[str, Meta(max_length=100)] | None = None


class TenantBillingDetails(Request, omit_defaults=True):
    """How a tenant is reached about money; printed on its invoices."""

    email: Name | None = None
    help_email: Name | None = None
    phone: Annotated[str, Meta(max_length=50)] | None = None
    tax_id: Annotated[str, Meta(max_length=50)] | None = None
    address: Address | None = None


class ShownAddress(msgspec.Struct, kw_only=True):
    """A postal address with all of its parts: dashboards read each of them."""

    address_line1: str = ""
    address_line2: str = ""
    address_city: str = ""
    address_state: str = ""
    address_postal_code: str = ""
    address_country: str = ""


class ShownBillingDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a tenant is reached about money, as it is stored, with a whole address."""

    email: str | None = None
    help_email: str | None = None
    phone: str | None = None
    tax_id: str | None = None
    address: ShownAddress


class TenantResponse(WholeSeconds):
    renamed = {"metadata": "meta"}

    id: str
    name: str
    status: Status
    billing_details: ShownBillingDetails
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: object, **given: Any) -> TenantResponse:
        """As of any row; what is stored of the billing details is filled up to all of an address."""
        stored = getattr(row, "billing_details", None) or {}
        shown = msgspec.convert({"address": {}, **stored}, ShownBillingDetails)
        return super().of(row, billing_details=shown, **given)


class UpdateTenantRequest(Request):
    name: Name | None = None
    billing_details: TenantBillingDetails | None = None
    metadata: dict[str, str] | None = None


class CreateEnvironmentRequest(Request):
    name: EnvironmentName
    type: EnvironmentType


class UpdateEnvironmentRequest(Request):
    name: EnvironmentName | None = None
    type: EnvironmentType | None = None


class EnvironmentResponse(WholeSeconds):
    id: str
    name: str
    type: EnvironmentType


class ListEnvironmentsResponse(Response):
    """`offset` is the one asked for, not the next."""

    environments: list[EnvironmentResponse]
    total: int
    offset: int
    limit: int


class UserResponse(Response):
    renamed = {"metadata": "meta"}

    id: str
    name: str
    type: UserType
    roles: list[str]
    metadata: dict[str, str]
    email: str | None = None
    tenant: TenantResponse | None = None


class CreateUserResponse(UserResponse):
    """`password` is sent once, to whoever invited a person."""

    password: str | None = None


class UpdateUserResponse(UserResponse):
    pass


class UpdateServiceAccountResponse(UserResponse):
    pass


class UpdateUserRolesResponse(UserResponse):
    pass


class ListUsersResponse(Response):
    items: list[UserResponse]
    pagination: Pagination


class CreateUserRequest(Request):
    type: UserType
    email: str | None = None
    name: Name = ""
    roles: list[str] | None = None


class UpdateUserRequest(Request):
    name: Name | None = None
    metadata: dict[str, str] | None = None


class UpdateServiceAccountRequest(Request):
    name: FilledName


class UpdateUserRolesRequest(Request):
    roles: list[str]


class UserFilter(ListQuery):
    """Service accounts unless `type` says otherwise."""

    user_ids: list[str] | None = None
    type: UserType | None = None
    roles: list[str] | None = None


SecretKind = Literal["private_key", "publishable_key", "integration"]
Provider = Literal[
    "flexprice",
    "stripe",
    "s3",
    "hubspot",
    "razorpay",
    "chargebee",
    "quickbooks",
    "zoho_books",
    "nomod",
    "moyasar",
    "paddle",
    "whop",
    "tabs",
    "aws_marketplace",
    "gcp_marketplace",
    "azure_marketplace",
]


class SecretResponse(Response):
    """An API key without its hash. `provider` has one value on the wire."""

    id: str
    name: str
    type: SecretKind
    provider: Provider
    display_id: str
    roles: list[str]
    user_type: UserType
    user_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    service_account_name: str | None = None
    expires_at: Timestamp | None = None
    last_used_at: Timestamp | None = None


class CreateAPIKeyRequest(Request):
    name: FilledName
    type: SecretKind
    expires_at: Moment | None = None
    service_account_id: str | None = None
    permissions: Any = None
    """Refused: older clients send it, and it would mean nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.permissions is not None:
            raise BadField("permissions", "is not supported: a key may do what the roles of its owner allow")


class CreateAPIKeyResponse(Response):
    """`api_key` is shown here and never again."""

    secret: SecretResponse
    api_key: str


class ListSecretsResponse(Response):
    items: list[SecretResponse]
    pagination: Pagination


class RoleResponse(Response):
    """`permissions` maps an entity, or `*`, to actions."""

    id: str
    name: str
    description: str
    permissions: dict[str, list[str]]


class RolesResponse(Response):
    roles: list[RoleResponse]


class OneRoleResponse(Response):
    role: RoleResponse


class SettingResponse(Response):
    """A key never stored has an empty id, times of year 1 and the defaults."""

    id: str
    key: str
    value: dict[str, Any]
    environment_id: str
    tenant_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class UpdateSettingRequest(Request):
    """Top-level fields to lay over the value in force."""

    value: dict[str, msgspec.Raw]
