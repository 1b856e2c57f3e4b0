"""Five roles against every route there is.

Rule: docs/rules/identity.md#roles
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from litestar.handlers.http_handlers import HTTPRouteHandler
from sqlalchemy import update

from farthing.core.caller import ANY, DELETE, READ, WRITE, Caller
from farthing.core.origin import VISITOR
from farthing.identity.credentials import keys
from farthing.identity.roles import ENTITIES, ROLES, covers, permissions_of
from farthing.identity.tables import InternalStatus, SecretType, Tenant, UserType
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.application import routed_application
from tests.identity.conftest import person

INSUFFICIENT = "insufficient permissions"
RESERVED = "This action requires a user account with Super Admin access"
SUSPENDED = "tenant account is suspended"

EXPECTED = {
    "super_admin": (set(ENTITIES), set(ENTITIES)),
    "all_reader": (set(ENTITIES), set()),
    "all_writer": (set(ENTITIES), set(ENTITIES)),
    "event_ingestor": (set(), {"event"}),
    "event_reader": ({"event"}, set()),
}
"""Role to what it reads and what it writes."""


@dataclass(frozen=True)
class GuardedEndpoint:
    """One registered route with one method."""

    method: str
    path: str
    needs: tuple[str, str] | None
    public: bool
    guards: int

    @property
    def url(self) -> str:
        """A path under /v1 with ids that nobody has."""
        return re.sub(r"\{[^}]*\}", "nobody", self.path.removeprefix("/v1"))


def endpoints() -> Iterator[GuardedEndpoint]:
    """Every route under /v1, from the application itself."""
    for route in routed_application().routes:
        if not route.path.startswith("/v1"):
            continue
        for handler in getattr(route, "route_handlers", ()):
            assert isinstance(handler, HTTPRouteHandler)
            guards = [guard for guard in handler.resolve_guards() if hasattr(guard, "needs")]
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                yield GuardedEndpoint(
                    method,
                    route.path_format,
                    guards[0].needs if guards else None,
                    bool(handler.opt.get("public")),
                    len(guards),
                )


ENDPOINTS = sorted(endpoints(), key=lambda endpoint: (endpoint.path, endpoint.method))
GUARDED = [endpoint for endpoint in ENDPOINTS if not endpoint.public and endpoint.needs is not None]


def test_every_route_has_one_guard_or_is_public_by_name() -> None:
    assert len(ENDPOINTS) > 20
    wrong = [endpoint for endpoint in ENDPOINTS if endpoint.guards != (0 if endpoint.public else 1)]
    assert wrong == []
    assert {endpoint.needs[0] for endpoint in GUARDED if endpoint.needs} <= set(ENTITIES)
    assert {endpoint.needs[1] for endpoint in GUARDED if endpoint.needs} <= {READ, WRITE, DELETE}


# signing a portal token stores nothing, but hands out access, as the secret that signs webhooks does: both demand write
DEMANDS_WRITE_TO_READ = {"/v1/customers/portal/{external_id}", "/v1/webhooks/endpoints/{id}/secret"}


def test_reading_demands_no_right_to_write() -> None:
    demanding = {
        endpoint.path
        for endpoint in GUARDED
        if endpoint.method == "GET" and endpoint.needs and endpoint.needs[1] == WRITE
    }
    assert demanding <= DEMANDS_WRITE_TO_READ


@pytest.mark.parametrize("role", list(ROLES))
@pytest.mark.parametrize("entity", ENTITIES)
def test_what_a_role_may_do(role: str, entity: str) -> None:
    caller = Caller("t", "e", "u", "c", VISITOR, roles=(role,), permissions=permissions_of([role]))
    reads, writes = EXPECTED[role]
    assert caller.may(READ, entity) is (entity in reads)
    assert caller.may(WRITE, entity) is (entity in writes)


def test_no_roles_and_unknown_roles_grant_nothing() -> None:
    for roles in ([], ["king"]):
        caller = Caller("t", "e", "u", "c", VISITOR, permissions=permissions_of(roles))
        assert not any(caller.may(action, entity) for action in (READ, WRITE) for entity in ENTITIES)


@pytest.mark.parametrize(
    ("held", "granted", "expected"),
    [
        (["super_admin"], ["super_admin"], True),
        (["all_writer"], ["super_admin"], False),
        (["all_writer"], ["all_reader"], True),
        (["event_reader"], ["all_reader"], False),
        (["event_reader"], ["event_ingestor"], False),
        (["event_reader", "event_ingestor"], ["event_ingestor", "event_reader"], True),
        ([], ["event_reader"], False),
        ([], [], True),
    ],
)
def test_whether_some_roles_cover_others(held: list[str], granted: list[str], expected: bool) -> None:
    assert covers(permissions_of(held), permissions_of(granted)) is expected


async def knock(http: httpx.AsyncClient, endpoint: GuardedEndpoint) -> httpx.Response:
    return await http.request(endpoint.method, endpoint.url, json=None if endpoint.method in {"GET", "DELETE"} else {})


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_opens_exactly_its_doors(account: Account, role: str) -> None:
    """Service accounts for the roles they may hold; reserved routes refuse them all, in other words."""
    owner_type = UserType.SERVICE_ACCOUNT if UserType.SERVICE_ACCOUNT in ROLES[role].assignable_to else UserType.USER
    reads, writes = EXPECTED[role]
    async with account.client(await account.new_key([role], owner_type=owner_type)) as http:
        for endpoint in GUARDED:
            assert endpoint.needs is not None
            entity, action = endpoint.needs
            answer = await knock(http, endpoint)
            message = answer.json().get("message", "") if answer.content else ""
            refused = answer.status_code == 403 and message in {INSUFFICIENT, RESERVED}
            deletes = {"super_admin": {"event", "customer"}, "all_writer": {"event"}}.get(role, set())
            if entity in {READ: reads, WRITE: writes, DELETE: deletes}[action]:
                assert not refused or message == RESERVED, f"{role} was refused {endpoint}"
            else:
                assert refused, f"{role} was let through {endpoint}: {answer.status_code}"


async def test_a_person_in_charge_is_refused_nothing(account: Account) -> None:
    async with await person(account) as http:
        for endpoint in GUARDED:
            answer = await knock(http, endpoint)
            message = answer.json().get("message", "") if answer.content else ""
            assert message not in {INSUFFICIENT, RESERVED}, endpoint


async def test_without_credentials_no_door_opens(account: Account) -> None:
    async with account.client() as http:
        for endpoint in ENDPOINTS:
            if not endpoint.public:
                assert (await knock(http, endpoint)).status_code == 401, endpoint


async def test_a_publishable_key_opens_only_the_door_for_events(account: Account) -> None:
    key = await account.new_key(["super_admin"], type=SecretType.PUBLISHABLE_KEY, owner_type=UserType.USER)
    async with account.client(key) as http:
        for endpoint in GUARDED:
            if endpoint.needs != ("event", WRITE):
                assert (await knock(http, endpoint)).status_code == 403, endpoint


async def test_a_suspended_tenant_is_refused_every_write_before_its_role(account: Account) -> None:
    ingestor = await account.new_key(["event_ingestor"])
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(Tenant).where(Tenant.id == account.tenant_id).values(internal_status=InternalStatus.SUSPENDED)
        )
        await keys.invalidate(session, account.tenant_id)
    for key in (account.key, ingestor):
        async with account.client(key) as http:
            for endpoint in GUARDED:
                if endpoint.needs is None or endpoint.needs[1] != WRITE:
                    continue
                answer = await knock(http, endpoint)
                assert (answer.status_code, answer.json()["message"]) == (403, SUSPENDED), endpoint


RESERVED_ENDPOINTS: list[tuple[str, str, dict[str, object] | None]] = [
    ("PUT", "/users/nobody/roles", {"roles": ["all_reader"]}),
    ("POST", "/users/nobody/remove", None),
    ("POST", "/users", {"type": "user", "email": "a@example.com"}),
    ("PUT", "/settings/invoice_config", {"value": {}}),
    ("DELETE", "/settings/invoice_config", None),
    ("POST", "/secrets/api/keys", {"name": "x", "type": "private_key", "service_account_id": "nobody"}),
]


@pytest.mark.parametrize(("method", "path", "body"), RESERVED_ENDPOINTS)
async def test_reserved_routes_are_for_a_person_in_charge(
    account: Account, method: str, path: str, body: object
) -> None:
    service = account.client(await account.new_key(["super_admin"]))
    writer = await person(account, ["all_writer"])
    reader = await person(account, ["all_reader"])
    for client, messages in (
        (service, {RESERVED}),
        (writer, {RESERVED}),
        (reader, {RESERVED, INSUFFICIENT}),
    ):
        async with client as http:
            answer = await http.request(method, path, json=body)
        assert answer.status_code == 403
        assert answer.json()["message"] in messages


async def test_the_catalogue_of_roles(account: Account) -> None:
    listed = await account.get("/rbac/roles")
    assert [role["id"] for role in listed["roles"]] == list(EXPECTED)
    assert listed["roles"][0]["permissions"] == {ANY: [ANY]}
    assert listed["roles"][2]["permissions"] == {ANY: ["read", "write"], "event": ["delete", "read", "write"]}
    assert all(role["name"] and role["description"] for role in listed["roles"])
    people = await account.get("/rbac/roles", user_type="user")
    assert [role["id"] for role in people["roles"]] == ["super_admin", "all_reader", "all_writer"]
    services = await account.get("/rbac/roles", user_type="service_account")
    assert [role["id"] for role in services["roles"]] == ["super_admin", "event_ingestor", "event_reader"]
    refused = await account.get("/rbac/roles", user_type="robot", expect=400)
    assert "user_type" in refused["details"]
    assert await account.get("/rbac/roles/event_reader") == {"role": services["roles"][2]}
    assert (await account.get("/rbac/roles/king", expect=404))["code"] == "not_found"


async def test_any_caller_that_reads_at_all_reads_the_catalogue_of_roles(account: Account) -> None:
    async with account.client(await account.new_key(["event_reader"])) as http:
        assert (await http.get("/rbac/roles")).status_code == 200


async def test_whoever_reads_events_is_not_shown_beside_them_what_that_role_may_not_read(account: Account) -> None:
    group = await account.post("/groups", {"name": "Inside", "lookup_key": "inside", "entity_type": "feature"})
    meter = {"name": "Calls", "event_name": "calls", "aggregation": {"type": "COUNT"}, "reset_usage": "NEVER"}
    feature = {"name": "Calls", "type": "metered", "meter": meter, "group_id": group["id"]}
    await account.post("/features", feature)
    await account.post("/events", {"event_name": "calls", "external_customer_id": "somebody"}, expect=202)
    shown = (await account.post("/events/analytics", {"expand": ["feature", "meter"]}, expect=200))["items"][0]
    assert (shown["feature"]["name"], shown["group"]["name"]) == ("Calls", "Inside")
    async with account.client(await account.new_key(["event_reader"])) as reader:
        plain = await reader.post("/events/analytics", json={"expand": ["source"]})
        assert plain.status_code == 200
        assert "Inside" not in plain.text
        for name in ("price", "plan", "addon", "meter", "feature", "subscription_line_item"):
            refused = await reader.post("/events/analytics", json={"expand": ["source", name]})
            assert refused.status_code == 403, name
            assert refused.json()["details"] == {"expand": f"'{name}' cannot be read with this role"}


async def test_whoever_reads_events_sees_how_far_one_came_and_not_whose_it_is(account: Account) -> None:
    meter = {"name": "Secret meter", "event_name": "calls", "aggregation": {"type": "COUNT"}, "reset_usage": "NEVER"}
    await account.post("/features", {"name": "Calls", "type": "metered", "meter": meter})
    await account.post("/customers", {"external_id": "acme", "name": "Acme", "email": "books@acme.example"})
    event = {"event_id": "stuck", "event_name": "calls", "external_customer_id": "acme"}
    await account.post("/events", event, expect=202)
    inside = ("books@acme.example", "Secret meter")
    async with account.client(await account.new_key(["event_reader"])) as reader:
        for address in ("/events/stuck", "/events/lookup?id=stuck"):
            whole, seen = await account.http.get(address), await reader.get(address)
            assert [text in whole.text for text in inside] == [True] * 2
            assert [text in seen.text for text in inside] == [False] * 2
            steps = [answer.json()["debug_tracker"] for answer in (whole, seen)]
            assert steps[0]["failure_point"] == steps[1]["failure_point"]
            assert steps[1]["customer_lookup"] == {"status": "found"}
