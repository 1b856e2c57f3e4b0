"""Secrets that must be read again are sealed with AES-256-GCM, so that a copy of the database opens nothing.

A sealed value is a random 12-byte nonce and the ciphertext with its tag. The owner is authenticated with it: a
ciphertext that was moved to another row does not open.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from farthing.identity.credentials.keys import derived_key

_NONCE_BYTES = 12


class SealedBox:
    """Seals and opens under one master key, for one purpose."""

    def __init__(self, master: str, purpose: str) -> None:
        key = derived_key(master, purpose)
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"id of " + key).hexdigest()[:16]
        """Names the key without saying anything of it; kept beside each sealed value."""

    def seal(self, secret: bytes, owner: str) -> bytes:
        """The sealed form of `secret`, which only opens for the same `owner`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """What was sealed. Raises cryptography.exceptions.InvalidTag for anything else."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
