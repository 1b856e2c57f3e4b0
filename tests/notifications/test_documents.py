"""The page about webhooks: its receiver works as it stands, and its catalogue is the one that is served."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from farthing.notifications.webhooks.catalogue import EVENTS
from tests.account import Account
from tests.conftest import free_port
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def test_the_catalogue_of_the_page_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", PAGE.partition("## Events")[2], re.MULTILINE)
    assert rows == [(event.name, event.description.rstrip(".")) for event in EVENTS.values()]


async def test_the_receiver_in_python_takes_a_message_and_refuses_a_forged_one(
    office: PostOffice, seller: Account
) -> None:
    port = free_port()
    made = await make_endpoint(seller, f"http://127.0.0.1:{port}/")
    (source,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    program = f"SECRET, PORT = {made['secret']!r}, {port}\n{source}"
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await make_customer(seller, "acme")
        async with office.delivering():
            assert receiver.stdout is not None
            line = await asyncio.wait_for(receiver.stdout.readline(), 60)
        assert re.fullmatch(r"msg_\w+ customer.created\n", line.decode())
        await seller.post(f"/webhooks/endpoints/{made['id']}/secret/rotate", expect=200)
        await seller.post(f"/webhooks/endpoints/{made['id']}/secret/rotate", expect=200)
        outcome = await seller.post(f"/webhooks/endpoints/{made['id']}/test", {}, expect=200)
        assert outcome["status_code"] == 400
    finally:
        receiver.kill()
        await receiver.wait()
