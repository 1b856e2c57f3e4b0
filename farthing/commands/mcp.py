"""The command `farthing mcp`: let an assistant ask a running Farthing."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import errors
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
) -> None:
    """Serve an assistant over standard input and output; it starts this command itself.

    It can do what the key may do, and without --allow-writes only read.
    """
    try:
        from farthing.assistants.server import serve_over_stdio
    except ModuleNotFoundError as error:
        if error.name not in {"mcp", "mcp_types", "pydantic"}:
            raise
        errors.print(f"farthing: {_MISSING}", markup=False)
        sys.exit(2)
    key = key or os.environ.get("FARTHING_KEY") or os.environ.get("API_KEY_APIKEYAUTH")
    if not key:
        raise ValidationFailed.of("key", "is required; give it in FARTHING_KEY or with --key")
    url = url or os.environ.get("FARTHING_URL") or "http://127.0.0.1:8080"
    asyncio.run(serve_over_stdio(url, key, allows_changes=allow_writes))
