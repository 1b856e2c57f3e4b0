"""Sessions of people in a browser: one signed cookie, checked against the session's and the person's row every time.

The cookie names the person, the environment being looked at and a random text, drawn anew at every sign-in, whose hash
is in the row of the session. Forms carry a token made from that text. A second cookie, which outlives signing out,
tells a browser that an account signed in with before from a stranger's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import jwt
from litestar.datastructures import Cookie

from farthing.identity.credentials.keys import derived_key
from farthing.identity.credentials.master_key import MasterKeys, signed_claims
from farthing.identity.sign_in.back_off import account_key
from farthing.settings import Settings

LIFE = timedelta(hours=12)
SECOND_STEP_LIFE = timedelta(minutes=5)
DEVICE_LIFE = timedelta(days=365)
KIND = "web"
DEVICE = "farthing_device"
_ALGORITHM = "HS256"
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class Session:
    """Who a browser is; `user_id` is "" before signing in."""

    id: str
    user_id: str
    environment_id: str
    expires_at: datetime

    @property
    def signed_in(self) -> bool:
        return self.user_id != _NOBODY

    def looking_at(self, environment_id: str) -> Session:
        """The same session in another environment."""
        return replace(self, environment_id=environment_id)


class Sessions:
    """Signs and reads the cookies of sessions."""

    def __init__(self, settings: Settings, keys: MasterKeys) -> None:
        self._keys = keys
        self._secure = settings.base_url.startswith("https://")

    def anonymous(self, now: datetime) -> Session:
        """A session of nobody yet, so that even the sign-in form has a token."""
        return Session(secrets.token_urlsafe(18), _NOBODY, "", now + LIFE)

    def form_token(self, session: Session) -> str:
        """What every form of this session must send along."""
        return self._form_token(self._keys.current, session)

    def is_form_token(self, session: Session, given: str, now: datetime) -> bool:
        sent = given.encode("ascii", "replace").decode()
        return any(hmac.compare_digest(self._form_token(master, session), sent) for master in self._keys.accepted(now))

    @staticmethod
    def _form_token(master: str, session: Session) -> str:
        return hmac.new(derived_key(master, "web-forms"), session.id.encode(), hashlib.sha256).hexdigest()

    @property
    def cookie_name(self) -> str:
        return "__Host-farthing" if self._secure else "farthing"

    def cookie(self, session: Session) -> Cookie:
        """The cookie to set."""
        claims = {
            "typ": KIND,
            "sid": session.id,
            "sub": session.user_id,
            "env": session.environment_id,
            "exp": session.expires_at,
        }
        return self.plain_cookie(self.cookie_name, self._sign(claims, "web-sessions"))

    def plain_cookie(self, name: str, value: str, max_age_seconds: int | None = None, path: str = "/") -> Cookie:
        """A cookie that scripts cannot read and other sites cannot send with a form."""
        return Cookie(
            key=name,
            value=value,
            path=path,
            max_age=max_age_seconds,
            httponly=True,
            secure=self._secure,
            samesite="lax",
        )

    def read(self, cookie: str | None, now: datetime) -> Session | None:
        """The session a cookie holds; None unless it is one of ours and not over."""
        claims = self._read(cookie, "web-sessions", KIND, now)
        if claims is None:
            return None
        expires_at = datetime.fromtimestamp(claims["exp"], now.tzinfo)
        return Session(str(claims.get("sid", "")), str(claims["sub"]), str(claims.get("env", "")), expires_at)

    def device_cookie(self, email: str, now: datetime) -> Cookie:
        """What lets this browser's attempts on the account be counted apart from strangers'."""
        claims = {
            "typ": "device",
            "sub": account_key(email),
            "id": secrets.token_urlsafe(12),
            "exp": now + DEVICE_LIFE,
        }
        return self.plain_cookie(DEVICE, self._sign(claims, "web-devices"), int(DEVICE_LIFE.total_seconds()))

    def device(self, cookie: str | None, email: str, now: datetime) -> str:
        """Which known browser of this account sent the cookie; "" for a stranger's, or one of another account."""
        claims = self._read(cookie, "web-devices", "device", now)
        return str(claims.get("id", "")) if claims is not None and claims["sub"] == account_key(email) else ""

    def second_step(self, session: Session, user_id: str, stamp: str, now: datetime) -> str:
        """That this browser gave the right password of `user_id`, for the form that asks for a code."""
        claims = {
            "typ": "second-step",
            "sub": user_id,
            "sid": session.id,
            "stamp": stamp,
            "exp": now + SECOND_STEP_LIFE,
        }
        return self._sign(claims, "web-second-steps")

    def read_second_step(self, session: Session, given: str, now: datetime) -> tuple[str, str] | None:
        """Whose password this browser gave, and its stamp then; None when that was another browser or too long ago."""
        claims = self._read(given, "web-second-steps", "second-step", now)
        if claims is None or claims.get("sid") != session.id:
            return None
        return str(claims["sub"]), str(claims.get("stamp", ""))

    def _sign(self, claims: dict[str, Any], purpose: str) -> str:
        return jwt.encode(claims, derived_key(self._keys.current, purpose), _ALGORITHM)

    def _read(self, text: str | None, purpose: str, kind: str, now: datetime) -> dict[str, Any] | None:
        if not text:
            return None
        try:
            claims = signed_claims(
                text,
                self._keys.accepted(now),
                purpose,
                algorithms=[_ALGORITHM],
                options={"require": ["exp", "sub"], "verify_exp": False},
            )
            expires = datetime.fromtimestamp(claims["exp"], now.tzinfo)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            return None
        return claims if claims.get("typ") == kind and expires > now else None
