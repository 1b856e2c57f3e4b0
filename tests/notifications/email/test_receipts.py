"""Whatever an issued invoice is paid by, its payer gets a receipt, and one."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.identity.tables import EnvironmentType
from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox

ADDRESS = "ada@brightwater.example"


async def _amounts(mail_room: MailRoom, box: MailBox) -> list[str]:
    """The amounts of the receipts that arrive, in their order."""
    await mail_room.deliver()
    subjects = (str(received.message["Subject"]) for received in box.received)
    return [subject.rpartition(" ")[2] for subject in subjects if subject.startswith("Receipt")]


async def _mark(seller: Seller, invoice: dict[str, str], status: str, amount: str | None = None) -> None:
    body = {"payment_status": status} if amount is None else {"payment_status": status, "amount": amount}
    await seller.put(f"/invoices/{invoice['id']}/payment", body)


@pytest.mark.parametrize(
    ("marks", "receipts", "is_whole"),
    [
        pytest.param([("SUCCEEDED", None)], ["$100.00"], True, id="marked paid"),
        pytest.param([("PENDING", "40")], ["$40.00"], False, id="marked paid in part"),
        pytest.param([("PENDING", "40"), ("SUCCEEDED", None)], ["$40.00", "$60.00"], True, id="the rest later"),
        pytest.param([("PENDING", "40"), ("PENDING", "70")], ["$40.00", "$30.00"], False, id="more in part"),
        pytest.param([("SUCCEEDED", None), ("SUCCEEDED", None)], ["$100.00"], True, id="marked paid twice"),
        pytest.param([("PENDING", "40"), ("PENDING", "30")], [], False, id="an amount put right before it was told"),
        pytest.param([("PENDING", "40"), ("FAILED", None)], [], False, id="taken back before it was told"),
        pytest.param([("FAILED", None)], [], False, id="failed"),
    ],
)
async def test_an_invoice_that_is_marked_by_hand_is_receipted(
    seller: Seller,
    mail_room: MailRoom,
    box: MailBox,
    marks: list[tuple[str, str | None]],
    receipts: list[str],
    is_whole: bool,
) -> None:
    await seller.mail(invoice_issued=False)
    invoice = await seller.till.invoice("100", customer=await seller.till.desk.customer(email=ADDRESS))
    for status, amount in marks:
        await _mark(seller, invoice, status, amount)
    assert sorted(await _amounts(mail_room, box)) == sorted(receipts)
    if receipts:
        wording = "paid in full" if is_whole else "is still to pay"
        assert wording in " ".join(box.received[-1].body().split())


async def test_an_invoice_that_was_paid_before_it_was_made_is_receipted(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.till.invoice("100", customer=customer, amount_paid="100")
    assert await _amounts(mail_room, box) == ["$100.00"]


@pytest.mark.parametrize("completed_at_once", [True, False])
async def test_a_purchase_of_credits_that_is_paid_elsewhere_is_receipted(
    seller: Seller, mail_room: MailRoom, box: MailBox, completed_at_once: bool
) -> None:
    await seller.mail(invoice_issued=False)
    config = {"value": {"auto_complete_purchased_credit_transaction": completed_at_once}}
    await seller.put("/settings/invoice_config", config)
    customer = await seller.till.desk.customer(email=ADDRESS)
    wallet = await seller.post("/wallets", {"customer_id": customer, "currency": "usd"}, expect=200)
    body = {"credits_to_add": "30", "transaction_reason": "PURCHASED_CREDIT_INVOICED"}
    await seller.post(f"/wallets/{wallet['id']}/top-up", body, expect=200)
    if not completed_at_once:
        (invoice,) = (await seller.get("/invoices", customer_id=customer))["items"]
        await _mark(seller, invoice, "SUCCEEDED")
    assert await _amounts(mail_room, box) == ["$30.00"]


async def test_money_of_the_balance_that_is_given_to_an_invoice_is_receipted(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.mail(invoice_issued=False)
    customer = await seller.till.desk.customer(email=ADDRESS)
    overpaid = await seller.till.invoice("100", customer=customer)
    await seller.till.pay(overpaid, "130")
    await seller.post(f"/invoices/{overpaid['id']}/overpayment/move", {"amount": "30"}, expect=200)
    await seller.till.invoice("50", customer=customer)
    await seller.post(f"/customers/{customer}/unapplied-money/allocate", {"currency": "usd"}, expect=200)
    assert sorted(await _amounts(mail_room, box)) == ["$130.00", "$30.00"]


@pytest.mark.parametrize("way", ["offline", "card", "credits"])
async def test_a_payment_is_receipted_once(seller: Seller, mail_room: MailRoom, box: MailBox, way: str) -> None:
    await seller.mail(invoice_issued=False)
    customer = await seller.till.desk.customer(email=ADDRESS)
    if way == "card":
        await seller.become(EnvironmentType.DEVELOPMENT)  # where a simulated provider may be
        await seller.till.connect()
        await seller.become()
    invoice = await seller.till.invoice("100", customer=customer)
    if way == "credits":
        wallet = {"customer_id": customer, "currency": "usd", "wallet_type": "POST_PAID"}
        opened = await seller.post("/wallets", wallet, expect=200)
        credits = {"credits_to_add": "100", "transaction_reason": "FREE_CREDIT_GRANT"}
        await seller.post(f"/wallets/{opened['id']}/top-up", credits, expect=200)
    pay = seller.till.charge if way == "card" else seller.till.pay
    method: dict[str, Any] = {"payment_method_type": "CREDITS"} if way == "credits" else {}
    await pay(invoice, **method)
    assert await _amounts(mail_room, box) == ["$100.00"]


async def test_an_event_that_is_sent_again_makes_no_receipt(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    await seller.mail(invoice_issued=False)
    invoice = await seller.till.invoice("100", customer=await seller.till.desk.customer(email=ADDRESS))
    await _mark(seller, invoice, "SUCCEEDED")
    await seller.post(f"/invoices/{invoice['id']}/webhook/trigger?event_name=invoice.update.payment", {}, expect=200)
    assert await _amounts(mail_room, box) == ["$100.00"]
