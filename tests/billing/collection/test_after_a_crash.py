"""A charge that was interrupted before its provider heard of it has failed, and a billing run within the hour pays."""

from __future__ import annotations

from datetime import timedelta

import pytest

from farthing.billing.collection.collect import AGAIN, collect_due
from farthing.core.clock import FixedClock
from farthing.invoices.ports import InvoicePorts
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from farthing.payments.testing_provider import provider as testing_provider
from tests.billing.collection.test_collection import AUTO, by, claims
from tests.billing.counter import has_card, opened
from tests.billing.office import Office
from tests.payments.till import OK
from tests.subscriptions.shop import fixed


async def test_what_was_never_charged_is_charged_by_a_run_within_the_hour(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await office.customer()
    await has_card(office, customer, OK)
    made = await opened(office, await office.plan(fixed("10")), customer, **by(AUTO, "default_active"))
    await office.run("2026-02-01")
    account = office.account
    gateways = Gateways(account.database, account.settings, account.database.ports.part(InvoicePorts).hooks)

    async def dies(*_: object, **__: object) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as broken:
        broken.setattr(testing_provider.TestProvider, "charge_saved_method", dies)
        (cut_off,) = await collect_due(account.database, account.scope, gateways, FixedClock(office.now))
    soon = FixedClock(office.now + timedelta(minutes=16))
    async with account.database.session(account.scope, clock=soon) as session:
        assert await reconcile(session, gateways, soon.now()) == 1
    assert await claims(office, made) == ["CREATE SUCCEEDED", "CYCLE FAILED"]
    assert timedelta(hours=1) == AGAIN
    later = FixedClock(office.now + AGAIN)
    assert await collect_due(account.database, account.scope, gateways, later) == {}
    assert await claims(office, made) == ["CREATE SUCCEEDED", "CYCLE SUCCEEDED"]
    payments = (await account.get("/payments", destination_id=cut_off))["items"]
    assert sorted(payment["payment_status"] for payment in payments) == ["FAILED", "SUCCEEDED"]
