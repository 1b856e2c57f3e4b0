"""Sessions of people in a browser: one signed cookie, checked against the user's row on every request.

The cookie names the person, the environment being looked at and a random session id, drawn anew at every sign-in; a
stamp of the person's password ends all sessions when that changes. Forms carry a token made from the session id.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import jwt
from litestar.datastructures import Cookie

from farthing.identity.keys import derived_key
from farthing.identity.tables import User
from farthing.settings import Settings

LIFE = timedelta(hours=12)
KIND = "web"
_ALGORITHM = "HS256"
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class Session:
    """Who a browser is; `user_id` is "" before signing in."""

    id: str
    user_id: str
    stamp: str
    environment_id: str
    expires_at: datetime

    @property
    def signed_in(self) -> bool:
        return self.user_id != _NOBODY

    def looking_at(self, environment_id: str) -> Session:
        """The same session in another environment."""
        return replace(self, environment_id=environment_id)


class Sessions:
    """Opens, signs and reads sessions."""

    def __init__(self, settings: Settings) -> None:
        master = settings.master_key()
        self._signing = derived_key(master, "web-sessions")
        self._forms = derived_key(master, "web-forms")
        self._stamps = derived_key(master, "web-stamps")
        self._secure = settings.base_url.startswith("https://")

    def anonymous(self, now: datetime) -> Session:
        """A session of nobody yet, so that even the sign-in form has a token."""
        return Session(secrets.token_urlsafe(18), _NOBODY, "", "", now + LIFE)

    def opened(self, user: User, now: datetime) -> Session:
        """A new session of `user`, under an id that nobody has seen."""
        return Session(secrets.token_urlsafe(18), user.id, self.stamp(user), "", now + LIFE)

    def stamp(self, user: User) -> str:
        """What a session remembers of the password it was opened with; says nothing of it."""
        return hmac.new(self._stamps, f"{user.id}/{user.password_hash}".encode(), hashlib.sha256).hexdigest()[:32]

    def form_token(self, session: Session) -> str:
        """What every form of this session must send along."""
        return hmac.new(self._forms, session.id.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, session: Session, given: str) -> bool:
        return hmac.compare_digest(self.form_token(session), given.encode("ascii", "replace").decode())

    @property
    def cookie_name(self) -> str:
        return "__Host-farthing" if self._secure else "farthing"

    def cookie(self, session: Session) -> Cookie:
        """The cookie to set."""
        claims = {
            "typ": KIND,
            "sid": session.id,
            "sub": session.user_id,
            "stamp": session.stamp,
            "env": session.environment_id,
            "exp": session.expires_at,
        }
        return self.plain_cookie(self.cookie_name, jwt.encode(claims, self._signing, _ALGORITHM))

    def plain_cookie(self, name: str, value: str, max_age_seconds: int | None = None) -> Cookie:
        """A cookie that scripts cannot read and other sites cannot send with a form."""
        return Cookie(
            key=name,
            value=value,
            path="/",
            max_age=max_age_seconds,
            httponly=True,
            secure=self._secure,
            samesite="lax",
        )

    def read(self, cookie: str | None, now: datetime) -> Session | None:
        """The session a cookie holds; None unless it is one of ours and not over."""
        if not cookie:
            return None
        try:
            claims = jwt.decode(
                cookie,
                self._signing,
                algorithms=[_ALGORITHM],
                options={"require": ["exp", "sid", "sub"], "verify_exp": False},
            )
            found = Session(
                str(claims["sid"]),
                str(claims["sub"]),
                str(claims.get("stamp", "")),
                str(claims.get("env", "")),
                datetime.fromtimestamp(claims["exp"], now.tzinfo),
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            return None
        return found if claims.get("typ") == KIND and found.expires_at > now else None
