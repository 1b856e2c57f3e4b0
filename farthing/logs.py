"""Structured logs: JSON lines for machines, columns for a terminal; secrets are never given to them."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import msgspec
import structlog

from farthing.settings import Settings

_CREDENTIAL = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+|\b[sp]k_[0-9A-Za-z]{16,}")
"""A signed token, or an API key, wherever it stands in a text."""


def without_credentials(_logger: Any, _method: str, line: Any) -> Any:
    """The finished line without the credentials that an exception's text or a value may have brought into it."""
    return _CREDENTIAL.sub("[credential]", line) if isinstance(line, str) else line


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's logging once per process, on standard error."""
    level = getattr(logging, settings.log_level.upper())
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
            without_credentials,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s %(message)s")


def _json(values: Any, **_: Any) -> str:
    return msgspec.json.encode(values, enc_hook=str).decode()
