"""A browser without a screen, for what is about requests and not about what is drawn."""

from __future__ import annotations

import re

import httpx

from tests.account import Account
from tests.connection import PlainTransport
from tests.web.stage import PASSWORD, Stage

FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_ONCE = re.compile(r'name="once" value="([0-9A-Z]+)"')


class Visitor:
    """A browser without a screen: it keeps cookies and reads tokens out of forms."""

    def __init__(self, account: Account) -> None:
        self.http = httpx.AsyncClient(base_url=account.base_url, timeout=60, transport=PlainTransport())

    async def token(self, path: str = "/clock") -> str:
        found = FORM_TOKEN.search((await self.http.get(path)).text)
        assert found is not None
        return found[1]

    async def once(self, path: str) -> str:
        """The name of the form of a page, by which it is known when it is sent again."""
        found = _ONCE.search((await self.http.get(path)).text)
        assert found is not None
        return found[1]

    async def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        return await self.http.post(path, data=form or {}, headers=headers)

    async def sign_in(self, stage: Stage) -> Visitor:
        form = {"email": stage.email, "password": PASSWORD, "form_token": await self.token("/sign-in")}
        answer = await self.post("/sign-in", form)
        assert answer.status_code == 303, answer.text
        return self
