"""Credentials of connections, sealed so that a copy of the database opens nothing.

The owner of a sealed text is its environment and connection; see `identity.credentials.sealing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag

from farthing.core.errors import ServiceUnavailable
from farthing.identity.credentials.sealing import SealedBox


class Safe:
    """Seals and opens the credentials of a deployment."""

    def __init__(self, master: str) -> None:
        self._box = SealedBox(master, "credentials")
        self.key_id = self._box.key_id
        """Names the key without saying anything of it; kept beside each sealed text."""

    def seal(self, secrets: Mapping[str, Any], owner: str) -> bytes:
        """The sealed form of `secrets`, which only opens for the same `owner`."""
        return self._box.seal(msgspec.json.encode(secrets), owner)

    def open(self, sealed: bytes, key_id: str, owner: str) -> dict[str, Any]:
        """What was sealed. Raises ServiceUnavailable when the master key is not the one that sealed it."""
        if not sealed:
            return {}
        if key_id != self.key_id:
            raise ServiceUnavailable(
                "Stored credentials were sealed with another master key; set FARTHING_SECRET_KEY to that one, "
                "or enter the credentials of the connection again"
            )
        try:
            opened = self._box.open(sealed, owner)
        except InvalidTag as error:
            raise ServiceUnavailable("Stored credentials are damaged; enter them again") from error
        secrets: dict[str, Any] = msgspec.json.decode(opened)
        return secrets
