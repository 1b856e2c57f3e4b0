"""Whether a connection works, as its system says when it is asked for something harmless."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import InvalidOperation
from farthing.transfer.connection_trial import ConnectionTrial, try_connection
from tests.payments.stripe.stripe_till import StripeTill
from tests.payments.till import Till


async def tried(till: Till, connection: dict[str, Any]) -> ConnectionTrial:
    async with till.account.database.session(till.account.scope) as session:
        return await try_connection(session, till.gateways(), till.account.settings, connection["id"])


async def test_stripe_says_whether_it_takes_the_key(stripe_till: StripeTill) -> None:
    (connection,) = (await stripe_till.account.get("/connections"))["connections"]
    assert await tried(stripe_till, connection) == ConnectionTrial(
        works=True, words="Stripe takes the key, which is of test mode"
    )
    assert {method for method, _, _ in stripe_till.books.requests} == {"GET"}
    await stripe_till.use_key("sk_test_revoked_abcdefgh")
    refused = await tried(stripe_till, connection)
    assert not refused.works
    assert "revoked_abc" not in refused.words


async def test_what_cannot_be_asked_says_why(till: Till) -> None:
    async def connected(provider: str, **more: Any) -> dict[str, Any]:
        body = {"name": provider, "provider_type": provider, **more}
        answer: dict[str, Any] = await till.account.post("/connections", body)
        return answer

    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "hidden"}
    said = {
        "razorpay": await tried(till, await connected("razorpay")),
        "s3": await tried(till, await connected("s3", encrypted_secret_data=keys)),
    }
    assert not any(trial.works for trial in said.values())
    assert "cannot talk to 'razorpay' yet" in said["razorpay"].words
    assert said["s3"].words == "No export goes there yet, so that no bucket is known to ask for"


async def test_a_folder_is_looked_at_and_a_deleted_connection_is_refused(till: Till) -> None:
    folder = await till.account.post("/connections", {"name": "Folder", "provider_type": "local"})
    assert (await tried(till, folder)).words == "The export folder is there and can be written"
    simulated = await till.connect()
    assert (await tried(till, simulated)).works
    await till.account.delete(f"/connections/{simulated['id']}")
    with pytest.raises(InvalidOperation, match="deleted"):
        await tried(till, simulated)
