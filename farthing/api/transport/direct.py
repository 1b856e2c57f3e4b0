"""The short way to the handlers of most writes: what the framework declares, without what it does for each request.

The framework's own way serves every kind of handler: it resolves dependencies in batches, validates what it has just
decoded, and keeps a stack for what must be closed after. A handler at a fixed path that takes a JSON body, and besides
only what is injected everywhere or made of that, needs none of it. Its guards, the decoder of its body, its status and
its errors are the same on both ways, and whatever is unusual takes the long one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, MediaType, Request, Response
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.serialization import encode_json, get_serializer
from msgspec import Struct

from farthing.api.body import JsonBody
from farthing.api.work import KEY, UnitOfWork

HttpRequest = Request[Any, Any, Any]
Provided = Callable[[HttpRequest], Any]
App = Callable[..., Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_WITHOUT_BODY = frozenset({204, 304})
_HOST = re.compile(rb"[A-Za-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A handler that is called directly."""

    handler: HTTPRouteHandler
    template: str
    fn: Callable[..., Awaitable[Any]]
    guards: tuple[Callable[[Any, Any], Awaitable[None]], ...]
    read: Callable[[HttpRequest, bytes], Any]
    """Decodes the body."""
    provided: tuple[tuple[str, Provided], ...]
    """What it takes besides the body, and what makes it; a coroutine is awaited."""
    status: int
    serializer: Callable[[Any], Any]


def handled_directly(
    app: Litestar,
    provided: Mapping[str, Provided],
    session: str,
    answer: Callable[[HttpRequest, Exception], Response[Any]],
) -> App:
    """`app`, whose simple handlers of JSON bodies are called directly.

    `provided` are the dependencies that every handler may take, by name, and `session` is the one among them that has
    to be awaited; `answer` is what becomes of an exception.
    """
    endpoints = direct_endpoints(app, {**provided, "request": _itself}, session)

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        endpoint = endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None or not _is_usual(scope):
            await app(scope, receive, send)
            return
        scope["app"] = scope["litestar_app"] = app
        scope.setdefault("state", {})
        scope["path_params"] = {}
        scope["route_handler"] = endpoint.handler
        scope["path_template"] = endpoint.template
        request: HttpRequest = app.request_class(scope, receive, send)
        try:
            for guard in endpoint.guards:
                await guard(request, endpoint.handler)
            given = {"data": endpoint.read(request, scope[KEY].body)}
            for name, provide in endpoint.provided:
                given[name] = await provide(request) if name == session else provide(request)
            result = await endpoint.fn(**given)
            headers = [_JSON]
            if isinstance(result, Response):
                if not _is_plain(result):
                    response = await endpoint.handler.to_response(app=app, data=result, request=request)
                    await response(scope, receive, send)
                    return
                headers += [(name.lower().encode(), value.encode()) for name, value in result.headers.items()]
                result = result.content
            body = encode_json(result, endpoint.serializer)
        except Exception as error:  # noqa: BLE001 (as the framework's: `answer` is given all of them)
            encoders = endpoint.handler.resolve_type_encoders()
            response = answer(request, error).to_asgi_response(app=None, request=request, type_encoders=encoders)
            await response(scope, receive, send)
            return
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": endpoint.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return handle


def direct_endpoints(
    app: Litestar, provided: Mapping[str, Provided], session: str
) -> Mapping[tuple[str, str], _Endpoint]:
    """The handlers that can be called directly, by method and path."""
    return {
        (str(method), route.path): _Endpoint(
            handler,
            route.path,
            handler.fn,
            tuple(handler.resolve_guards()),  # type: ignore[arg-type]  # all of them are coroutine functions
            JsonBody.reader_of(handler.handler_id),
            tuple(
                (name, provided.get(name) or _provider(handler.resolve_dependencies()[name], provided))
                for name in handler.parsed_fn_signature.parameters
                if name != "data"
            ),
            handler.status_code,
            get_serializer(handler.resolve_type_encoders()),
        )
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path_parameters
        for handler in route.route_handlers
        if _is_simple(handler, provided, session)
        for method in handler.http_methods
    }


def _provider(dependency: Provide, provided: Mapping[str, Provided]) -> Provided:
    """What makes a dependency of a handler's own of those that every handler may take."""
    make = dependency.dependency
    parts = [(name, provided[name]) for name in dependency.parsed_fn_signature.parameters]
    return lambda request: make(**{name: provide(request) for name, provide in parts})


def _is_made_at_once(dependency: Provide, names: AbstractSet[str]) -> bool:
    """Whether a dependency is made without waiting, of what has these names."""
    of_generator = dependency.has_sync_generator_dependency or dependency.has_async_generator_dependency
    at_once = dependency.has_sync_callable and not dependency.sync_to_thread and not of_generator
    return at_once and set(dependency.parsed_fn_signature.parameters) <= names


def _is_simple(handler: HTTPRouteHandler, provided: Mapping[str, Provided], session: str) -> bool:
    """Whether a handler takes a JSON body, and declares nothing that only the framework's own way does."""
    at_once = provided.keys() - {session}
    own = {
        name
        for name, dependency in handler.resolve_dependencies().items()
        if name not in provided and _is_made_at_once(dependency, at_once)
    }
    taken = set(handler.parsed_fn_signature.parameters)
    data_dto = handler.resolve_data_dto()
    adorned = handler.resolve_response_headers() or handler.resolve_response_cookies()
    return (
        "data" in taken
        and taken <= {"data", *provided, *own}
        and set(handler.resolve_dependencies()) <= {*provided, *own}
        and data_dto is not None
        and issubclass(data_dto, JsonBody)
        and not handler.has_sync_callable
        and not adorned
        and handler.media_type in {MediaType.JSON, ""}  # one that returns a `Response` leaves it to that
        and handler.status_code not in _WITHOUT_BODY
        and len(handler.resolve_middleware()) == 1  # of the whole application: it restores slashes, and here are none
        and handler.resolve_return_dto() is None
        and handler.background is None
        and not handler.cache
        and handler.resolve_before_request() is None
        and handler.resolve_after_response() is None
    )


def _is_plain(response: Response[Any]) -> bool:
    """Whether a response is only a struct, as its handler could return, with headers."""
    given = response.cookies or response.background or response.response_type_encoders
    own = given or response.media_type is not None or response.status_code is not None
    return type(response) is Response and isinstance(response.content, Struct) and not own


def _is_usual(scope: Any) -> bool:
    """Whether the request is one that the framework would not answer by itself."""
    work: UnitOfWork | None = scope.get(KEY)
    if work is None or not work.body or scope.get("root_path"):
        return False
    return all(map(_HOST.fullmatch, [value for name, value in scope["headers"] if name == b"host"]))


def _itself(request: HttpRequest) -> HttpRequest:
    return request
