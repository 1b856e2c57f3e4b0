"""Secrets of endpoints and the master key: they outlive its change, and are replaced when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from farthing import rotation
from farthing.identity.credentials.master_key import settle
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.endpoints import rotate_secret
from farthing.storage.postgres import Database
from farthing.storage.record.outbox import record_event
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.notifications.conftest import PostOffice, make_endpoint
from tests.notifications.receiver import Receiver

OLD, NEW, LAST = (f"the {which} master key of this deployment" for which in ("old", "new", "last"))


async def test_secrets_are_sealed_again_with_the_master_key_and_forgotten_with_a_lost_one(
    new_database: Callable[..., str], receiver: Receiver
) -> None:
    url = new_database()
    database = Database(url, wire(), pool_size=3)
    settings = settings_for(url, secret_key=OLD, webhook_allow_private=True)
    await settle(settings, database)
    async with (
        running(settings, database) as base_url,
        Account(base_url, settings, database) as account,
    ):
        endpoint = await make_endpoint(account, f"{receiver.url}/hook", headers={"x-token": "ours"})
    await rotation.rotate(settings_for(url, secret_key=NEW, secret_key_previous=OLD), database, timedelta(days=1))
    office = PostOffice(settings_for(url, secret_key=NEW, webhook_allow_private=True), database, "")
    await _record(account)
    await office.deliver()
    (received,) = receiver.at("/hook")
    received.verify(endpoint["secret"])
    assert received.headers["x-token"] == "ours"

    office = PostOffice(settings_for(url, secret_key=LAST, webhook_allow_private=True), database, "")
    await rotation.replace_lost(office.settings, database)
    await _record(account)
    await office.deliver()
    assert len(receiver.at("/hook")) == 1
    async with account.transaction() as session:
        _, secret = await rotate_secret(session, SecretsBox.under(LAST), endpoint["id"])
    await office.deliver(database.clock.now() + timedelta(minutes=1))
    received = receiver.at("/hook")[1]
    received.verify(secret)
    assert "x-token" not in received.headers
    await database.close()


async def _record(account: Account) -> None:
    async with account.transaction() as session:
        await record_event(session, "customer.updated", "customer", "somebody", {})
