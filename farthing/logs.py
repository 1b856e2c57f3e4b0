"""Structured logs: JSON lines for machines, columns for a terminal.

Secrets are never given to them, nor the rows and values that the database names when it refuses a statement.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

import msgspec
import psycopg
import structlog

from farthing.settings import Settings

_CREDENTIAL = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|\b[spr]k_(?:(?:test|live)_)?[0-9A-Za-z]{16,}|\bwhsec_[\w+/=-]{8,}"
    r"|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"
)
"""A signed token, a key of ours or of a provider, a secret of webhooks, a URL's password, wherever they stand."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_credentials(_logger: Any, _method: str, line: Any) -> Any:
    """The finished line without the credentials that an exception's text or a value may have brought into it."""
    return _CREDENTIAL.sub("[credential]", line) if isinstance(line, str) else line


class LibraryLines(logging.Formatter):
    """Lines of libraries: without credentials too, and nothing that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return in_plain_letters(without_credentials(None, "", super().format(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802 (the library's name)
        return traceback_of(ei)


def in_plain_letters(text: str) -> str:
    """The text with control characters, other than tabs and ends of lines, as they are written in Python."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def traceback_of(exc_info: Any) -> str:
    """The stack and what was raised, without the rows and values of PostgreSQL's details: they are a tenant's."""
    text = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    for error in _raised(exc_info[1], set()):
        if isinstance(error, psycopg.Error):
            for part in (error.diag.message_detail, error.diag.context):
                text = text.replace(part, "[not logged]") if part else text
    return text


def _raised(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """An exception, what led to it, and what is gathered in it, each once."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    gathered = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *gathered):
        yield from _raised(other, seen)


def _plain_traceback(written: TextIO, exception: Any) -> None:
    written.write("\n" + in_plain_letters(traceback_of(exception)))


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's logging once per process, on standard error."""
    level = getattr(logging, settings.log_level.upper())
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=_plain_traceback)
        if console
        else structlog.processors.JSONRenderer(_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.ExceptionRenderer(traceback_of)]),
            renderer,
            without_credentials,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LibraryLines("%(name)s %(message)s"))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])


def _json(values: Any, **_: Any) -> str:
    return msgspec.json.encode(values, enc_hook=str).decode()
