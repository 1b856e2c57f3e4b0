"""Subscriptions whose payer has wallets: what they take off and pay, beside a card and without one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.billing.collection.test_collection import AUTO, SENT, by, to
from tests.billing.counter import has_card, opened
from tests.billing.office import Office
from tests.credits.ledger_desk import LedgerDesk
from tests.payments.till import DECLINED, OK
from tests.subscriptions.shop import fixed


@pytest.mark.parametrize(
    ("method", "behaviour", "card", "loaded", "status", "paid", "left"),
    [
        pytest.param(AUTO, "allow_incomplete", None, "200", "active", "100", "100", id="the wallet alone"),
        pytest.param(AUTO, "allow_incomplete", OK, "60", "active", "100", "0", id="the card pays the rest"),
        pytest.param(AUTO, "allow_incomplete", DECLINED, "60", "incomplete", "0", "60", id="nothing without the rest"),
        pytest.param(AUTO, "default_active", DECLINED, "60", "active", "60", "0", id="its share all the same"),
        pytest.param(AUTO, "default_active", None, "60", "active", "60", "0", id="its share without a card"),
        pytest.param(SENT, "default_active", None, "200", "active", "0", "200", id="a sent invoice is not collected"),
    ],
)
async def test_the_opening(
    office: Office, method: str, behaviour: str, card: str | None, loaded: str, status: str, paid: str, left: str
) -> None:
    customer = await office.customer()
    if card is not None:
        await has_card(office, customer, card)
    desk = LedgerDesk(office.account)
    wallet = await desk.wallet(customer["id"], loaded, wallet_type="POST_PAID")
    made = await opened(office, await office.plan(fixed("100")), customer, **by(method, behaviour))
    assert made["subscription_status"] == status
    assert (await desk.get(made["latest_invoice"]))["amount_paid"] == paid
    assert await desk.balance(wallet) == left
    await desk.require_sound()


async def test_an_opening_that_must_be_paid_leaves_the_wallet_alone(office: Office) -> None:
    customer = await office.customer()
    await has_card(office, customer, DECLINED)
    desk = LedgerDesk(office.account)
    wallet = await desk.wallet(customer["id"], "60", wallet_type="POST_PAID")
    await opened(office, await office.plan(fixed("100")), customer, expect=400, **by(AUTO, "error_if_incomplete"))
    assert await desk.balance(wallet) == "60"


async def test_renewals_take_prepaid_credits_and_are_paid_by_wallet(office: Office) -> None:
    """10 of usage and 100 of fees: 4 prepaid, then the card is declined and the wallet pays what it has."""
    customer = await office.customer()
    await has_card(office, customer, DECLINED)
    desk = LedgerDesk(office.account)
    prepaid = await desk.wallet(customer["id"], "4")
    wallet = await desk.wallet(customer["id"], "130", wallet_type="POST_PAID")
    feature = await office.feature("calls")
    plan = await office.plan(fixed("100"), office.usage(feature, "1"))
    made = await opened(office, plan, customer, **by(AUTO, "default_active"))
    await office.used("calls", customer, 10, "2026-01-10")
    await to(office, "2026-02-02")
    invoices = [invoice for invoice in await office.invoices() if invoice.subscription_id == made["id"]]
    renewal = invoices[-1]
    assert (renewal.total_prepaid_credits_applied, renewal.amount_due) == (Decimal(4), Decimal(106))
    assert renewal.amount_paid == Decimal(30)
    assert (await desk.balance(prepaid), await desk.balance(wallet)) == ("0", "0")
    await desk.top_up(wallet, "76")
    await office.account.post(f"/invoices/{renewal.id}/payment/attempt", expect=200)
    assert (await desk.get({"id": renewal.id}))["payment_status"] == "SUCCEEDED"
    await desk.require_sound()
