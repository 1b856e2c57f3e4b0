"""A process killed between handing a mail in and recording that: the mail comes again, and is the same."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import psycopg
import pytest

from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox, Received
from tests.waiting import until

ADDRESS = "ada@brightwater.example"


@pytest.mark.slow
async def test_a_process_killed_between_sending_and_recording_sends_the_same_mail_again(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.till.invoice("100", customer=customer)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")} | {
        "FARTHING_DATABASE_URL": mail_room.database.url,
        "FARTHING_SECRET_KEY": mail_room.settings.master_key(),
        "FARTHING_SMTP_URL": mail_room.settings.smtp_url or "",
        "FARTHING_MAIL_FROM": mail_room.settings.mail_from or "",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "farthing", "jobs", "run", "email_delivery", env=environment
    )

    async def kill(_: Received) -> None:
        process.send_signal(signal.SIGKILL)
        await process.wait()

    box.on_data = kill  # the server has the whole message, and the process never hears that it was taken

    async def has_ended() -> bool:
        return process.returncode is not None

    await until(has_ended)
    assert process.returncode == -signal.SIGKILL
    box.on_data = None
    assert [email["status"] for email in await seller.emails(customer)] == ["queued"]
    await mail_room.deliver()
    assert len(box.received) == 1, "its lease has not ended"
    with psycopg.connect(mail_room.database.url.replace("farthing@", "postgres@")) as connection:
        connection.execute("UPDATE emails SET next_attempt_at = now() WHERE state = 'queued'")
    await mail_room.deliver()
    first, second = box.received
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert [email["status"] for email in await seller.emails(customer)] == ["sent"]
