"""Where webhooks go: to public hosts, to private ones where that is allowed, to metadata addresses never."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web

from farthing.notifications.webhooks.delivery.addresses import refusal_of, url_problem
from farthing.notifications.webhooks.delivery.client import WebhookClient
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Receiver, receiving

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    # behind a translator of the network's own, by the length of its prefix, and by ISATAP
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:a00:0:100:808:808",
    "64:ff9b:1:a:0:1:808:808",
    "64:ff9b:1::a:0:100:0",
    "2a00:1450:4001::5efe:10.0.0.1",
    "2a00:1450:4001:0:200:5efe:7f00:1",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00:808:808",
    "64:ff9b:1:a9:fe:a9fe:808:808",
    "64:ff9b:1::a9:fea9:fe00:0",
    "2a00:1450:4001::5efe:169.254.169.254",
    "0.0.0.0",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
]
PUBLIC = [
    "1.1.1.1",
    "64:ff9b:1::1.1.1.1",
    "64:ff9b:1:101:1:100::",
    "8.8.8.8",
    "93.184.215.14",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_unless_the_operator_allows_them(address: str) -> None:
    assert refusal_of(ip_address(address), allow_private=False) is not None
    assert refusal_of(ip_address(address), allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_metadata_and_impossible_addresses_are_always_refused(address: str) -> None:
    assert refusal_of(ip_address(address), allow_private=False) is not None
    assert refusal_of(ip_address(address), allow_private=True) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_taken(address: str) -> None:
    assert refusal_of(ip_address(address), allow_private=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https:///hook",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://user:password@example.com/",
        "https://example.com/#there",
        "https://exa mple.com/",
        "https://example.com\\@10.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://api.localhost/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "not a url",
        "https://[::1/",
        "https://" + "a" * 2050,
    ],
)
async def test_a_url_that_cannot_be_right_is_refused_when_it_is_given(account: Account, url: str) -> None:
    answer = await account.post("/webhooks/endpoints", {"url": url}, expect=400)
    assert answer["code"] == "validation_error"
    assert "url" in answer["details"]


@pytest.mark.parametrize(
    "host", ["[v1.x]", "a..b", "-a.b", "ex%61mple.com", f"{'a' * 64}.com", "a." * 130 + "com", "a*b.com", "a,b"]
)
def test_a_host_that_no_name_can_be_is_refused(host: str) -> None:
    assert (url_problem(f"https://{host}/", allow_private=True) or "").startswith("must name a host")


@pytest.mark.parametrize("host", ["example.com.", "xn--bcher-kva.example", "my_host", "A-1.example:8443", "1.1.1.1"])
def test_a_host_that_can_be_is_taken(host: str) -> None:
    assert url_problem(f"https://{host}/", allow_private=False) is None


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "http://localhost:8000/", "https://192.168.0.10:8443/x?y=z"])
def test_private_urls_are_taken_where_they_are_allowed(url: str) -> None:
    assert url_problem(url, allow_private=True) is None


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://[fe80::1]/", "http://0.0.0.0/", "http://0/"])
def test_metadata_urls_are_refused_even_there(url: str) -> None:
    assert url_problem(url, allow_private=True) is not None


async def test_a_host_that_moves_to_a_private_address_is_not_reached_and_gets_the_event_when_it_is_back(
    office: PostOffice, seller: Account, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name resolves to a public address when the endpoint is made, later to this machine."""
    port = receiver.url.rpartition(":")[2]
    await make_endpoint(seller, f"http://moving.example:{port}/hook")
    resolve = socket.getaddrinfo
    looked_up: list[str] = []

    def to_this_machine(host: Any, port: Any, *given: Any, **more: Any) -> Any:
        if host == "moving.example":
            looked_up.append(host)
            host = "127.0.0.1"
        return resolve(host, port, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", to_this_machine)
    await make_customer(seller, "acme")
    await office.deliver(allow_private=False)
    assert looked_up
    assert receiver.received == []
    (message,) = (await seller.get("/webhooks/messages"))["items"]
    (delivery,) = message["deliveries"]
    assert delivery["state"] == "pending"
    assert "private" in delivery["reason"]
    assert "127.0.0.1" not in delivery["reason"]
    await seller.post(f"/webhooks/messages/{message['id']}/resend", expect=202)
    await office.deliver(allow_private=True)
    assert len(receiver.at("/hook")) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_address_of_each_connection_is_checked_whatever_the_url_was(host: str) -> None:
    async with receiving(host) as receiver:
        client = WebhookClient(allow_private=False)
        for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost").replace("127.0.0.1", "2130706433")):
            outcome = await client.post(f"{url}/hook", b"{}", {})
            assert outcome.error is not None
            assert "private" in outcome.error
        await client.close()
        assert receiver.received == []


async def test_redirects_are_not_followed(office: PostOffice, seller: Account, receiver: Receiver) -> None:
    async def elsewhere(_: object) -> web.StreamResponse:
        return web.Response(status=307, headers={"location": f"{receiver.url}/elsewhere"})

    receiver.answers["/hook"] = elsewhere
    await make_endpoint(seller, f"{receiver.url}/hook")
    await make_customer(seller, "acme")
    await office.deliver()
    assert len(receiver.at("/hook")) == 1
    assert receiver.at("/elsewhere") == []
    (message,) = (await seller.get("/webhooks/messages"))["items"]
    assert message["deliveries"][0]["reason"] == "the endpoint answered 307"
