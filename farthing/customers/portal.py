"""Portal sessions: signed tokens that let one customer into the portal for a while. Nothing is stored.

The signing key is derived for this purpose alone, so that no token of a user can pass for a customer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

import jwt

from farthing.customers.tables import Customer
from farthing.identity.credentials.keys import derived_key

KEY_PURPOSE = "portal-sessions"
KIND = "portal"
ALGORITHM = "HS256"
DEFAULT_LIFE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class PortalSession:
    """A fresh session: its token, and when it ends."""

    token: str
    expires_at: datetime

    def url(self, portal: str) -> str:
        """The address of the portal with this session in its query."""
        return f"{portal}{'&' if '?' in portal else '?'}{urlencode({'token': self.token})}"


def open_session(customer: Customer, master_key: str, now: datetime, life_seconds: int) -> PortalSession:
    """A session for `customer` from `now` on; a life that is not positive means one hour. `now` is real time."""
    issued = now.replace(microsecond=0)
    expires = issued + timedelta(seconds=life_seconds if life_seconds > 0 else DEFAULT_LIFE_SECONDS)
    claims = {
        "typ": KIND,
        "customer_id": customer.id,
        "external_customer_id": customer.external_id,
        "tenant_id": customer.tenant_id,
        "environment_id": customer.environment_id,
        "iat": issued,
        "exp": expires,
    }
    return PortalSession(jwt.encode(claims, derived_key(master_key, KEY_PURPOSE), ALGORITHM), expires)
