"""Asking for a mail, looking mails up, who may, and a forgotten password."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from farthing.core.errors import InvalidOperation
from farthing.identity.sign_in import operator
from farthing.identity.sign_in.password_change import redeem_link
from farthing.identity.tables import EnvironmentType, User
from farthing.invoices.ports import InvoiceEmailAnswer
from farthing.invoices.tables import Invoice
from farthing.notifications.email.asking import remind_of_invoice
from farthing.notifications.email.tables import PasswordMail
from farthing.storage.record.outbox import record_event
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox
from tests.waiting import until
from tests.web.stage import PASSWORD, Stage
from tests.web.visitor import Visitor

ADDRESS = "ada@brightwater.example"


async def test_an_invoice_is_mailed_again_when_somebody_asks(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer)
    for _ in range(2):
        answer = await seller.post(f"/invoices/{invoice['id']}/comms/trigger", expect=200)
        assert answer == {"message": "communication triggered successfully", "email": "queued"}
    await mail_room.deliver()
    assert len(box.received) == 3
    assert len({received.message["Message-ID"] for received in box.received}) == 3


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("no address", "no_address"),
        ("switched off", "off"),
        ("kind switched off", "off"),
        ("development", "off"),
        ("void", "off"),
    ],
)
async def test_asking_says_why_nothing_is_mailed(seller: Seller, case: str, expected: str) -> None:
    email = "" if case == "no address" else ADDRESS
    customer = await seller.till.desk.customer(email=email)
    invoice = await seller.till.invoice("100", customer=customer)
    if case == "switched off":
        await seller.mail(enabled=False)
    elif case == "kind switched off":
        await seller.mail(invoice_issued=False)
    elif case == "development":
        await seller.become(EnvironmentType.DEVELOPMENT)
    elif case == "void":
        await seller.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
    answer = await seller.post(f"/invoices/{invoice['id']}/comms/trigger", expect=200)
    assert answer["email"] == expected


async def _reminded(seller: Seller, mail_room: MailRoom, invoice: dict[str, Any]) -> InvoiceEmailAnswer:
    async with seller.transaction() as session:
        row = await session.get_one(Invoice, invoice["id"])
        return await remind_of_invoice(session, row, mail_room.settings)


async def test_a_reminder_goes_out_when_somebody_asks(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    due = {"due_date": "2026-03-31T12:00:00Z"}
    invoice, paid = [await seller.till.invoice("100", customer=customer, **due) for _ in range(2)]
    await seller.till.pay(paid)
    await mail_room.deliver()
    box.received.clear()
    assert await _reminded(seller, mail_room, invoice) is InvoiceEmailAnswer.QUEUED
    with pytest.raises(InvalidOperation, match="queued already"):
        await _reminded(seller, mail_room, invoice)
    with pytest.raises(InvalidOperation, match="only an unpaid invoice"):
        await _reminded(seller, mail_room, paid)
    await mail_room.deliver()
    (received,) = box.received
    assert received.message["Subject"] == f"Invoice {invoice['invoice_number']} is overdue"
    await seller.mail(reminder=False)
    assert await _reminded(seller, mail_room, invoice) is InvoiceEmailAnswer.OFF


async def test_an_event_that_is_sent_again_by_hand_mails_nothing(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer)
    path = f"/invoices/{invoice['id']}/webhook/trigger?event_name="
    for event in ("invoice.update.finalized", "invoice.communication.triggered"):
        await seller.post(path + event, expect=200)
    assert len(await seller.emails(customer)) == 1


async def test_a_change_that_is_undone_mails_nothing(seller: Seller) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    payload = {"wallet": {"id": "wallet_undone", "customer_id": customer}}
    async with seller.database.session(seller.scope) as session:
        nested = await session.begin_nested()
        await record_event(session, "wallet.credit_balance.dropped", "wallet", "wallet_undone", payload)
        await nested.rollback()
        await session.commit()
    async with seller.database.session(seller.scope) as session:
        await record_event(session, "wallet.credit_balance.dropped", "wallet", "wallet_undone", payload)
        await session.rollback()
    assert await seller.emails(customer) == []


async def test_the_list_is_narrowed_and_paged(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoices = [await seller.till.invoice("100", customer=customer) for _ in range(3)]
    await seller.till.pay(invoices[0])
    page = await seller.get(f"/customers/{customer}/emails", limit=2)
    assert (len(page["items"]), page["pagination"]["total"]) == (2, 4)
    assert len(await seller.emails(customer, kind="payment_receipt")) == 1
    assert len(await seller.emails(customer, invoice_id=invoices[0]["id"])) == 2
    assert len(await seller.emails(customer, status="queued")) == 4
    for query in ({"status": "lost"}, {"kind": "poem"}, {"limit": "-1"}, {"limit": "many"}):
        await seller.get(f"/customers/{customer}/emails", expect=400, **query)
    await seller.get("/customers/cust_nobody/emails", expect=404)


async def test_nobody_else_sees_the_mails(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.till.invoice("100", customer=customer)
    async with Account(mail_room.base_url, mail_room.settings, mail_room.database) as other:
        await other.get(f"/customers/{customer}/emails", expect=404)
        async with other.transaction(read_only=True) as session:
            assert (await session.execute(text("SELECT id FROM emails"))).all() == []
    sibling = await seller.new_key(["super_admin"], environment_id=await seller.new_environment())
    async with seller.client(sibling) as http:
        assert (await http.get(f"/customers/{customer}/emails")).status_code == 404
    async with seller.client(await seller.new_key(["event_ingestor"])) as http:
        assert (await http.get(f"/customers/{customer}/emails")).status_code == 403
    async with seller.client() as http:
        assert (await http.get(f"/customers/{customer}/emails")).status_code == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("from_name", "Kestrel\r\nBcc: all@example.com"),
        ("from_name", "x" * 101),
        ("reply_to", "not an address"),
        ("reply_to", "a@example.com, b@example.com"),
        ("bcc", "a@example.com\nX-Header: 1"),
        ("bcc", "Ada <a@example.com>"),
        ("language", "tlh"),
        ("reminder_days", [1, 1]),
        ("reminder_days", [400]),
        ("reminder_days", ["soon"]),
        ("enabled", "perhaps"),
        ("invoice_issued", None),
    ],
)
async def test_a_setting_that_makes_no_sense_names_its_field(seller: Seller, field: str, value: object) -> None:
    answer = await seller.put("/settings/email_config", {"value": {field: value}}, expect=400)
    assert field in answer["message"]


async def _ask(mail_room: MailRoom, email: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=mail_room.base_url) as http:
        page = await http.get("/sign-in/forgotten")
        token = re.search(r'name="form_token" value="(\w+)"', page.text)
        assert token is not None
        # the address in links is https, so the cookie is for that alone
        cookie = {"cookie": page.headers["set-cookie"].partition(";")[0]}
        form = {"form_token": token[1], "email": email}
        return await http.post("/sign-in/forgotten", data=form, headers=cookie)


async def test_a_forgotten_password_is_answered_alike_and_mailed_to_whom_it_belongs(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    async with mail_room.database.transaction(SYSTEM) as session:
        address = (await session.get_one(User, seller.user_id)).email or ""
    known, unknown = await _ask(mail_room, address.upper()), await _ask(mail_room, "nobody@example.com")
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)

    async def arrived() -> bool:
        return bool(box.received)

    await until(arrived)
    (received,) = box.received
    assert received.recipients == [address]
    link = re.search(r"https://billing\.example\.com(/password/\S+)", received.body())
    assert link is not None
    async with httpx.AsyncClient(base_url=mail_room.base_url) as http:
        assert (await http.get(link[1])).status_code == 200
    await _ask(mail_room, address)  # one a minute is enough
    await mail_room.deliver()
    assert len(box.received) == 1


async def test_what_anybody_has_mailed_voids_no_link_that_was_handed_out(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    async with mail_room.database.transaction(SYSTEM) as session:
        address = (await session.get_one(User, seller.user_id)).email or ""
    handed = await operator.link_for(mail_room.database, mail_room.settings, address)
    await _ask(mail_room, address)

    async def arrived() -> bool:
        return bool(box.received)

    await until(arrived)
    mailed = re.search(r"/password/(\S+)", box.received[0].body())
    assert mailed is not None
    async with httpx.AsyncClient(base_url=mail_room.base_url) as http:
        for token in (handed.url.rpartition("/")[2], mailed[1]):
            assert (await http.get(f"/password/{token}")).status_code == 200
        # the one handed out sets the password, and nothing is out any more
        await redeem_link(mail_room.database, handed.url.rpartition("/")[2], "a new and long password")
        for token in (handed.url.rpartition("/")[2], mailed[1]):
            assert (await http.get(f"/password/{token}")).status_code == 404


def _browser_of(account: Account) -> Visitor:
    """A browser that sends back what is for https alone, as the address in links is."""
    visitor, cookies = Visitor(account), dict[str, str]()

    async def keep(answer: httpx.Response) -> None:
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name] = value
        visitor.http.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())

    visitor.http.event_hooks["response"] = [keep]
    return visitor


async def test_a_colleague_is_invited_by_mail_and_sets_a_password(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    stage = await Stage(seller).admit()
    owner = await _browser_of(seller).sign_in(stage)
    invitation = {"name": "Grace", "email": f"grace-{stage.email}", "role": "all_reader"}
    answer = await owner.post("/team/invite", {**invitation, "form_token": await owner.token("/account")})
    assert answer.status_code == 303, answer.text
    team = (await owner.http.get("/team")).text
    assert f"An invitation is on its way to {invitation['email']}." in team
    assert "/password/" not in team.replace("/password-link", "")

    async def arrived() -> bool:
        return bool(box.to(invitation["email"]))

    await until(arrived)
    (received,) = box.to(invitation["email"])
    assert received.message["subject"] == "You are invited to Test"
    link = re.search(r"https://billing\.example\.com(/password/\S+)", received.body())
    assert link is not None
    grace = _browser_of(seller)
    form = {"form_token": await grace.token(link[1]), "password": PASSWORD}
    assert (await grace.post(link[1], form)).headers["location"] == "/sign-in?set=yes"
    used = await grace.http.get(link[1], headers={"accept": "text/html"})
    assert (used.status_code, "This link has ended" in used.text) == (404, True)
    await grace.http.aclose()
    await owner.http.aclose()


async def test_a_link_that_could_not_be_sent_at_once_is_sent_later_and_is_a_new_one(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    box.answers = ["450 4.7.1 Greylisted"]
    async with mail_room.database.transaction(SYSTEM) as session:
        address = (await session.get_one(User, seller.user_id)).email or ""
    await _ask(mail_room, address)

    async def was_postponed() -> bool:
        async with mail_room.database.transaction(SYSTEM) as session:
            row = (await session.execute(text("SELECT attempts FROM password_mails"))).one_or_none()
        return row is not None and row[0] == 1

    await until(was_postponed)
    async with mail_room.database.transaction(SYSTEM) as session:
        await session.execute(text("UPDATE password_mails SET next_attempt_at = now()"))
    await mail_room.deliver()
    assert box.received[0].recipients == [address]
    async with mail_room.database.transaction(SYSTEM) as session:
        assert await session.scalar(text("SELECT count(*) FROM password_mails")) == 0


async def test_a_request_that_is_an_hour_old_is_given_up(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    async with mail_room.database.transaction(SYSTEM) as session:
        session.add(
            PasswordMail(
                id="mail_old",
                tenant_id=seller.tenant_id,
                user_id=seller.user_id,
                requested_at=datetime(2026, 1, 1, tzinfo=UTC),
                next_attempt_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
    await mail_room.deliver()
    assert box.received == []
