"""Looking up names for a client that makes its connections itself: addresses that are refused are not answered."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from farthing.notifications.webhooks.delivery.addresses import AddressRefused, refusal_of


class PublicResolver(AbstractResolver):
    """Answers what another resolver finds, if exports may go there. A connection is made to what is answered."""

    def __init__(self, found_by: AbstractResolver, *, allow_private: bool) -> None:
        self._found_by = found_by
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises AddressRefused."""
        found = await self._found_by.resolve(host, port, family)
        for answer in found:
            address = ip_address(answer["host"].partition("%")[0])
            reason = refusal_of(address, allow_private=self._allow_private)
            if reason is not None:
                raise AddressRefused(f"the host {reason}")
        return found

    async def close(self) -> None:
        await self._found_by.close()
