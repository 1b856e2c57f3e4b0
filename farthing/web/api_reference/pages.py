"""The pages of the API reference."""

from __future__ import annotations

import threading

from litestar import Controller, Response, get

from farthing.api.openapi import ApiDocument
from farthing.api.services import services_of
from farthing.core.errors import NotFound
from farthing.web.api_reference.contents import Contents, arrange
from farthing.web.rendering.answers import HttpRequest, render

MOST_FIELDS = 12
"""Of a body with more, a subject shows the required ones, and leads to the page of its type."""

_arranging = threading.Lock()


class ArrangedDocument:
    """The contents of a process's document, arranged when somebody first looks."""

    def __init__(self, document: ApiDocument) -> None:
        self._document = document
        self._contents: Contents | None = None

    def contents(self) -> Contents:
        """The contents; whoever comes first makes them for everybody."""
        with _arranging:
            if self._contents is None:
                self._contents = arrange(self._document.read())
            return self._contents


class ApiReference(Controller):
    """Operations and types, for everybody."""

    path = "/docs"
    include_in_schema = False

    @get("/", sync_to_thread=True)
    def index(self, request: HttpRequest) -> Response[str]:
        """Every operation, by subject."""
        return render(request, "api/index.html", contents=_contents(request))

    @get("/{subject:str}", sync_to_thread=True)
    def subject(self, subject: str, request: HttpRequest) -> Response[str]:
        """The operations of one subject."""
        contents = _contents(request)
        if subject not in contents.subjects:
            raise NotFound(f"There is no subject '{subject}'")
        shown = contents.subjects[subject]
        return render(request, "api/subject.html", contents=contents, subject=shown, most_fields=MOST_FIELDS)

    @get("/types/{name:str}", sync_to_thread=True)
    def type(self, name: str, request: HttpRequest) -> Response[str]:
        """The fields of one type."""
        contents = _contents(request)
        if name not in contents.types:
            raise NotFound(f"There is no type '{name}'")
        return render(request, "api/type.html", contents=contents, type=contents.types[name])


def _contents(request: HttpRequest) -> Contents:
    return services_of(request).part(ArrangedDocument).contents()
