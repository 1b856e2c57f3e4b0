"""Hosted pages whose webhook never comes: the reconciliation duty asks about them, once beside whoever tells late."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy import update

from farthing.payments.processing.reconciliation import reconcile
from farthing.payments.tables import Payment
from farthing.payments.testing_provider.tables import TestSession as Page
from tests.payments.stripe.stripe_till import StripeTill
from tests.payments.till import ASKS, Till


async def test_what_was_paid_is_settled_although_nobody_told(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed", delivery="late")
    assert await till.reconcile(minutes=14) == 0
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    assert await till.reconcile() == 1
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await till.act(payment, "deliver")  # and then the webhook comes after all
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.events(payment["id"])).count("payment.success") == 1


async def test_what_went_back_meanwhile_counts_with_it(till: Till) -> None:
    await till.connect()
    payment = await till.link(await till.invoice())
    await till.act(payment, "succeed", delivery="late")
    await till.act(payment, "refund", amount="30", delivery="late")
    await till.reconcile()
    payment = await till.read(payment)
    assert (payment["payment_status"], payment["amount"]) == ("PARTIALLY_REFUNDED", "100")


async def test_a_page_that_expired_fails_its_payment_without_blaming_the_invoice(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "expire", delivery="late")
    await till.reconcile()
    payment = await till.read(payment)
    assert (payment["payment_status"], payment["error_message"]) == ("FAILED", "The payment link expired")
    assert await till.standing(invoice) == ("PENDING", "0", "100")


async def test_a_page_of_the_test_provider_closes_when_its_time_is_over(till: Till) -> None:
    await till.connect()
    payment = await till.link(await till.invoice())
    async with till.account.transaction() as session:
        await session.execute(
            update(Page).where(Page.id == payment["gateway_tracking_id"]).values(expires_at=Page.created_at)
        )
    await till.reconcile()
    assert (await till.read(payment))["payment_status"] == "FAILED"
    assert (await till.act(payment, "succeed", 400))["details"]["state"] == "expired"


async def test_a_charge_that_its_payer_confirmed_or_let_pass_is_decided(till: Till) -> None:
    await till.connect()
    paid, unpaid = await till.invoice(), await till.invoice()
    confirmed, left = await till.charge(paid, method=ASKS), await till.charge(unpaid, method=ASKS)
    await till.act(confirmed, "succeed", delivery="late")
    await till.act(left, "expire", delivery="late")
    await till.reconcile()
    assert await till.standing(paid) == ("SUCCEEDED", "100", "0")
    assert await till.standing(unpaid) == ("FAILED", "0", "100")


async def test_a_page_that_stays_open_is_asked_about_less_often_as_it_grows_older(stripe_till: StripeTill) -> None:
    payment = await stripe_till.link(await stripe_till.invoice())
    path = f"/checkout/sessions/{payment['gateway_tracking_id']}"
    async with stripe_till.account.transaction(read_only=True) as session:
        opened_at = (await session.get_one(Payment, payment["id"])).created_at
    asked, minutes_asked = 0, []
    for minutes in (*range(15, 361, 15), 31 * 24 * 60):
        async with stripe_till.account.database.session(stripe_till.account.scope) as session:
            await reconcile(session, stripe_till.gateways(), opened_at + timedelta(minutes=minutes))
        if stripe_till.asked("GET", path) > asked:
            asked += 1
            minutes_asked.append(minutes)
    assert minutes_asked == [15, 30, 45, 60, 75, 105, 135, 180, 225, 285, 360]  # and not after thirty days
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"


async def test_asking_and_being_told_32_times_at_once_counts_once(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed", delivery="late")
    ways = [till.reconcile() if number % 2 else till.act(payment, "deliver") for number in range(32)]
    await asyncio.gather(*ways)
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.events(payment["id"])).count("payment.success") == 1
    assert [each["payment_status"] for each in (await till.read(payment))["attempts"]] == ["SUCCEEDED"]


async def test_money_on_a_page_that_is_closed_unheard_goes_back(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed", delivery="late")
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await till.reconcile()
    payment = await till.read(payment)
    assert (payment["payment_status"], payment["refunded_at"] is not None) == ("REFUNDED", True)


async def test_a_page_of_stripe_s_that_was_paid_expired_or_promised_is_asked_for(stripe_till: StripeTill) -> None:
    books = stripe_till.books
    invoices = [await stripe_till.invoice() for _ in range(4)]
    paid, expired, promised, refused = [await stripe_till.link(invoice) for invoice in invoices]
    intent = books.pay_page(paid["gateway_tracking_id"])
    books.rows[expired["gateway_tracking_id"]]["status"] = "expired"
    for payment, status in ((promised, "processing"), (refused, "requires_payment_method")):
        books.pay_page(payment["gateway_tracking_id"])
        page = books.rows[payment["gateway_tracking_id"]]
        page["payment_status"] = "unpaid"
        books.rows[page["payment_intent"]]["status"] = status
    await stripe_till.reconcile()
    standing = [(await stripe_till.read(payment)) for payment in (paid, expired, promised, refused)]
    assert [payment["payment_status"] for payment in standing] == ["SUCCEEDED", "FAILED", "PENDING", "FAILED"]
    assert standing[0]["gateway_payment_id"] == intent["id"]
    assert await stripe_till.standing(invoices[0]) == ("SUCCEEDED", "100", "0")
    await stripe_till.hear("checkout.session.completed", books.rows[paid["gateway_tracking_id"]])
    assert (await stripe_till.events(paid["id"])).count("payment.success") == 1


async def test_while_a_provider_does_not_answer_nothing_is_decided(stripe_till: StripeTill) -> None:
    invoice = await stripe_till.invoice()
    payment = await stripe_till.link(invoice)
    stripe_till.books.pay_page(payment["gateway_tracking_id"])
    await stripe_till.use_key("sk_test_revoked_abcdefgh")
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"
    await stripe_till.use_key(stripe_till.secret_key)
    await stripe_till.reconcile()
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")
