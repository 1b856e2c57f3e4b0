from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.payments.stripe.documented_stripe import DocumentedStripe, serving_stripe
from tests.payments.stripe.stripe_till import StripeTill
from tests.payments.till import Till


@pytest.fixture
def till(account: Account) -> Till:
    """This account's till."""
    return Till(account)


@dataclass(frozen=True)
class StripeOffice:
    """A server of Farthing that finds Stripe on this machine."""

    settings: Settings
    database: Database
    base_url: str
    stripe: DocumentedStripe


@pytest.fixture(scope="session")
async def stripe_office(new_database: Callable[..., str]) -> AsyncIterator[StripeOffice]:
    async with serving_stripe() as stripe:
        settings = settings_for(new_database(), provider_urls=json.dumps({"stripe": stripe.url}))
        assert settings.database_url is not None
        database = Database(settings.database_url, wire(), pool_size=10)
        async with running(settings, database) as base_url:
            yield StripeOffice(settings, database, base_url, stripe)
        await database.close()


@pytest.fixture
async def stripe_till(stripe_office: StripeOffice) -> AsyncIterator[StripeTill]:
    """The till of a fresh tenant, connected to an account of its own at Stripe."""
    async with Account(stripe_office.base_url, stripe_office.settings, stripe_office.database) as account:
        till = StripeTill(account, stripe_office.stripe)
        await till.connect()
        yield till
