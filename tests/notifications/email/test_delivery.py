"""On the way to the server: refusals, retries, TLS, servers that are away, and what is asked again before sending."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from farthing.identity.tables import EnvironmentType, User
from farthing.mail_server import MailServer, mail_server
from farthing.notifications.email.delivery.handing_in import Handed, HandingIn
from farthing.notifications.email.delivery.message import OutgoingMessage
from farthing.notifications.email.delivery.run import MailDelivery
from farthing.notifications.email.delivery.schedule import RETRY_DELAYS
from farthing.notifications.email.delivery.smtp import MailSender
from farthing.notifications.email.password_mail import queue_password_mail
from farthing.storage.scope import SYSTEM
from tests.conftest import free_port, settings_for
from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import PASSWORD, USER, Certificate, MailBox, mail_box

ADDRESS = "ada@brightwater.example"
MESSAGE = OutgoingMessage("billing@seller.example", (ADDRESS,), b"Subject: Hello\r\n\r\nHello\r\n")


async def _issued(seller: Seller, **customer: Any) -> tuple[str, dict[str, Any]]:
    """A customer with an invoice whose mail waits."""
    customer_id = await seller.till.desk.customer(**{"email": ADDRESS, **customer})
    return customer_id, await seller.till.invoice("100", customer=customer_id)


async def test_a_greylisted_mail_is_the_same_mail_a_minute_later(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer, _ = await _issued(seller)
    box.answers = ["450 4.7.1 Greylisted, try again later"]
    await mail_room.deliver()
    (waiting,) = await seller.emails(customer)
    assert (waiting["status"], waiting["attempts"]) == ("queued", 1)
    assert waiting["reason"] == "the mail server answered 450 4.7.1 Greylisted, try again later"
    await mail_room.deliver()
    assert box.received == []
    await seller.let_pass()
    await mail_room.deliver()
    assert box.received[0].message["Message-ID"] == f"<{waiting['id']}@seller.example>"
    assert (await seller.emails(customer))[0]["status"] == "sent"


async def test_it_is_tried_six_times_and_then_parked(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer, _ = await _issued(seller)
    box.answers = ["451 Not now"] * 6
    waits: list[timedelta] = []
    for _ in range(6):
        await mail_room.deliver()
        async with seller.transaction(read_only=True) as session:
            row = (await session.execute(text("SELECT state, next_attempt_at - now() FROM emails"))).one()
        if row[0] == "queued":
            waits.append(row[1])
        await seller.let_pass()
    assert [round(wait / timedelta(minutes=1)) for wait in waits] == [1, 5, 30, 120, 360]
    assert [delay / timedelta(minutes=1) for delay in RETRY_DELAYS] == [1, 5, 30, 120, 360]
    (parked,) = await seller.emails(customer, status="parked")
    assert (parked["attempts"], parked["reason"]) == (6, "the mail server answered 451 Not now")
    await mail_room.deliver()
    assert box.received == []


@pytest.mark.parametrize("answer", ["550 5.1.1 No such user", "552 Message too large", "554 5.7.1 Refused by policy"])
async def test_a_refusal_for_good_parks_at_once(seller: Seller, mail_room: MailRoom, box: MailBox, answer: str) -> None:
    customer, _ = await _issued(seller)
    box.answers = [answer]
    await mail_room.deliver()
    (parked,) = await seller.emails(customer)
    assert (parked["status"], parked["attempts"]) == ("parked", 1)
    assert parked["reason"] == f"the mail server answered {answer}"


async def test_a_recipient_who_is_refused_is_parked_and_the_others_get_theirs(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    box.rcpt_answers["gone@brightwater.example"] = "550 5.1.1 No such user"
    gone, _ = await _issued(seller, email="gone@brightwater.example")
    there, _ = await _issued(seller)
    await mail_room.deliver()
    assert (await seller.emails(gone))[0]["status"] == "parked"
    assert (await seller.emails(there))[0]["status"] == "sent"


async def test_a_copy_that_is_refused_keeps_nobody_from_the_mail(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    box.rcpt_answers["archive@seller.example"] = "550 5.1.1 No such user"
    await seller.mail(bcc="archive@seller.example")
    customer, _ = await _issued(seller)
    await mail_room.deliver()
    assert (await seller.emails(customer))[0]["status"] == "sent"


async def test_a_copy_is_unseen_and_answers_go_where_they_should(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.mail(bcc="archive@seller.example", reply_to="help@seller.example", from_name="Kestrel & Møller")
    await _issued(seller)
    await mail_room.deliver()
    (received,) = box.received
    assert received.recipients == [ADDRESS, "archive@seller.example"]
    assert b"archive@seller.example" not in received.content
    assert received.message["Reply-To"] == "help@seller.example"
    assert received.message["From"].addresses[0].display_name == "Kestrel & Møller"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param("pay", "sent", id="an invoice that is paid is still an invoice"),
        pytest.param("void", "the invoice was voided meanwhile", id="voided"),
        pytest.param("off", "mail was switched off meanwhile", id="switched off"),
        pytest.param("address", "the customer has no address that mail can be sent to", id="no address any more"),
        pytest.param("old", "it has waited for more than three days", id="too old"),
    ],
)
async def test_it_is_asked_again_before_it_is_sent(
    seller: Seller, mail_room: MailRoom, box: MailBox, change: str, reason: str
) -> None:
    customer, invoice = await _issued(seller)
    match change:
        case "pay":
            await seller.till.pay(invoice)
        case "void":
            await seller.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
        case "off":
            await seller.put("/settings/email_config", {"value": {"enabled": False}})
        case "address":
            await seller.put(f"/customers/{customer}", {"email": ""})
            async with seller.transaction() as session:
                await session.execute(text("UPDATE customers SET email = ''"))
        case _:
            async with seller.transaction() as session:
                await session.execute(text("UPDATE emails SET queued_at = now() - interval '73 hours'"))
    await mail_room.deliver()
    mails = {mail["kind"]: mail for mail in await seller.emails(customer)}
    mail = mails["invoice_issued"]
    assert (mail["status"], mail.get("reason", "sent")) == ("sent" if reason == "sent" else "failed", reason)
    assert len(box.to(ADDRESS)) == (2 if reason == "sent" else 0)


@pytest.mark.parametrize("change", ["pay", "void", "due"])
async def test_a_reminder_that_is_no_longer_true_is_not_sent(
    seller: Seller, mail_room: MailRoom, box: MailBox, change: str
) -> None:
    await seller.mail(invoice_issued=False, payment_receipt=False, reminder_days=[0])
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer, due_date="2026-01-10T00:00:00Z")
    async with seller.transaction() as session:
        await session.execute(text("UPDATE invoices SET due_date = now() - interval '1 hour'"))
    await mail_room.notice()
    if change == "pay":
        await seller.till.pay(invoice)
    elif change == "void":
        await seller.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
    else:
        await seller.put(f"/invoices/{invoice['id']}", {"due_date": "2100-01-01T00:00:00Z"})
    await mail_room.deliver()
    assert box.received == []
    (mail,) = await seller.emails(customer)
    assert mail["status"] == "failed"
    assert (
        mail["reason"]
        == {
            "pay": "the invoice was paid meanwhile",
            "void": "the invoice was voided meanwhile",
            "due": "the due date was changed meanwhile",
        }[change]
    )


async def test_no_mail_leaves_a_development_environment(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    await seller.become(EnvironmentType.DEVELOPMENT)
    customer, _ = await _issued(seller)
    await mail_room.deliver()
    assert box.received == []
    (mail,) = await seller.emails(customer)
    assert mail["status"] == "failed"
    assert "FARTHING_MAIL_TEST_TO" in mail["reason"]


async def test_all_mail_of_a_development_environment_goes_to_one_address(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.become(EnvironmentType.DEVELOPMENT)
    await seller.mail(bcc="archive@seller.example")
    await _issued(seller)
    given = {"smtp_url": mail_room.settings.smtp_url, "mail_from": mail_room.settings.mail_from}
    settings = settings_for(mail_room.database.url, mail_test_to="tests@seller.example", **given)
    server = settings.mail_server()
    assert server is not None
    async with MailSender(server) as sender, mail_room.database.session(seller.scope) as session:
        assert await MailDelivery(sender, settings).deliver(session, mail_room.database.clock.now()) == 1
        await session.commit()
    (received,) = box.received
    assert received.recipients == ["tests@seller.example"]
    assert received.message["X-Farthing-Meant-For"] == ADDRESS


@pytest.mark.parametrize(
    "persons",
    [
        pytest.param([{"first_name": "Ada", "email": ADDRESS, "is_primary": True}], id="the primary contact"),
        pytest.param(
            [
                {"first_name": "Bo", "email": "bo@brightwater.example"},
                {"first_name": "Ada", "email": ADDRESS, "is_primary": True},
            ],
            id="the primary one of two",
        ),
    ],
)
async def test_who_has_no_address_is_written_to_through_its_primary_contact(
    seller: Seller, mail_room: MailRoom, box: MailBox, persons: list[dict[str, Any]]
) -> None:
    await _issued(seller, email="", contact_persons=persons)
    await mail_room.deliver()
    assert [received.recipients for received in box.received] == [[ADDRESS]]


@pytest.mark.parametrize(
    "name",
    [
        "Brightwater\r\nBcc: everybody@example.com",
        "Brightwater\nSubject: Something else\n\nAnother body",
        "Bright\u2028water\u0085Bcc: everybody@example.com",
        '"Brightwater" <everybody@example.com>, Halden',
        "Brightwater\u202egnp.exe",
        "Brightwater Analytics and Sons of Rotterdam <everybody@example.com>, the second of that name",
        "Bräutwater, everybody@example.com, Ältere und Söhne, Gesellschaft mit beschränkter Haftung",
        "=?utf-8?q?Brightwater=0d=0aBcc:_everybody@example.com=0d=0a=0d=0aAnother_body?=",
        "Brightwater =?utf-8?b?DQpCY2M6IGV2ZXJ5Ym9keUBleGFtcGxlLmNvbQ0KDQpBbm90aGVyIGJvZHk=?=",
    ],
)
async def test_no_name_writes_a_header(seller: Seller, mail_room: MailRoom, box: MailBox, name: str) -> None:
    async with seller.transaction() as session:
        await session.execute(
            text("UPDATE tenants SET name = :name WHERE id = :id"), {"name": name, "id": seller.tenant_id}
        )
    customer, _ = await _issued(seller, name="Halden")
    async with seller.transaction() as session:
        await session.execute(text("UPDATE customers SET name = :name"), {"name": name})
    await mail_room.deliver()
    (received,) = box.received
    message = received.message
    assert received.recipients == [ADDRESS]
    assert message["Bcc"] is None
    assert [address.addr_spec for address in message["To"].addresses] == [ADDRESS]
    assert [address.addr_spec for address in message["From"].addresses] == ["billing@seller.example"]
    assert len(message.get_all("Subject", [])) == 1
    assert message.is_multipart(), "the body is ours"
    assert "\u202e" not in str(message["To"]) + str(message["Subject"])
    assert (await seller.emails(customer))[0]["status"] == "sent"


@pytest.mark.parametrize("local_part", ["=?utf-8?q?=0d=0aBcc=3aeverybody?=", "=?utf-8?b?DQpCY2M6eA=?=x"])
async def test_no_address_writes_a_header(seller: Seller, mail_room: MailRoom, box: MailBox, local_part: str) -> None:
    address = f"{local_part}@example.com"
    await seller.post("/customers", {"external_id": "evil", "email": address}, expect=400)
    await _issued(seller)
    async with seller.transaction() as session:
        await session.execute(text("UPDATE customers SET email = :email"), {"email": address})
    async with mail_room.database.transaction(SYSTEM) as session:
        # a person may have signed up with it before
        person = await session.get_one(User, seller.user_id)
        person.email = address
        await session.flush()
        await queue_password_mail(session, person, datetime.now(UTC))
    await mail_room.deliver()
    assert box.received == []
    async with mail_room.database.transaction(SYSTEM) as session:
        assert await session.scalar(text("SELECT count(*) FROM password_mails")) == 0


async def test_a_server_that_is_away_costs_an_attempt_of_few(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    for _ in range(6):
        await _issued(seller)
    settings = settings_for(
        mail_room.database.url, smtp_url=f"smtp://127.0.0.1:{free_port()}", mail_from="billing@seller.example"
    )
    away = MailRoom(settings, mail_room.database, mail_room.base_url, box)
    await away.deliver()
    async with seller.transaction(read_only=True) as session:
        rows = (await session.execute(text("SELECT attempts, reason FROM emails ORDER BY attempts DESC"))).all()
    assert [row[0] for row in rows] == [1, 1, 1, 1, 0, 0]
    assert rows[0][1].startswith("no connection to the mail server")
    await seller.let_pass()
    await mail_room.deliver()
    assert len(box.received) == 6


async def test_two_who_deliver_at_once_send_each_mail_once(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    import asyncio

    for _ in range(10):
        await _issued(seller)
    server = mail_room.settings.mail_server()
    assert server is not None

    async def work() -> None:
        async with MailSender(server) as sender:
            done = 1
            while done:
                async with mail_room.database.session(seller.scope) as session:
                    now = mail_room.database.clock.now()
                    done = await MailDelivery(sender, mail_room.settings).deliver(session, now)
                    await session.commit()

    await asyncio.gather(work(), work(), work())
    assert len({received.message["Message-ID"] for received in box.received}) == len(box.received) == 10


# --- the server's side ------------------------------------------------------------------------------------------------


def server_at(port: int, scheme: str, credentials: bool = False) -> MailServer:
    login = f"{USER}:{quote(PASSWORD, safe='')}@" if credentials else ""
    server = mail_server(f"{scheme}://{login}127.0.0.1:{port}", "billing@seller.example", None)
    assert server is not None
    return server


async def _hand_in(server: MailServer) -> HandingIn:
    async with MailSender(server) as sender:
        return await sender.hand_in(MESSAGE)


@pytest.mark.parametrize(("scheme", "starttls"), [("smtps", False), ("smtp+starttls", True)])
async def test_mail_goes_over_tls_with_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, starttls: bool
) -> None:
    certificate = Certificate.create(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with mail_box(certificate=certificate, starttls=starttls, auth=True) as box:
        assert await _hand_in(server_at(box.port, scheme, credentials=True)) == HandingIn(Handed.TAKEN)
        assert box.logins == [USER.encode()]
        assert len(box.received) == 1


@pytest.mark.parametrize(("scheme", "starttls"), [("smtps", False), ("smtp+starttls", True)])
async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, scheme: str, starttls: bool) -> None:
    certificate = Certificate.create(tmp_path)
    async with mail_box(certificate=certificate, starttls=starttls, auth=True) as box:
        handed = await _hand_in(server_at(box.port, scheme, credentials=True))
        assert handed.outcome is Handed.AWAY
        assert "certificate" in (handed.reason or "")
        assert (box.received, box.logins) == ([], [])


async def test_a_certificate_of_another_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = Certificate.create(tmp_path, "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with mail_box(certificate=certificate) as box:
        handed = await _hand_in(server_at(box.port, "smtps"))
        assert handed.outcome is Handed.AWAY
        assert "certificate" in (handed.reason or "")


async def test_a_server_without_starttls_gets_nothing_where_it_is_demanded() -> None:
    async with mail_box() as box:
        handed = await _hand_in(server_at(box.port, "smtp+starttls", credentials=True))
        assert handed.outcome is Handed.AWAY
        assert (box.received, box.logins) == ([], [])


async def test_wrong_credentials_park_no_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = Certificate.create(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with mail_box(certificate=certificate, auth=True) as box:
        server = mail_server(f"smtps://{USER}:wrong@127.0.0.1:{box.port}", "billing@seller.example", None)
        assert server is not None
        handed = await _hand_in(server)
        assert handed.outcome is Handed.AWAY
        assert "535" in (handed.reason or "")
        assert "wrong" not in (handed.reason or "")


async def test_a_server_that_hangs_is_given_up() -> None:
    import asyncio

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        await reader.read()
        writer.close()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    server = server_at(hanging.sockets[0].getsockname()[1], "smtp")
    async with MailSender(server, connect_seconds=0.5) as sender:
        handed = await sender.hand_in(MESSAGE)
    assert handed.outcome is Handed.AWAY
    hanging.close()


async def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    async with mail_box() as box, MailSender(server_at(box.port, "smtp")) as sender:
        await sender.hand_in(MESSAGE)
        (kept,) = sender._idle
        transport: Any = kept.transport
        transport.abort()
        assert await sender.hand_in(MESSAGE) == HandingIn(Handed.TAKEN)
        assert len(box.received) == 2
