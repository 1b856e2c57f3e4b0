"""Names of other people's keys: for who may list them, and for nobody else who reads what happened.

Rule: docs/rules/activity.md#reading-the-log
"""

from __future__ import annotations

import json

from tests.account import Account
from tests.identity.conftest import person

NAME = "the ledger's nightly key"


async def _act_with_key(account: Account) -> str:
    """A key with a telling name that made a customer, sent an event and voided it; the event's id."""
    key = (await account.post("/secrets/api/keys", {"name": NAME, "type": "private_key"}))["api_key"]
    async with account.client(headers={"x-api-key": key}) as http:
        assert (await http.post("/customers", json={"external_id": "acme", "name": "Acme"})).is_success
        event = {"event_name": "calls", "external_customer_id": "acme", "event_id": "sent_by_key"}
        assert (await http.post("/events", json=event)).is_success
        voided = await http.post("/events/void", json={"event_ids": [event["event_id"]], "reason": "a mistake"})
        assert voided.is_success, voided.text
    return event["event_id"]


async def test_a_reader_sees_what_others_keys_did_and_not_their_names(account: Account) -> None:
    event_id = await _act_with_key(account)
    async with await person(account, ["all_reader"]) as reader, await person(account) as leader:
        for http, is_named in ((leader, True), (reader, False)):
            keys = (await http.get("/secrets/api/keys")).text
            listed = (await http.post("/activity", json={"expand": ["state"], "limit": 200})).json()["items"]
            ids = [activity["id"] for activity in listed if activity["entity"]["type"] in {"api_key", "customer"}]
            entries = [(await http.get(f"/activity/{activity_id}")).text for activity_id in ids]
            history = (await http.get(f"/events/{event_id}", params={"include": "history"})).text
            texts = [keys, json.dumps(listed), "".join(entries), history]
            assert [NAME in text for text in texts] == [is_named] * 4
            # what happened is there for either
            assert {"api_key.created", "customer.created"} <= {activity["action"] for activity in listed}
            by_keys = [activity["actor"] for activity in listed if activity["actor"]["type"] == "api_key"]
            assert by_keys
            assert {actor["owner_id"] for actor in by_keys} == {account.user_id}
    # whoever owns it reads its name, with a key of theirs too
    assert NAME in json.dumps(await account.post("/activity", {"expand": ["state"]}, 200))
