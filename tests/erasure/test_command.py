"""`farthing erase`: it says what would be erased, and erases only when it is told to."""

from __future__ import annotations

from tests.account import Account
from tests.billing.run.test_command import farthing
from tests.erasure.person import PERSON, traces


async def test_a_customer_is_erased_from_the_command_line(account: Account) -> None:
    customer = await account.post("/customers", PERSON)
    command = ("erase", customer["id"], account.environment_id)
    tried = await farthing(account, *command)
    assert (tried.status, "would be erased" in tried.out) == (0, True), tried.err
    assert (await account.get(f"/customers/{customer['id']}"))["name"] == PERSON["name"]
    done = await farthing(account, *command, "--yes")
    assert (done.status, done.out.startswith("erased")) == (0, True), done.err
    assert await traces(account) == {}


async def test_an_environment_that_is_unknown_is_named(account: Account) -> None:
    refused = await farthing(account, "erase", "cust_x", "env_unknown", "--yes")
    assert refused.status != 0
    assert "env_unknown" in refused.out + refused.err
