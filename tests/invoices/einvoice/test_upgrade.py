"""Invoices that were final before parties were kept name those of the upgrade, and stay the same from then on."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.invoices.einvoice.exporter import Exporter
from tests.storage.earlier import undo_after


@pytest.mark.slow
async def test_an_invoice_of_the_release_before_names_its_parties_of_the_upgrade(
    new_database: Callable[..., str],
) -> None:
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    try:
        async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
            await account.put("/settings/invoice_config", {"value": {"timezone": "Europe/Berlin"}})
            exporter = Exporter(account)
            customer = await exporter.buyer()
            path = await exporter.one_off(customer=customer, issue_date="2026-03-31T22:30:00Z")
            key = account.key
    finally:
        await database.close()
    with psycopg.connect(url) as connection:
        connection.execute(undo_after("0035"))
    upgrade(url)
    database = Database(url, wire())
    try:
        async with running(settings, database) as base_url:
            account.base_url, account.database = base_url, database
            account.http = account.client(key)
            await account.put(f"/customers/{customer}", {"name": "Renamed", "tax_id": "DE987654321"})
            await account.put("/settings/invoice_config", {"value": {"timezone": "UTC"}})
            await exporter.configure()
            content = await exporter.document(path)
            await account.http.aclose()
    finally:
        await database.close()
    assert b"Stadt Bonn &amp; S\xc3\xb6hne &lt;GmbH&gt;" in content
    assert b"<cbc:IssueDate>2026-04-01</cbc:IssueDate>" in content
