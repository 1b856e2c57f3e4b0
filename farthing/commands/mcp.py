"""The command `farthing mcp`: let an assistant ask a running Farthing."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import console, errors
from farthing.core.errors import ValidationFailed

mcp = cyclopts.App(name="mcp", help="Let an assistant ask a running Farthing, over the Model Context Protocol.")

_MISSING = "farthing mcp needs the SDK of the protocol: pip install 'farthing[mcp]'"


@mcp.default
def serve_assistant(
    *,
    url: Annotated[
        str | None,
        Parameter(name=["--url", "--server-url"], help="Address of the Farthing to ask (FARTHING_URL)."),
    ] = None,
    key: Annotated[
        str | None,
        Parameter(name=["--key", "--api-key-auth"], help="An API key of it; better in FARTHING_KEY."),
    ] = None,
    allow_writes: Annotated[
        bool,
        Parameter(help="Also offer tools that write notes, draft invoices, send mail, record payments.", negative=""),
    ] = False,
    http: Annotated[
        bool,
        Parameter(help="Serve over HTTP instead; each request brings its key as a bearer token.", negative=""),
    ] = False,
    host: Annotated[str, Parameter(help="Address to listen on with --http.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on with --http.")] = 8090,
) -> None:
    """Serve an assistant over standard input and output; it starts this command itself.

    It can do what the key may do, and without --allow-writes only read.
    """
    try:
        from farthing.assistants import over_http, server
    except ModuleNotFoundError as error:
        if error.name not in {"mcp", "mcp_types", "pydantic", "uvicorn"}:
            raise
        errors.print(f"farthing: {_MISSING}", markup=False)
        sys.exit(2)
    url = url or os.environ.get("FARTHING_URL") or "http://127.0.0.1:8080"
    if http:
        if key:
            raise ValidationFailed.of("key", "is not given with --http: each request brings its own")
        console.print(f"Assistants connect to http://{host}:{port}{over_http.PATH}, with an API key as bearer token")
        asyncio.run(over_http.serve_over_http(url, host, port, allows_changes=allow_writes))
        return
    key = key or os.environ.get("FARTHING_KEY") or os.environ.get("API_KEY_APIKEYAUTH")
    if not key:
        raise ValidationFailed.of("key", "is required; give it in FARTHING_KEY or with --key")
    asyncio.run(server.serve_over_stdio(url, key, allows_changes=allow_writes))
