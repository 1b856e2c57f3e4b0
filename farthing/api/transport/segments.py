"""Path parameters that hold a slash: `%2F` in a URL is part of a segment, not the end of one.

Servers decode a path before a router splits it, so an id such as `a/b`, sent as `a%2Fb`, would become two segments.
Here each segment is decoded by itself and its slashes travel through the router in disguise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from litestar.types import ASGIApp, Receive, Scope, Send

_DISGUISE = "\udc2f"
"""A lone surrogate: no decoded path holds one."""


def slashes_kept(app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap the application: what it routes has its slashes within segments disguised."""

    async def routed(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] != "http" or b"%2f" not in raw.lower():
            await app(scope, receive, send)
            return
        segments = [unquote(segment).replace("/", _DISGUISE) for segment in raw.decode("latin-1").split("/")]
        inner = {**scope, "path": "/".join(segments)}
        try:
            await app(inner, receive, send)
        finally:
            scope["path_template"] = inner.get("path_template")  # metrics are labelled with it

    return routed


def slashes_restored(app: ASGIApp) -> ASGIApp:
    """Middleware behind the router: the disguised slashes of path parameters become slashes again."""

    async def handled(scope: Scope, receive: Receive, send: Send) -> None:
        if _DISGUISE in scope["path"]:
            scope["path"] = scope["path"].replace(_DISGUISE, "/")
            given: dict[str, Any] = scope["path_params"]
            scope["path_params"] = {
                name: value.replace(_DISGUISE, "/") if isinstance(value, str) else value
                for name, value in given.items()
            }
        await app(scope, receive, send)

    return handled
