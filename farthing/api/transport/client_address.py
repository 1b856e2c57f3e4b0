"""From which address a request comes, behind proxies too.

A header is believed only from a peer in a trusted network, and read from its right end: each proxy appends the address
it was reached from, so the first one that is no trusted proxy is the client's. What stands to its left anybody may have
written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]+)', re.IGNORECASE)
_MOST_HOPS = 32
_ONE_HOME = 64


class ClientAddresses:
    """Reads client addresses. `header` is the one in which the proxies of `networks` say whom they speak for."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network], header: str) -> None:
        self._networks = tuple(networks)
        self._header = header.encode()

    def of(self, scope: Mapping[str, Any]) -> str:
        """The client's address; "" for a peer without one, such as a Unix socket's."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        if not self._networks or not self._is_trusted(_parsed(peer)):
            return peer
        given = b",".join(value for name, value in scope["headers"] if name == self._header).decode("latin-1")
        found = peer
        for hop in reversed(given.split(",")[-_MOST_HOPS:]):
            address = _parsed(self._text_of(hop))
            if address is None:
                break
            found = str(address)
            if not self._is_trusted(address):
                break
        return found

    def _text_of(self, hop: str) -> str:
        if self._header != b"forwarded":
            return hop
        match = _FOR.search(hop.strip())
        return match[1].strip('"') if match else ""

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def limited_as(address: str) -> str:
    """What limits by address count: of IPv6 the network of 64 bits, since whoever has one address has all of those."""
    parsed = _parsed(address.partition("%")[0])
    return str(IPv6Network((parsed, _ONE_HOME), strict=False)) if isinstance(parsed, IPv6Address) else address


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address as headers write it: alone, with a port, or in brackets; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
