"""Mail waits for a process that has a mail server, and none that has not gives it up."""

from __future__ import annotations

import msgspec

from farthing.jobs.duties.schedule import duties
from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox


async def test_a_process_without_a_mail_server_keeps_mail_waiting(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await seller.till.desk.customer(email="ada@brightwater.example")
    await seller.till.invoice("100", customer=customer)
    without = msgspec.structs.replace(mail_room.settings, smtp_url=None, mail_from=None)
    assert "email_delivery" not in {duty.name for duty in duties(mail_room.database, without)}
    await MailRoom(without, mail_room.database, mail_room.base_url, box).notice()
    (waiting,) = await seller.emails(customer)
    assert (waiting["status"], waiting["attempts"]) == ("queued", 0)
    await mail_room.deliver()
    (sent,) = await seller.emails(customer)
    assert sent["status"] == "sent"
