"""Credentials of connections, sealed with AES-256-GCM so that a copy of the database opens nothing.

A sealed text is a random 12-byte nonce and the ciphertext with its tag. The owner (environment and connection) is
authenticated with it: a ciphertext moved to another row does not open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from farthing.core.errors import ServiceUnavailable
from farthing.identity.keys import derived_key

_NONCE_BYTES = 12


class Safe:
    """Seals and opens the credentials of a deployment."""

    def __init__(self, master: str) -> None:
        key = derived_key(master, "credentials")
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"id of " + key).hexdigest()[:16]
        """Names the key without saying anything of it; kept beside each sealed text."""

    def seal(self, secrets: Mapping[str, Any], owner: str) -> bytes:
        """The sealed form of `secrets`, which only opens for the same `owner`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(secrets), owner.encode())

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
            opened = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        except InvalidTag as error:
            raise ServiceUnavailable("Stored credentials are damaged; enter them again") from error
        secrets: dict[str, Any] = msgspec.json.decode(opened)
        return secrets
