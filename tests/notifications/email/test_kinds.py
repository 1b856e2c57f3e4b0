"""Each kind of mail, from what happens in the books to the message that a server takes."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pypdf
import pytest
from sqlalchemy import text, update

from farthing.catalogue.products.alerts import AlertState
from farthing.core.clock import FixedClock
from farthing.credits.ledger.events import record_wallet_event
from farthing.credits.ledger.tables import Wallet
from farthing.identity.tables import EnvironmentType
from farthing.notifications.alert_enums import AlertOwner
from farthing.notifications.alerts.schemas import CreateAlertSettingsRequest
from farthing.notifications.alerts.settings import create_setting
from farthing.notifications.alerts.spend import evaluate_spend
from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox
from tests.payments.till import DECLINED
from tests.subscriptions.shop import Shop, fixed, of_wire

ADDRESS = "ada@brightwater.example"


async def test_an_invoice_is_mailed_with_its_pdf_and_a_link_that_opens_it(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await seller.till.desk.customer(name="Brightwater", email=ADDRESS)
    invoice = await seller.till.invoice("119.5", customer=customer)
    (queued,) = await seller.emails(customer)
    assert (queued["kind"], queued["status"], queued["invoice_id"]) == ("invoice_issued", "queued", invoice["id"])
    await mail_room.deliver()
    (received,) = box.received
    message = received.message
    assert received.sender == "billing@seller.example"
    assert received.recipients == [ADDRESS]
    assert message["Subject"] == f"Invoice {invoice['invoice_number']} from Test"
    assert str(message["To"]) == f"Brightwater <{ADDRESS}>"
    assert str(message["From"]) == "Test <billing@seller.example>"
    assert message["Message-ID"] == f"<{queued['id']}@seller.example>"
    assert "$119.50" in received.body()
    assert "$119.50" in received.body("html")
    name, content = received.attachment()
    assert name == f"{invoice['invoice_number']}.pdf"
    assert invoice["invoice_number"] in pypdf.PdfReader(io.BytesIO(content)).pages[0].extract_text()
    link = next(line for line in received.body().splitlines() if line.startswith("https://billing.example.com/portal/"))
    page = await seller.client().get(link.replace("https://billing.example.com", seller.base_url))
    assert page.status_code == 200
    assert invoice["invoice_number"] in page.text
    (sent,) = await seller.emails(customer)
    assert (sent["status"], sent["recipient"], sent["subject"]) == ("sent", ADDRESS, message["Subject"])
    await mail_room.deliver()
    assert len(box.received) == 1


async def test_a_payment_is_receipted_in_part_and_in_full(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.mail(invoice_issued=False)
    invoice = await seller.till.invoice("100", customer=customer)
    await seller.till.pay(invoice, "40")
    await mail_room.deliver()
    await seller.till.pay(invoice, "60")
    await mail_room.deliver()
    partial, full = box.received
    assert "$40.00" in partial.body()
    assert "$60.00 is still to pay" in partial.body()
    assert partial.message["Subject"] == "Receipt for your payment of $40.00"
    assert "paid in full" in full.body()
    assert [email["kind"] for email in await seller.emails(customer)] == ["payment_receipt"] * 2


async def test_a_payment_that_fails_is_told(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.become(EnvironmentType.DEVELOPMENT)  # where a simulated provider may be
    await seller.till.connect()
    await seller.become()
    invoice = await seller.till.invoice("100", customer=customer)
    await mail_room.deliver()
    await seller.till.charge(invoice, method=DECLINED, expect=400)
    await mail_room.deliver()
    failed = box.received[-1]
    assert failed.message["Subject"] == f"Your payment for invoice {invoice['invoice_number']} failed"
    assert "$100.00 is still to pay" in failed.body()


async def test_a_credit_note_is_mailed_with_its_pdf(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer)
    line = invoice["line_items"][0]["id"]
    note = await seller.post(
        "/creditnotes",
        {
            "invoice_id": invoice["id"],
            "reason": "BILLING_ERROR",
            "line_items": [{"invoice_line_item_id": line, "amount": "25"}],
            "process_credit_note": True,
        },
    )
    await mail_room.deliver()
    (received,) = [mail for mail in box.received if "Credit note" in mail.message["Subject"]]
    assert "$25.00" in received.body()
    assert received.attachment()[0] == f"{note['credit_note_number']}.pdf"


async def _at(seller: Seller, mail_room: MailRoom, moment: datetime) -> None:
    """Let the environment's clock stand at a moment, and do what the calendar says."""
    await seller.freeze(moment)
    await mail_room.notice()
    await mail_room.deliver()


@pytest.mark.parametrize(
    ("days", "subject", "words"),
    [
        pytest.param(-3, "Invoice {number} is due on March 31, 2026", "$100.00", id="three days ahead"),
        pytest.param(0, "Invoice {number} is due on March 31, 2026", "is due on March 31, 2026", id="on the very day"),
        pytest.param(1, "Invoice {number} is overdue", "was due on March 31, 2026", id="a day late"),
        pytest.param(14, "Invoice {number} is overdue", "has not reached us yet", id="two weeks late"),
        pytest.param(365, "Invoice {number} is overdue", "has not reached us yet", id="a year late"),
    ],
)
async def test_a_reminder_goes_out_on_its_day_and_once(
    seller: Seller, mail_room: MailRoom, box: MailBox, days: int, subject: str, words: str
) -> None:
    await seller.mail(invoice_issued=False, reminder_days=[days])
    due = datetime(2026, 3, 31, 12, tzinfo=UTC)
    await seller.freeze(datetime(2026, 3, 1, tzinfo=UTC))
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer, due_date="2026-03-31T12:00:00Z")
    await _at(seller, mail_room, due + timedelta(days=days, seconds=-1))
    assert box.received == []
    await _at(seller, mail_room, due + timedelta(days=days))
    await _at(seller, mail_room, due + timedelta(days=days, hours=1))
    (received,) = box.received
    assert received.message["Subject"] == subject.format(number=invoice["invoice_number"])
    assert words in " ".join(received.body().split())


async def test_a_reminder_is_not_made_up_for(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    await seller.freeze(datetime(2026, 3, 1, tzinfo=UTC))
    await seller.mail(invoice_issued=False, reminder_days=[1, 7])
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.till.invoice("100", customer=customer, due_date="2026-03-31T12:00:00Z")
    await _at(seller, mail_room, datetime(2026, 4, 5, 12, tzinfo=UTC))
    assert box.received == []
    await _at(seller, mail_room, datetime(2026, 4, 7, 12, tzinfo=UTC))
    assert len(box.received) == 1


async def test_a_reminder_names_the_day_of_the_customers_zone(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.freeze(datetime(2026, 3, 1, tzinfo=UTC))
    await seller.mail(invoice_issued=False, reminder_days=[1])
    customer = await seller.till.desk.customer(email=ADDRESS, timezone="Asia/Tokyo")
    await seller.till.invoice("100", customer=customer, due_date="2026-03-31T20:00:00Z")
    await _at(seller, mail_room, datetime(2026, 4, 1, 20, tzinfo=UTC))
    assert "April 1, 2026" in box.received[0].body()


async def test_a_trial_that_ends_is_told_three_days_ahead(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    await seller.freeze(start)
    shop = Shop(seller, now=datetime(2026, 3, 1, tzinfo=UTC))
    customer = await shop.customer(email=ADDRESS)
    plan = await shop.plan(fixed("30", trial_period_days=14), name="Growth")
    await shop.subscribe(plan, customer, start_date="2026-03-01T00:00:00Z")
    await _at(seller, mail_room, datetime(2026, 3, 11, 23, 59, tzinfo=UTC))
    assert box.received == []
    await _at(seller, mail_room, datetime(2026, 3, 12, tzinfo=UTC))
    await _at(seller, mail_room, datetime(2026, 3, 13, tzinfo=UTC))
    (received,) = box.received
    assert received.message["Subject"] == "Your trial of Growth ends on March 15, 2026"
    assert "is billed from that day on" in " ".join(received.body().split())


async def test_a_renewal_is_told_by_the_event_of_the_day_before(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.mail(invoice_issued=False)
    await seller.freeze(datetime(2026, 3, 1, tzinfo=UTC))
    shop = Shop(seller, now=datetime(2026, 3, 1, tzinfo=UTC))
    customer = await shop.customer(email=ADDRESS)
    plan = await shop.plan(fixed("30"), name="Growth")
    await shop.subscribe(plan, customer, start_date="2026-03-01T00:00:00Z")
    await seller.freeze(datetime(2026, 3, 31, 12, tzinfo=UTC))
    await mail_room.run("renewal_due_alerts")
    await mail_room.run("renewal_due_alerts")
    await mail_room.deliver()
    (received,) = box.received
    assert received.message["Subject"] == "Your subscription to Growth renews on April 1, 2026"


async def test_credits_that_expire_at_one_moment_are_one_mail(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.freeze(datetime(2026, 3, 1, tzinfo=UTC))
    customer = await seller.till.desk.customer(email=ADDRESS)
    wallet = await seller.post("/wallets", {"customer_id": customer, "currency": "usd", "name": "Main"}, expect=200)
    for credits, expires in (("10", "2026-03-20"), ("2.5", "2026-03-20"), ("7", "2026-06-01")):
        body = {
            "credits_to_add": credits,
            "transaction_reason": "FREE_CREDIT_GRANT",
            "expiry_date_utc": f"{expires}T00:00:00.25Z",
        }
        await seller.post(f"/wallets/{wallet['id']}/top-up", body, expect=200)
    await _at(seller, mail_room, datetime(2026, 3, 12, tzinfo=UTC))
    assert box.received == []
    await _at(seller, mail_room, datetime(2026, 3, 14, tzinfo=UTC))
    await _at(seller, mail_room, datetime(2026, 3, 15, tzinfo=UTC))
    (received,) = box.received
    assert received.message["Subject"] == "Some of your credits expire on March 20, 2026"
    assert "12.5 credits in Main, worth $12.50" in " ".join(received.body().split())


@pytest.mark.parametrize("balance", ["credit_balance", "ongoing_balance"])
async def test_a_low_balance_is_told_once_a_day_unless_it_recovers(
    seller: Seller, mail_room: MailRoom, box: MailBox, balance: str
) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    wallet = await seller.post("/wallets", {"customer_id": customer, "currency": "usd", "name": "Main"}, expect=200)
    column = "credit_alert_state" if balance == "credit_balance" else "alert_state"

    async def drop(state: AlertState, at: datetime) -> None:
        await seller.freeze(at)
        async with seller.database.session(seller.scope, clock=FixedClock(at)) as session:
            await session.execute(update(Wallet).where(Wallet.id == wallet["id"]).values({column: state}))
            row = await session.get_one(Wallet, wallet["id"])
            await record_wallet_event(session, f"wallet.{balance}.dropped", row)
            await session.commit()
        await mail_room.deliver()

    await drop(AlertState.IN_ALARM, datetime(2026, 3, 1, 9, tzinfo=UTC))
    await drop(AlertState.IN_ALARM, datetime(2026, 3, 1, 17, tzinfo=UTC))
    assert len(box.received) == 1
    assert box.received[0].message["Subject"] == "Your credit balance is low"
    await drop(AlertState.OK, datetime(2026, 3, 2, 9, tzinfo=UTC))
    assert len(box.received) == 1
    assert (await seller.emails(customer))[0]["reason"] == "the balance has recovered meanwhile"


async def test_a_customers_own_spend_alert_is_mailed_to_it_once_and_announced_to_nobody(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    await seller.freeze(datetime(2026, 3, 1, tzinfo=UTC))
    shop = Shop(seller)
    calls = await shop.feature("calls")
    plan = await shop.plan(shop.usage(calls, "2", display_name="Calls"), name="Growth")
    customer = await shop.customer("acme", email=ADDRESS, language="de")
    asked = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    subscription = await seller.post("/subscriptions", asked)
    config = {"alert_enabled": True, "critical": {"threshold": "5", "condition": "above"}}
    body = {"entity_type": "subscription", "entity_id": subscription["id"], "config": config}
    async with seller.database.session(seller.scope, clock=FixedClock(now)) as session:
        request = of_wire(CreateAlertSettingsRequest, body)
        await create_setting(session, request, now, AlertOwner.CUSTOMER)
        await session.commit()
    for number in range(3):
        event = {"event_id": f"e{number}", "event_name": "calls", "external_customer_id": "acme"}
        await seller.post("/events", {**event, "timestamp": "2026-03-09T00:00:00Z"}, expect=202)
    await seller.freeze(now)
    for _ in range(2):
        async with seller.database.session(seller.scope, clock=FixedClock(now)) as session:
            await evaluate_spend(session, customer["id"], now)
            await session.commit()
        await mail_room.deliver()
    (received,) = [each for each in box.received if "Verbrauch" in str(each.message["Subject"])]
    subject = str(received.message["Subject"]).replace("\xa0", " ")
    assert subject == "Ihr Verbrauch in Growth hat 5,00 $ erreicht"
    assert "6,00" in received.body()
    (logged,) = (await seller.post("/alerts/search", {"customer_id": customer["id"]}, expect=200))["items"]
    assert (logged["alert_status"], logged["alert_info"]["value_at_time"]) == ("in_alarm", "6")
    async with seller.transaction() as session:
        told = await session.scalar(
            text("SELECT count(*) FROM system_events WHERE event_name LIKE 'subscription.spend%'")
        )
    assert told == 0
