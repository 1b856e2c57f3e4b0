"""Style, script and mark, served by ourselves under names that change with their content, so that they can be kept."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from types import MappingProxyType

from litestar import Response, get

from farthing.core.errors import NotFound

_FOLDER = Path(__file__).parents[1] / "assets"
_TYPES = MappingProxyType(
    {
        "farthing.css": "text/css; charset=utf-8",
        "forms.css": "text/css; charset=utf-8",
        "forms.js": "text/javascript; charset=utf-8",
        "farthing.js": "text/javascript; charset=utf-8",
        "mark.svg": "image/svg+xml",
    }
)
_KEPT = "public, max-age=31536000, immutable"


@cache
def _content(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


@cache
def url(name: str) -> str:
    """Where a page finds `name` as it is now."""
    return f"/assets/{hashlib.sha256(_content(name)).hexdigest()[:12]}/{name}"


@get("/assets/{digest:str}/{name:str}", include_in_schema=False, sync_to_thread=False)
def asset(digest: str, name: str) -> Response[bytes]:
    """One file, whatever digest it is asked under; only the present one may be kept."""
    if name not in _TYPES:
        raise NotFound("There is no such file")
    kept = _KEPT if url(name) == f"/assets/{digest}/{name}" else "no-cache"
    return Response(_content(name), media_type=_TYPES[name], headers={"cache-control": kept})


@get("/favicon.ico", include_in_schema=False, sync_to_thread=False)
def favicon() -> Response[bytes]:
    """The mark, where browsers look for it unasked."""
    return Response(_content("mark.svg"), media_type=_TYPES["mark.svg"], headers={"cache-control": "max-age=86400"})
