"""External ids in a URL: percent-decoded once, slashes and all."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.account import Account
from tests.customers.conftest import new_customer

AWKWARD = [
    "a/b",
    "/a",
    "a/",
    "/",
    "a//b",
    "a/b/c/entitlements",
    "a%2Fb",
    "100%",
    "with space",
    "a+b",
    "a?b=c&d#e",
    "search",
    "..",
    "ünïcode/日本",
    "a;b,c",
    'quo"te',
    "cust_01/../x",
]


@pytest.mark.parametrize("external_id", AWKWARD)
async def test_an_awkward_external_id_finds_its_customer(account: Account, external_id: str) -> None:
    made = await new_customer(account, external_id)
    encoded = quote(external_id, safe="").replace(".", "%2E")
    for path in (f"/customers/external/{encoded}", f"/customers/lookup/{encoded}"):
        assert await account.get(path) == made
    session = await account.get(f"/customers/portal/{encoded}")
    assert session["token"]
    changed = await account.http.put("/customers", params={"external_customer_id": external_id}, json={"name": "N"})
    assert changed.status_code == 200


async def test_lower_case_escapes_do_as_well(account: Account) -> None:
    made = await new_customer(account, "a/b")
    assert await account.get("/customers/external/a%2fb") == made


async def test_a_plain_slash_still_ends_a_segment(account: Account) -> None:
    await new_customer(account, "a/b")
    for path in ("/customers/external/a/b", "/customers%2Fexternal%2Fa", "/customers/external/a%2Fb/c"):
        refused = await account.get(path, expect=404)
        assert refused["message"] == "Route not found"


async def test_an_unknown_id_is_named_as_it_was_meant(account: Account) -> None:
    refused = await account.get("/customers/external/a%2Fb", expect=404)
    assert refused["message"] == "Customer with external ID a/b was not found"


async def test_escapes_that_are_not_utf8_are_answered(account: Account) -> None:
    for escape in ("%ff", "%ff%2F", "%C3", "%", "%2", "%zz", "%ed%a0%80", "%ED%B0%AF"):
        answer = await account.http.get(f"/customers/external/{escape}")
        assert answer.status_code in {400, 404}
        assert answer.json()["code"] in {"validation_error", "not_found"}


@settings(max_examples=60)
@given(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
        str.strip
    )
)
async def test_any_external_id_finds_its_customer(account: Account, external_id: str) -> None:
    made = await new_customer(account, external_id)
    encoded = quote(external_id, safe="").replace(".", "%2E")
    assert (await account.get(f"/customers/external/{encoded}"))["id"] == made["id"]
    await account.delete(f"/customers/{made['id']}")
