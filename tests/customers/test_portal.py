"""Portal sessions: what the token says, how long it lives, and whose key signs it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from farthing.customers.portal import ALGORITHM, KEY_PURPOSE, open_session
from farthing.customers.tables import Customer
from farthing.identity.credentials.keys import derived_key
from tests.account import Account
from tests.customers.conftest import new_customer

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def customer() -> Customer:
    return Customer(id="cust_1", external_id="acme", tenant_id="tenant_1", environment_id="env_1")


async def test_a_session_says_whose_it_is_and_until_when(account: Account) -> None:
    made = await new_customer(account)
    await account.freeze(datetime(2020, 1, 1, tzinfo=UTC))  # sessions live in real time all the same
    for method in ("GET", "POST"):
        answer = await account.http.request(method, "/customers/portal/acme")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        session = answer.json()
        claims = jwt.decode(session["token"], derived_key(account.settings.master_key(), KEY_PURPOSE), [ALGORITHM])
        expires = datetime.fromisoformat(session["expires_at"])
        assert claims == {
            "typ": "portal",
            "customer_id": made["id"],
            "external_customer_id": "acme",
            "tenant_id": account.tenant_id,
            "environment_id": account.environment_id,
            "iat": claims["exp"] - 3600,
            "exp": int(expires.timestamp()),
        }
        assert abs(expires - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
        assert session["url"].endswith(f"?token={session['token']}")


async def test_no_other_key_signs_it(account: Account) -> None:
    await new_customer(account)
    token = (await account.get("/customers/portal/acme"))["token"]
    master = account.settings.master_key()
    for key in (
        hashlib.sha256(master.encode()).digest(),
        derived_key(master, "api-keys"),
        derived_key(master, "user-tokens"),
    ):
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, key, [ALGORITHM])


async def test_an_archived_customer_gets_none(account: Account) -> None:
    made = await new_customer(account)
    await account.delete(f"/customers/{made['id']}")
    await account.get("/customers/portal/acme", expect=404)


@pytest.mark.parametrize(
    ("configured", "life"),
    [
        pytest.param(60, 60, id="the life that is configured"),
        pytest.param(0, 3600, id="nought means an hour"),
        pytest.param(-5, 3600, id="less than nought means an hour"),
    ],
)
def test_a_session_ends_after_its_life(configured: int, life: int) -> None:
    session = open_session(customer(), "a master key", NOW, configured)
    assert session.expires_at == NOW.replace(microsecond=0) + timedelta(seconds=life)


@pytest.mark.parametrize(
    ("portal", "start"),
    [
        pytest.param("https://pay.example", "https://pay.example?token=ey", id="a plain address"),
        pytest.param("https://pay.example/?lang=de", "https://pay.example/?lang=de&token=ey", id="one with a query"),
    ],
)
def test_the_link_carries_the_token(portal: str, start: str) -> None:
    assert open_session(customer(), "a master key", NOW, 60).url(portal).startswith(start)
