"""What marketplaces are given from above: how this deployment may reach other systems; `farthing.wiring` fills it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp.abc import AbstractResolver

MakeSockets = Callable[[bool], Callable[[tuple[Any, ...]], socket.socket]]
"""Sockets that connect only where outgoing requests may go; `True` lets them connect to private hosts too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketplacePorts:
    """The guards of outgoing requests."""

    make_resolver: Callable[[], AbstractResolver]
    make_sockets: MakeSockets
    describe_failure: Callable[[Exception], str]
    """Why there was no answer, in words that hold nothing internal."""
