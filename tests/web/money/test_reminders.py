"""The page of an invoice sends a reminder, and says what keeps it from being sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.web.rendering.words.wording import words
from tests.account import Account
from tests.conftest import running, settings_for
from tests.payments.till import Till
from tests.web.stage import Stage
from tests.web.visitor import Visitor


@pytest.fixture
async def mailing(settings: Settings, database: Database) -> AsyncIterator[Account]:
    """A tenant of a server with mail. Nothing is handed in: that is for a duty."""
    mail = {
        "smtp_url": "smtp://127.0.0.1:9",
        "mail_from": "billing@seller.example",
        "mail_test_to": "box@seller.example",
    }
    own = settings_for(str(settings.database_url), **mail)
    async with running(own, database) as url, Account(url, own, database) as account:
        await account.put("/settings/email_config", {"value": {"enabled": True}})
        yield account


async def test_a_reminder_is_sent_once_and_only_while_something_is_owed(mailing: Account) -> None:
    till = Till(mailing)
    customer = await till.desk.customer(email="ada@brightwater.example")
    due = {"due_date": "2026-03-31T12:00:00Z"}
    invoice, paid = [await till.invoice("100", customer=customer, **due) for _ in range(2)]
    await till.pay(paid)
    visitor = await Visitor(mailing).sign_in(await Stage(mailing).admit())
    page = f"/invoices/{invoice['id']}"
    assert f'formaction="{page}/emails/reminder">Send a reminder<' in (await visitor.http.get(page)).text
    form = {"form_token": await visitor.token(page)}

    async def remind(page: str) -> str:
        answer = await visitor.post(f"{page}/emails/reminder", form)
        assert (answer.status_code, answer.headers["location"]) == (303, page)
        return (await visitor.http.get(page)).text

    assert "The mail is queued" in await remind(page)
    assert "queued already" in await remind(page)
    kinds = [mail["kind"] for mail in (await mailing.get(f"/customers/{customer}/emails"))["items"]]
    assert kinds.count("reminder") == 1
    assert f">{words('reminder')}<" in (await visitor.http.get("/emails")).text
    assert "Only an unpaid invoice" in await remind(f"/invoices/{paid['id']}")
    await visitor.http.aclose()
