"""Endpoints of identity: signing in, tenants, environments, users, API keys, roles, settings."""

from __future__ import annotations

from typing import Any, TypeVar

from litestar import Controller, Request, delete, get, post, put
from msgspec import to_builtins
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import AccessControl, any_caller, needs, require_admin_person
from farthing.api.queries.lists import page, read_query
from farthing.api.services import services_of
from farthing.api.transport.client_address import ClientAddresses, limited_as
from farthing.api.work import unit_of_work
from farthing.core.caller import Caller
from farthing.core.composition import Composition
from farthing.core.encoding.wire import Message
from farthing.core.enums import Status
from farthing.core.errors import PermissionDenied, ValidationFailed
from farthing.identity import environments, roles, tenants, users
from farthing.identity.authentication import TOKEN_LIFE, HeaderAuthenticator
from farthing.identity.credentials import api_keys
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.schemas import (
    AuthResponse,
    CreateAPIKeyRequest,
    CreateAPIKeyResponse,
    CreateEnvironmentRequest,
    CreateUserRequest,
    CreateUserResponse,
    EnvironmentResponse,
    ListEnvironmentsResponse,
    ListSecretsResponse,
    ListUsersResponse,
    LoginRequest,
    OneRoleResponse,
    RoleResponse,
    RolesResponse,
    SecretResponse,
    SettingResponse,
    SignUpRequest,
    TenantResponse,
    UpdateEnvironmentRequest,
    UpdateServiceAccountRequest,
    UpdateServiceAccountResponse,
    UpdateSettingRequest,
    UpdateTenantRequest,
    UpdateUserRequest,
    UpdateUserResponse,
    UpdateUserRolesRequest,
    UpdateUserRolesResponse,
    UserFilter,
    UserResponse,
)
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import Configuration, TenantConfig
from farthing.identity.sign_in import email_and_password, passwords, second_factor, sessions
from farthing.identity.sign_in.sessions import SignInOrigin
from farthing.identity.sign_in.tables import SessionKind
from farthing.identity.tables import Environment, Secret, SecretType, Tenant, User, UserType
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.listing import ListQuery, select_page
from farthing.storage.scope import SYSTEM

NEVER = "0001-01-01T00:00:00Z"

AnyRequest = Request[Any, Any, Any]
UserBody = TypeVar("UserBody", bound=UserResponse)


async def limit_by_address(request: AnyRequest) -> None:
    """Slow down whoever guesses passwords.

    Rule: docs/rules/conventions.md#rate-limits
    """
    services_of(request).part(AccessControl).sign_in_limiter.take(limited_as(_address_of(request)))


def origin_of(request: AnyRequest) -> SignInOrigin:
    """Where a request comes from, for the session it opens."""
    return SignInOrigin(_address_of(request), request.headers.get("user-agent", ""))


def _address_of(request: AnyRequest) -> str:
    return services_of(request).part(ClientAddresses).of(request.scope)


class SignIn(Controller):
    path = "/auth"
    tags = ["Auth"]
    opt = {"public": True}

    @post("/signup", operation_id="signUp", status_code=200, before_request=limit_by_address)
    async def sign_up(self, request: AnyRequest, data: SignUpRequest, services: Composition) -> AuthResponse:
        """Make a tenant, its first user and a sandbox; answers that user's token."""
        if not services.part(Settings).signup_enabled:
            raise PermissionDenied("Sign-up is switched off in this deployment")
        user = await email_and_password.sign_up(
            services.part(Database),
            email=data.email,
            password=data.password,
            tenant_name=data.tenant_name or services.part(Settings).default_tenant_name,
            metadata=data.metadata,
        )
        return await _signed_in(request, services, user)

    @post("/login", operation_id="login", status_code=200, before_request=limit_by_address)
    async def login(self, request: AnyRequest, data: LoginRequest, services: Composition) -> AuthResponse:
        """A token for an email and a password, and for a code where the person has a second factor."""
        database = services.part(Database)
        user = await email_and_password.sign_in(database, data.email, data.password)
        async with database.transaction(SYSTEM, read_only=True) as session:
            needs_code = await second_factor.is_required(session, user.id)
        if needs_code:
            if not data.code:
                raise PermissionDenied("A code of the second factor is needed", {"code": "is required"})
            await second_factor.check_code(database, services.part(SealedBox), user.id, data.code)
        return await _signed_in(request, services, user)


def never_kept(request: AnyRequest) -> None:
    """Keep this answer for no idempotent replay: it shows a secret, and kept answers are stored."""
    unit_of_work(request).claim = None


async def _signed_in(request: AnyRequest, services: Composition, user: User) -> AuthResponse:
    database = services.part(Database)
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        opened = await sessions.open_session(session, user, SessionKind.API, TOKEN_LIFE, origin_of(request), now)
    token = services.part(HeaderAuthenticator).tokens.issue(user, opened, now)
    return AuthResponse(token=token, user_id=user.id, tenant_id=user.tenant_id)


class Tenants(Controller):
    path = ""
    tags = ["Tenants"]

    @get("/tenants/{id:str}", operation_id="getTenantById", guards=[any_caller()])
    async def one(self, id: str, session: AsyncSession, caller: Caller) -> TenantResponse:
        """The caller's own tenant."""
        return TenantResponse.of(await tenants.own(session, caller, id))

    @put("/tenants/update", operation_id="updateTenant", guards=[needs("tenant", "write", environment=False)])
    async def update(self, data: UpdateTenantRequest, session: AsyncSession, caller: Caller) -> TenantResponse:
        """Change the caller's tenant; what is absent stays."""
        details = None if data.billing_details is None else to_builtins(data.billing_details)
        return TenantResponse.of(
            await tenants.update(
                session, caller.tenant_id, name=data.name, billing_details=details, metadata=data.metadata
            )
        )


class Environments(Controller):
    path = "/environments"
    tags = ["Environments"]

    @post("/", operation_id="createEnvironment", guards=[needs("environment", "write", environment=False)])
    async def create(
        self, data: CreateEnvironmentRequest, session: AsyncSession, caller: Caller
    ) -> EnvironmentResponse:
        """Open a new environment, within the tenant's limits."""
        return EnvironmentResponse.of(await environments.create(session, caller.tenant_id, data.name, data.type))

    @get(
        "/",
        operation_id="listEnvironments",
        guards=[needs("environment", "read", environment=False)],
        opt={"query": ListQuery},
    )
    async def all(
        self, request: AnyRequest, session: AsyncSession, caller: Caller, services: Composition
    ) -> ListEnvironmentsResponse:
        """The environments the caller may enter."""
        query = read_query(request, ListQuery)
        statement = environments.visible(caller.tenant_id, services.part(HeaderAuthenticator).environments_of(caller))
        rows, total = await select_page(session, Environment, query, environments.SEARCHABLE, statement)
        return ListEnvironmentsResponse(
            environments=[EnvironmentResponse.of(row) for row in rows],
            total=total,
            offset=query.skip,
            limit=query.page_size,
        )

    @get(
        "/{id:str}",
        operation_id="getEnvironment",
        guards=[needs("environment", "read", environment=False)],
    )
    async def one(self, id: str, session: AsyncSession, caller: Caller, services: Composition) -> EnvironmentResponse:
        """One environment."""
        allowed = services.part(HeaderAuthenticator).environments_of(caller)
        return EnvironmentResponse.of(await environments.one(session, id, allowed))

    @put(
        "/{id:str}",
        operation_id="updateEnvironment",
        guards=[needs("environment", "write", environment=False)],
    )
    async def update(
        self,
        id: str,
        data: UpdateEnvironmentRequest,
        session: AsyncSession,
        caller: Caller,
        services: Composition,
    ) -> EnvironmentResponse:
        """Rename an environment."""
        allowed = services.part(HeaderAuthenticator).changeable_environments_of(caller)
        return EnvironmentResponse.of(await environments.update(session, id, allowed, name=data.name, type=data.type))


WRITES_USERS = needs("user", "write", environment=False)
ADMIN_WRITES_USERS = needs("user", "write", environment=False, admin_person=True)


class Users(Controller):
    path = "/users"
    tags = ["Users"]

    @get("/me", operation_id="getUserInfo", guards=[any_caller(senders=True)])
    async def me(self, session: AsyncSession, caller: Caller) -> UserResponse:
        """The user behind the key or token; of a service account that only sends events, no more than its id."""
        if caller.is_publishable:
            raise PermissionDenied("insufficient permissions")
        if caller.only_sends:
            return UserResponse(
                id=caller.sender, name="", type=UserType.SERVICE_ACCOUNT, roles=list(caller.roles), metadata={}
            )
        return await _with_tenant(session, UserResponse, await users.one(session, caller.user_id))

    @put("/me", operation_id="updateUser", guards=[WRITES_USERS])
    async def update_me(self, data: UpdateUserRequest, session: AsyncSession, caller: Caller) -> UpdateUserResponse:
        """Change one's own name, and merge metadata."""
        user = await users.update_own(session, caller.user_id, name=data.name, metadata=data.metadata)
        return await _with_tenant(session, UpdateUserResponse, user)

    @post("/", operation_id="createUser", guards=[WRITES_USERS])
    async def create(
        self,
        request: AnyRequest,
        data: CreateUserRequest,
        caller: Caller,
        services: Composition,
    ) -> CreateUserResponse:
        """Invite a person, whose first password is answered once, or make a service account.

        People enter every environment, so an API key of one of several makes service accounts alone.
        """
        if data.type == UserType.SERVICE_ACCOUNT:
            if data.email:
                raise ValidationFailed.of("email", "a service account has none")
            session = await unit_of_work(request).admitted_session()
            account = await users.add_service_account(session, caller, name=data.name, roles=data.roles or [])
            return await _with_tenant(session, CreateUserResponse, account)
        require_admin_person(caller)
        users.require_lasting(caller)
        if not data.email:
            raise ValidationFailed.of("email", "is required")
        never_kept(request)
        password = passwords.draw()
        async with passwords.turn(caller.user_id):
            password_hash = await passwords.hashed(password)
        # only now a connection, and the tenant's turn at one: who waits for a hash keeps none from others
        session = await unit_of_work(request).admitted_session()
        await services.part(HeaderAuthenticator).require_all_environments(session, caller)
        person = await users.invite(
            session,
            caller.tenant_id,
            email=data.email,
            name=data.name,
            roles=data.roles,
            password_hash=password_hash,
        )
        return await _with_tenant(session, CreateUserResponse, person, password=password)

    @put("/{id:str}", operation_id="updateServiceAccount", guards=[WRITES_USERS])
    async def rename(
        self, id: str, data: UpdateServiceAccountRequest, session: AsyncSession
    ) -> UpdateServiceAccountResponse:
        """Rename a service account."""
        account = await users.rename_service_account(session, id, data.name)
        return await _with_tenant(session, UpdateServiceAccountResponse, account)

    @put("/{id:str}/roles", operation_id="updateUserRoles", guards=[ADMIN_WRITES_USERS])
    async def set_roles(
        self, id: str, data: UpdateUserRolesRequest, session: AsyncSession, caller: Caller, services: Composition
    ) -> UpdateUserRolesResponse:
        """Give a person other roles. They hold in every environment, so a key of one of several cannot."""
        await services.part(HeaderAuthenticator).require_all_environments(session, caller)
        user = await users.set_roles(session, caller, id, data.roles, services.part(Database).clock.now())
        return await _with_tenant(session, UpdateUserRolesResponse, user)

    @delete("/{id:str}", operation_id="deleteServiceAccount", guards=[WRITES_USERS])
    async def delete(self, id: str, session: AsyncSession, services: Composition) -> None:
        """Retire a service account without active keys."""
        await users.archive_service_account(session, id, services.part(Database).clock.now())

    @post("/{id:str}/remove", operation_id="removeUser", guards=[ADMIN_WRITES_USERS], status_code=204)
    async def remove(self, id: str, session: AsyncSession, caller: Caller, services: Composition) -> None:
        """Retire a person without active keys."""
        await users.remove_person(session, caller, id, services.part(Database).clock.now())

    @post(
        "/search",
        operation_id="queryUser",
        guards=[needs("user", "read", environment=False)],
        status_code=200,
    )
    async def search(self, session: AsyncSession, data: UserFilter | None = None) -> ListUsersResponse:
        """People or service accounts; service accounts unless `type` says otherwise."""
        query = data or UserFilter()
        statement = users.matching(user_ids=query.user_ids, type=query.type, roles=query.roles)
        rows, total = await select_page(session, User, query, users.SEARCHABLE, statement)
        items = [await _with_tenant(session, UserResponse, row) for row in rows]
        answer: ListUsersResponse = page(items, total, query, next_offset=True)
        return answer


async def _with_tenant(session: AsyncSession, body: type[UserBody], user: User, **given: Any) -> UserBody:
    # all users a caller can see are of one tenant, which the session reads once
    tenant = await session.get_one(Tenant, user.tenant_id)
    return body.of(user, tenant=TenantResponse.of(tenant), **given)


class ApiKeys(Controller):
    path = "/secrets/api/keys"
    tags = ["Secrets"]

    @post("/", operation_id="createApiKey", guards=[needs("secret", "write")])
    async def create(
        self,
        request: AnyRequest,
        data: CreateAPIKeyRequest,
        session: AsyncSession,
        caller: Caller,
        services: Composition,
    ) -> CreateAPIKeyResponse:
        """Make a key for the caller, or for a service account. The key is shown once."""
        never_kept(request)
        if data.type == "integration":
            raise ValidationFailed.of("type", "must be private_key or publishable_key")
        secret, key = await api_keys.create(
            session,
            services.part(HeaderAuthenticator).hasher,
            caller,
            name=data.name,
            type=SecretType(data.type),
            now=services.part(Database).clock.now(),
            expires_at=data.expires_at,
            service_account_id=data.service_account_id,
        )
        names = await api_keys.owner_names(session, [secret])
        return CreateAPIKeyResponse(secret=_secret(secret, names), api_key=key)

    @get("/", operation_id="listApiKeys", guards=[needs("secret", "read")], opt={"query": ListQuery})
    async def all(self, request: AnyRequest, session: AsyncSession, caller: Caller) -> ListSecretsResponse:
        """The caller's keys in this environment, or everybody's for a person with Super Admin access."""
        query = read_query(request, ListQuery)
        rows, total = await select_page(session, Secret, query, api_keys.SEARCHABLE, api_keys.visible(caller))
        names = await api_keys.owner_names(session, rows)
        answer: ListSecretsResponse = page([_secret(row, names) for row in rows], total, query, next_offset=True)
        return answer

    @delete("/{id:str}", operation_id="deleteApiKey", guards=[needs("secret", "write")])
    async def delete(self, id: str, session: AsyncSession, caller: Caller) -> None:
        """Delete a key, with effect at once."""
        await api_keys.delete(session, caller, id)


def _secret(row: Secret, names: dict[str, str]) -> SecretResponse:
    return SecretResponse.of(row, provider="flexprice", service_account_name=names.get(row.user_id))


class Roles(Controller):
    path = "/rbac/roles"
    tags = ["RBAC"]

    @get("/", operation_id="listRbacRoles", guards=[any_caller(environment=True)])
    async def all(self, user_type: UserType | None = None) -> RolesResponse:
        """The catalogue of roles, or those that a type of user may hold."""
        found = (role for role in roles.ROLES.values() if user_type is None or user_type in role.assignable_to)
        return RolesResponse(roles=[_role(role) for role in found])

    @get("/{id:str}", operation_id="getRbacRole", guards=[any_caller(environment=True)])
    async def one(self, id: str) -> OneRoleResponse:
        """One role."""
        return OneRoleResponse(role=_role(roles.one(id)))


def _role(role: roles.Role) -> RoleResponse:
    granted = {entity: sorted(actions) for entity, actions in role.permissions.items()}
    return RoleResponse(id=role.id, name=role.name, description=role.description, permissions=granted)


WRITES_SETTINGS = needs("setting", "write", admin_person=True)


class SettingsByKey(Controller):
    path = "/settings"
    tags = ["Settings"]

    @get("/{key:str}", operation_id="getSetting", guards=[needs("setting", "read")])
    async def one(self, key: str, session: AsyncSession, caller: Caller) -> SettingResponse:
        """The value in force: the defaults overlaid with what is stored."""
        return _setting(await current.effective(session, current.kind_of(key)), caller)

    @put("/{key:str}", operation_id="updateSetting", guards=[WRITES_SETTINGS])
    async def update(
        self, key: str, data: UpdateSettingRequest, session: AsyncSession, caller: Caller
    ) -> SettingResponse:
        """Lay the given fields over the value in force."""
        kind = current.kind_of(key)
        _demand_own(kind, caller)
        return _setting(await current.write(session, kind, data.value), caller)

    @delete("/{key:str}", operation_id="deleteSetting", guards=[WRITES_SETTINGS], status_code=200)
    async def delete(self, key: str, session: AsyncSession, caller: Caller) -> Message:
        """Forget what is stored; the defaults hold again."""
        kind = current.kind_of(key)
        _demand_own(kind, caller)
        await current.delete(session, kind)
        return Message(message="Setting deleted successfully")


def _demand_own(kind: type[Configuration], caller: Caller) -> None:
    """A tenant must not lift its own limits.

    Rule: docs/rules/identity.md#limits-of-a-tenant
    """
    if kind is TenantConfig and not caller.is_operator:
        raise PermissionDenied(f"{kind.key} can only be changed by the operator of this deployment")


def _setting(setting: current.Effective, caller: Caller) -> SettingResponse:
    if setting.row is not None:
        return SettingResponse.of(setting.row, value=setting.value)
    return SettingResponse(
        id="",
        key=setting.kind.key,
        value=setting.value,
        environment_id="" if setting.kind.tenant_level else caller.environment_id,
        tenant_id=caller.tenant_id,
        status=Status.PUBLISHED,
        created_at=NEVER,
        updated_at=NEVER,
        created_by="",
        updated_by="",
    )
