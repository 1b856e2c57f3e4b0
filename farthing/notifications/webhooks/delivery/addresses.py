"""Which hosts webhooks may be posted to: public ones; private ones where the operator allows it; metadata never.

A name says nothing of where it leads, and may lead elsewhere the next time. What is decided here is therefore decided
about the very address that a connection is about to be made to; checks of a URL only spare its author the wait.

Rule: docs/rules/webhooks.md#addresses
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address

LONGEST_URL = 2048
LONGEST_HOST = 253
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure, for its own agents
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
    )
)
"""Where clouds tell a machine its secrets, beside the link-local addresses that most of them use."""
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_LOCAL_NAT64 = _NAT64[1]
_EMBEDDED = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""The bytes in which a translator with a prefix of 48, 56, 64 or 96 bits looks for the IPv4 address (RFC 6052)."""
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_ISATAP = (0x00005EFE, 0x02005EFE)
_COMPATIBLE = IPv6Network("::/96")


class AddressRefused(OSError):
    """No connection is made to this address; the message says why."""


def refusal_of(address: Address, *, allow_private: bool) -> str | None:
    """Why no webhook goes to `address`, in words that follow "the host"; None if it may."""
    reasons = (_refusal(each, allow_private=allow_private) for each in _meant(address))
    return next((reason for reason in reasons if reason is not None), None)


def _refusal(address: Address, *, allow_private: bool) -> str | None:
    if address in _METADATA or address.is_link_local:
        return "has a link-local or cloud metadata address"
    # the loopback address of IPv6, and those that wrap one of IPv4, stand in a reserved network
    is_reserved = address.is_reserved and not (address.is_loopback or _is_nat64(address))
    if address.is_unspecified or address.is_multicast or is_reserved:
        return "has an address that no server can have"
    is_public = address.is_global and not getattr(address, "is_site_local", False)
    if not is_public and not _is_nat64(address) and not allow_private:
        return "has a private, loopback or otherwise not public address"
    return None


def _is_nat64(address: Address) -> bool:
    return isinstance(address, IPv6Address) and any(address in network for network in _NAT64)


def _meant(address: Address) -> list[Address]:
    """`address`, or the IPv4 addresses that an IPv6 address only wraps."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    wrapped: list[Address] = [address]
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    is_isatap = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    if address in _LOCAL_NAT64:
        read = [IPv4Address(bytes(address.packed[place] for place in places)) for places in _EMBEDDED]
        # what begins with 0 is the padding around an address that stands elsewhere
        wrapped.extend([each for each in read if each not in _THIS_NETWORK] or [low])
    elif _is_nat64(address) or is_isatap or (address in _COMPATIBLE and int(address) > 1):
        wrapped.append(low)
    if address.sixtofour is not None:
        wrapped.append(address.sixtofour)
    if address.teredo is not None:
        wrapped.extend(address.teredo)
    return wrapped


def literal_address(host: str) -> Address | None:
    """The address that a host is written as, in any form that a resolver takes ("127.1", "0x7f000001"); else None."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def url_problem(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with the URL of an endpoint, in words that follow the field's name; None if nothing is."""
    if len(url) > LONGEST_URL:
        return f"must be at most {LONGEST_URL} characters long"
    if not url.isascii() or any(character <= " " or character == "\\" for character in url):
        return "must not contain spaces, backslashes, control or non-ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL such as https://example.com/webhooks"
    return _parts_problem(parts, port, allow_private=allow_private)


def _parts_problem(parts: SplitResult, port: int | None, *, allow_private: bool) -> str | None:
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        return f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)} and names a host"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user name or password; use headers for credentials"
    if parts.fragment:
        return "must not contain a fragment"
    host = parts.hostname.rstrip(".")
    address = literal_address(host)
    if address is not None:
        reason = refusal_of(address, allow_private=allow_private)
        return None if reason is None else f"is refused: the host {reason}"
    if "[" in parts.netloc or not _HOST.fullmatch(host) or len(host) > LONGEST_HOST:
        return "must name a host by an address or by a name of letters, digits, hyphens and dots"
    if not allow_private and (host == "localhost" or host.endswith(".localhost")):
        return "is refused: the host is this machine itself"
    return None
