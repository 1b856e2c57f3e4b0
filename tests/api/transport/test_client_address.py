"""Whose address a request comes from: a header counts only from a proxy that is trusted, read from its right end."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from farthing.api.transport.client_address import ClientAddresses, limited_as
from farthing.settings import BadSettings, load

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def request(peer: str, **headers: str) -> dict[str, Any]:
    names = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"client": (peer, 4711), "headers": names}


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        pytest.param("203.0.113.9", "198.51.100.1", "203.0.113.9", id="a stranger's header is not believed"),
        pytest.param("10.0.0.1", "198.51.100.1", "198.51.100.1", id="a proxy's is"),
        pytest.param("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1", id="what the client wrote itself is not"),
        pytest.param("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1", id="proxies behind proxies are passed"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", id="a client within"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="a proxy that says nothing"),
        pytest.param("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1", id="nonsense ends the walk"),
        pytest.param("10.0.0.1", "198.51.100.1:4711", "198.51.100.1", id="with a port"),
        pytest.param("fd00::1", "[2001:db8::7]:80", "2001:db8::7", id="IPv6 in brackets"),
        pytest.param("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1", id="IPv4 in IPv6"),
    ],
)
def test_x_forwarded_for(peer: str, header: str, expected: str) -> None:
    addresses = ClientAddresses(PROXIES, "x-forwarded-for")
    assert addresses.of(request(peer, x_forwarded_for=header, forwarded="for=6.6.6.6")) == expected


def test_forwarded() -> None:
    addresses = ClientAddresses(PROXIES, "forwarded")
    header = 'for=1.2.3.4, proto=https;For="[2001:db8::7]:80";by=10.0.0.1'
    assert addresses.of(request("10.0.0.1", forwarded=header, x_forwarded_for="6.6.6.6")) == "2001:db8::7"
    assert addresses.of(request("10.0.0.1", forwarded="for=_hidden")) == "10.0.0.1"


def test_without_trusted_proxies_no_header_counts() -> None:
    assert ClientAddresses([], "x-forwarded-for").of(request("10.0.0.1", x_forwarded_for="6.6.6.6")) == "10.0.0.1"
    assert ClientAddresses([], "x-forwarded-for").of({"client": None, "headers": []}) == ""


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("", ""),
    ],
)
def test_a_home_has_one_limit_however_many_addresses_of_ipv6(address: str, counted: str) -> None:
    assert limited_as(address) == counted


def test_the_setting_is_checked() -> None:
    assert [str(network) for network in load({"FARTHING_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}).proxies()] == [
        "10.0.0.0/8",
        "::1/128",
    ]
    with pytest.raises(BadSettings, match="FARTHING_TRUSTED_PROXIES"):
        load({"FARTHING_TRUSTED_PROXIES": "10.0.0.1/8"})
