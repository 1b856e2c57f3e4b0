"""A form that brings a file: its fields first, then the file, which is never in memory as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from farthing.web.access.visitors import StaleForm, require_own_form, visitor_of

MOST_FIELDS = 20
LONGEST_FIELD = 10_000


class UploadForm:
    """A form whose file comes last. Raises StaleForm for one that cannot be read, or is not our own."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise StaleForm("The form could not be read")
        self._request = request
        self._events = self._parsed(options["boundary"])
        self.fields: dict[str, str] = {}
        self.file_name = ""

    async def read_fields(self) -> None:
        """Read up to where the file begins, and see that the form is our own."""
        name, value = "", b""
        try:
            async for event in self._events:
                if isinstance(event, MultipartSegment):
                    if event.filename is not None:
                        self.file_name = event.filename
                        break
                    name, value = event.name, b""
                elif event is None:
                    self.fields[name] = value.decode().strip()
                    if "\x00" in self.fields[name]:
                        raise StaleForm("The form could not be read")
                else:
                    value += event
                if len(self.fields) > MOST_FIELDS or len(value) > LONGEST_FIELD:
                    raise StaleForm("The form could not be read")
        except (MultipartError, UnicodeDecodeError) as error:
            raise StaleForm("The form could not be read") from error
        require_own_form(self._request, visitor_of(self._request).session, self.fields.get("form_token", ""))

    async def content(self) -> AsyncIterator[bytes]:
        """The file, as it arrives."""
        try:
            async for event in self._events:
                if event is None or isinstance(event, MultipartSegment):
                    return
                yield bytes(event)
        except MultipartError as error:
            raise StaleForm("The file broke off on its way. Please choose it again.") from error

    async def _parsed(self, boundary: str) -> AsyncIterator[MultipartSegment | bytearray | None]:
        with PushMultipartParser(boundary, max_segment_count=MOST_FIELDS + 1) as parser:
            async for arrived in self._request.stream():
                for event in parser.parse(arrived):
                    yield event
