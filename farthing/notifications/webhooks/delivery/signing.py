"""Secrets of endpoints, and what a message is signed with.

Rule: docs/rules/webhooks.md#signatures
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from standardwebhooks.webhooks import Webhook

from farthing.core.errors import ServiceUnavailable
from farthing.identity.credentials.sealing import SealedBox

PREFIX = "whsec_"
SECRET_BYTES = 24
OVERLAP = timedelta(hours=24)
"""For so long after a rotation messages are signed with the secret before it, too."""
HEADER_FAMILIES = ("svix", "webhook")


class EndpointSecrets(msgspec.Struct, frozen=True):
    """What is sealed of an endpoint."""

    secret: str
    previous_secret: str | None = None
    headers: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class SecretsBox:
    """Seals and opens the secrets of endpoints under one master key."""

    box: SealedBox = field(repr=False)

    @classmethod
    def under(cls, master_key: str) -> SecretsBox:
        """The box of a deployment."""
        return cls(SealedBox(master_key, "webhooks"))

    @property
    def key_id(self) -> str:
        """Names the key; kept beside each sealed text."""
        return self.box.key_id

    def seal(self, opened: EndpointSecrets, endpoint_id: str) -> bytes:
        """The sealed form, which opens for this endpoint only."""
        return self.box.seal(msgspec.json.encode(opened), endpoint_id)

    def open(self, sealed: bytes, key_id: str, endpoint_id: str) -> EndpointSecrets:
        """What was sealed. Raises ServiceUnavailable when another master key sealed it."""
        if key_id == self.key_id:
            try:
                return msgspec.json.decode(self.box.open(sealed, endpoint_id), type=EndpointSecrets)
            except InvalidTag:
                pass
        raise ServiceUnavailable(
            "The endpoint's secret was sealed with another master key; set FARTHING_SECRET_KEY to that one, "
            "or rotate the secret"
        )


def new_secret() -> str:
    """A fresh secret: `whsec_` and 24 random bytes in base64."""
    return PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(message_id: str, at: datetime, body: str, signers: Sequence[Webhook]) -> Mapping[str, str]:
    """Id, time and signatures (one for each secret) of a message, under both families of names."""
    signatures = " ".join(signer.sign(message_id, at, body) for signer in signers)
    values = {"id": message_id, "timestamp": str(int(at.timestamp())), "signature": signatures}
    return {f"{family}-{name}": value for family in HEADER_FAMILIES for name, value in values.items()}
