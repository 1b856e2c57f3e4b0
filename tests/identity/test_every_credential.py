"""Every class of credential against the routes it is not for: none opens more than its name says, and none breaks one.

Guards decide alone, and every route has exactly one, so a few routes speak for all of their kind: each class is sent to
those of each kind (`SELECTION`), and every route is tried by one class, which take turns; in full by `make thorough`.
Rule: docs/rules/identity.md#credentials
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import update

from farthing.core.enums import Status
from farthing.identity.authentication import PURPOSE as USER_TOKENS
from farthing.identity.credentials import keys
from farthing.identity.credentials.keys import KeyHasher, derived_key
from farthing.identity.credentials.master_key import MasterKeys
from farthing.identity.sign_in.sessions import SignInOrigin, open_session
from farthing.identity.sign_in.tables import SessionKind
from farthing.identity.tables import User
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.sessions import Session, Sessions
from tests.account import Account
from tests.application import routed_application
from tests.identity.conftest import new_user, token_of
from tests.thorough import THOROUGH

Headers = Mapping[str, str]
API, PAGES, PORTAL, OPEN = "api", "pages", "portal", "open"
ADDRESS_IS_CREDENTIAL = ("/portal/", "/checkout/")
REFUSED = {401, 403}


@dataclass(frozen=True)
class Door:
    """A route with one method, and what kind of credential it asks for."""

    method: str
    path: str
    asks_for: str

    @property
    def url(self) -> str:
        return re.sub(r"\{[^}]*\}", "nobody", self.path)


def _doors() -> Iterator[Door]:
    for route in routed_application().routes:
        path = route.path_format
        for handler in getattr(route, "route_handlers", ()):
            guarded = any(hasattr(guard, "needs") for guard in handler.resolve_guards())
            kind = OPEN
            if guarded and not path.startswith(ADDRESS_IS_CREDENTIAL):
                in_portal = path.startswith("/v1/customer/portal/")
                kind = PORTAL if in_portal else API if path.startswith("/v1/") else PAGES
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                yield Door(method, path, kind)


DOORS = sorted(_doors(), key=lambda door: (door.path, door.method))
SELECTION = {
    API: [door for door in DOORS if (door.method, door.path) in {("GET", "/v1/customers"), ("POST", "/v1/users")}],
    PAGES: [door for door in DOORS if (door.method, door.path) in {("GET", "/customers"), ("POST", "/team/invite")}],
    PORTAL: [door for door in DOORS if door.path in {"/v1/customer/portal/info", "/v1/customer/portal/invoices"}],
}


@dataclass(frozen=True)
class Credential:
    """Headers, and the one kind of door that they may open."""

    name: str
    headers: Headers
    opens: str = ""


@pytest.fixture(scope="module")
async def owner(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Account]:
    async with Account(base_url, settings, database) as account:
        yield account


@pytest.fixture(scope="module")
async def credentials(owner: Account) -> list[Credential]:
    """One of every class, most of which somebody in charge once held."""
    master = owner.settings.master_key()
    environment = {"x-environment-id": owner.environment_id}
    token = await token_of(owner, owner.user_id)
    cookie = await _cookie(owner, owner.user_id)
    await owner.post("/customers", {"external_id": "visits the portal", "name": "Visitor"})
    visit = (await owner.get("/customers/portal/visits%20the%20portal"))["token"]
    claims = jwt.decode(token, options={"verify_signature": False})

    def bearer(text: str) -> Headers:
        return {"authorization": f"Bearer {text}", **environment}

    def signed(purpose: str, **changed: Any) -> str:
        return jwt.encode({**claims, **changed}, derived_key(master, purpose), "HS256")

    archived = await new_user(owner, ["super_admin"])
    of_archived = bearer(await token_of(owner, archived.id)), await _cookie(owner, archived.id)
    async with owner.database.transaction(SYSTEM) as session:
        await session.execute(update(User).where(User.id == archived.id).values(status=Status.ARCHIVED))
    key = owner.key
    return [
        Credential("none", {}),
        *(
            Credential(f"malformed key {number}", {"x-api-key": text})
            for number, text in enumerate(
                ["", "x", "sk_", f"sk_{'0' * 26}", key[:-1], f"{key} x", key.lower(), key * 200]
            )
        ),
        Credential("key behind Bearer", {"x-api-key": f"Bearer {key}"}),
        Credential("key as a token", bearer(key)),
        Credential("key as a session of the portal", {"x-session-token": key}),
        Credential("key as a cookie", {"cookie": f"farthing={key}"}),
        Credential("expired key", {"x-api-key": await _ended_key(owner, expires_at=datetime.now(UTC))}),
        Credential("revoked key", {"x-api-key": await _ended_key(owner, status=Status.ARCHIVED)}),
        Credential("token of an archived person", of_archived[0]),
        Credential("cookie of an archived person", {"cookie": f"farthing={of_archived[1]}"}),
        Credential("unsigned token", bearer(jwt.encode(claims, "", "none"))),
        Credential("token by another key", bearer(jwt.encode(claims, "another key of thirty-two bytes!", "HS256"))),
        Credential("token for another purpose", bearer(signed("portal-sessions"))),
        Credential("expired token", bearer(signed(USER_TOKENS, exp=5))),
        Credential("token of no session", bearer(signed(USER_TOKENS, sid="s"))),
        Credential("token of another tenant", bearer(signed(USER_TOKENS, tenant_id="tenant_another"))),
        Credential("token as a cookie", {"cookie": f"farthing={token}"}),
        Credential("token as a session of the portal", {"x-session-token": token}),
        Credential("cookie as a token", bearer(cookie)),
        Credential("cookie as a key", {"x-api-key": cookie}),
        Credential("visit of the portal as a token", bearer(visit)),
        Credential("visit of the portal as a cookie", {"cookie": f"farthing={visit}"}),
        Credential("visit of the portal as a key", {"x-api-key": visit}),
        Credential("session of the pages", {"cookie": f"farthing={cookie}"}, opens=PAGES),
        Credential(
            "session of the pages and a wrong key", {"cookie": f"farthing={cookie}", "x-api-key": "x"}, opens=PAGES
        ),
        Credential("visit of the portal", {"x-session-token": visit}, opens=PORTAL),
        Credential("key of somebody in charge", {"x-api-key": key}, opens=API),
        Credential("token of somebody in charge", bearer(token), opens=API),
    ]


async def test_no_credential_opens_what_is_not_its_own(owner: Account, credentials: list[Credential]) -> None:
    async with httpx.AsyncClient(base_url=owner.base_url, timeout=60) as http:
        for credential in credentials:
            for kind, doors in SELECTION.items():
                assert len(doors) == 2 or kind == PORTAL
                if kind == credential.opens:
                    continue
                for door in doors:
                    assert _is_refused(await _knock(http, door, credential)), (credential.name, door)


async def test_each_door_refuses_one_class_after_another_and_none_breaks_it(
    owner: Account, credentials: list[Credential]
) -> None:
    async with httpx.AsyncClient(base_url=owner.base_url, timeout=60) as http:
        for number, door in enumerate(door for door in DOORS if door.asks_for != OPEN):
            others = [credential for credential in credentials if credential.opens != door.asks_for]
            for credential in others if THOROUGH else [others[number % len(others)]]:
                assert _is_refused(await _knock(http, door, credential)), (credential.name, door)


async def test_what_opens_a_kind_of_door_opens_it(owner: Account, credentials: list[Credential]) -> None:
    """So the refusals above are not for another reason."""
    readable = {API: "/v1/customers", PAGES: "/customers", PORTAL: "/v1/customer/portal/info"}
    async with httpx.AsyncClient(base_url=owner.base_url, timeout=60) as http:
        for credential in credentials:
            if credential.opens:
                answer = await http.get(readable[credential.opens], headers=credential.headers)
                assert answer.status_code == 200, credential.name


async def _knock(http: httpx.AsyncClient, door: Door, credential: Credential) -> httpx.Response:
    body: dict[str, Any] | None = {} if door.method in {"POST", "PUT"} and door.path.startswith("/v1") else None
    return await http.request(door.method, door.url, headers=dict(credential.headers), json=body)


def _is_refused(answer: httpx.Response) -> bool:
    """Asked who it is, told that it may not, or sent to sign in."""
    return answer.status_code in REFUSED or (answer.status_code == 303 and "/sign-in" in answer.headers["location"])


async def _cookie(account: Account, user_id: str) -> str:
    """The cookie of a session of the pages."""
    now = datetime.now(UTC)
    async with account.database.transaction(SYSTEM) as session:
        user = await session.get_one(User, user_id)
        opened = await open_session(session, user, SessionKind.DASHBOARD, timedelta(hours=1), SignInOrigin(), now)
    sessions = Sessions(account.settings, MasterKeys.of(account.settings))
    value = sessions.cookie(Session(opened, user_id, account.environment_id, now + timedelta(hours=1))).value
    assert value is not None
    return value


async def _ended_key(account: Account, **changed: Any) -> str:
    """A key of somebody in charge that opens nothing any more."""
    key = await account.new_key(["super_admin"])
    async with account.database.transaction(SYSTEM) as session:
        secret = await keys.by_hashes(session, [KeyHasher(account.settings.master_key()).hash(key)])
        assert secret is not None
        for name, value in changed.items():
            setattr(secret, name, value)
    return key
