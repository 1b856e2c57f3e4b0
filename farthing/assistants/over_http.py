"""The server of assistants over streamable HTTP: each request brings the API key that it asks with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

import uvicorn

from farthing.assistants.api import FarthingApi
from farthing.assistants.server import build_server

PATH = "/mcp"
STOP_SECONDS = 5
"""How long a request that is being answered may take after the server was asked to stop."""

Json = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Json]]
Send = Callable[[Json], Awaitable[None]]
Application = Callable[[Json, Receive, Send], Awaitable[None]]

_key: ContextVar[str] = ContextVar("key of the request")
_REFUSED = b'{"error": "an API key is required: Authorization: Bearer sk_..."}'


async def serve_over_http(url: str, host: str, port: int, *, allows_changes: bool) -> None:
    """Serve at `http://host:port/mcp` until a signal. Raises ValidationFailed for a bad `url`.

    There are no sessions: a request asks the API at `url` with its own key, and nothing is kept of it.
    """
    async with FarthingApi(url, _key.get) as api:
        server = build_server(api, allows_changes=allows_changes)
        application = server.streamable_http_app(
            streamable_http_path=PATH, json_response=True, stateless_http=True, host=host
        )
        config = uvicorn.Config(
            with_key(application),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        await uvicorn.Server(config).serve()


def with_key(application: Application) -> Application:
    """`application`, which is not asked without a bearer token and finds it as the key of the request."""

    async def answer(scope: Json, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        key = _bearer(scope)
        if not key:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSED})
            return
        token = _key.set(key)
        try:
            await application(scope, receive, send)
        finally:
            _key.reset(token)

    return answer


def _bearer(scope: Json) -> str:
    """The token of a request; empty without one that could be a key."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, token = (found[0] if len(found) == 1 else b"").partition(b" ")
    text = token.strip().decode("latin-1")
    is_key = scheme.lower() == b"bearer" and text.isascii() and text.isprintable() and " " not in text
    return text if is_key else ""
