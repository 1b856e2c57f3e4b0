"""The one error body, for every failure of every layer, and how exceptions become it."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from farthing.api.work import route_of, unit_of_work
from farthing.core import errors
from farthing.core.encoding.decoding import from_decoding
from farthing.core.encoding.wire import BadField
from farthing.storage.connections.failures import failure_of, is_read_only_violation, what_to_do
from farthing.storage.stored_answers import Replay

log = structlog.get_logger(__name__)


class ErrorWords(msgspec.Struct):
    """What dashboards read."""

    message: str
    internal_error: str = ""


class ErrorResponse(msgspec.Struct, omit_defaults=True):
    """The body of every failure; `details` maps a field to a reason and is left out when empty."""

    code: str
    message: str
    http_status_code: int
    success: bool = msgspec.field(default_factory=lambda: False)
    error: ErrorWords | None = None
    details: dict[str, Any] = {}


def body_of(error: errors.FarthingError) -> dict[str, Any]:
    """The wire form of a domain error."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "http_status_code": error.status}
    if error.details:
        body["details"] = error.details
    return {**body, "success": False, "error": {"message": error.message, "internal_error": ""}}


API_PREFIX = "/v1"


def hint_at_prefix(request: Request[Any, Any, Any], error: errors.FarthingError) -> None:
    """Say so when an unknown path, or one of the pages, only lacks the prefix of the API."""
    path = request.scope["path"]
    known = {route.path.split("/")[2] for route in request.app.routes if route.path.startswith(f"{API_PREFIX}/")}
    if not path.startswith(f"{API_PREFIX}/") and path.removeprefix("/").partition("/")[0] in known:
        suggested = f"{API_PREFIX}{path}"[:200]
        error.message += f": the paths of the API begin with {API_PREFIX}; try {suggested}"
        error.details["path"] = suggested


def from_framework(error: HTTPException) -> errors.FarthingError:
    """The router's and the framework's own refusals."""
    if isinstance(error, MethodNotAllowedException):
        return errors.MethodNotAllowed("Method not allowed")
    if isinstance(error, NotFoundException):
        return errors.NotFound("Route not found")
    if isinstance(error, ValidationException):
        extra = error.extra if isinstance(error.extra, list) else []
        details = {str(e.get("key", "request")): str(e.get("message", "")) for e in extra if isinstance(e, dict)}
        return errors.ValidationFailed.listing(details or {"request": error.detail or "is not valid"})
    if error.status_code < 500:
        return errors.ValidationFailed(error.detail or "Invalid request")
    return errors.FarthingError("Internal server error")


def as_domain_error(error: Exception) -> errors.FarthingError:
    """Any exception as the domain error that is answered for it."""
    if isinstance(error, errors.FarthingError):
        return error
    if isinstance(error, (msgspec.ValidationError, msgspec.DecodeError)):
        return from_decoding(error)
    if isinstance(error, BadField):  # from a struct that a route made itself
        return errors.ValidationFailed.listing(error.problems)
    if isinstance(error, HTTPException):
        return from_framework(error)
    return failure_of(error) or errors.FarthingError("Internal server error")


def headers_of(error: errors.FarthingError) -> dict[str, str]:
    """When to come back, for failures that pass."""
    return {} if error.retry_after_seconds is None else {"Retry-After": str(error.retry_after_seconds)}


def log_failure(error: errors.FarthingError, exception: BaseException, route: str) -> None:
    """Write down a failure of ours. What passes needs no stack: many come at once, and what to do is known."""
    if error.retry_after_seconds is None:
        log.error("request.failed", code=error.code, route=route, action=what_to_do(exception), exc_info=exception)
    else:
        log.warning("request.failed", code=error.code, route=route, error=error.message, action=what_to_do(exception))


def answer(request: Request[Any, Any, Any], exception: Exception) -> Response[Any]:
    """Litestar's exception handler for everything."""
    if isinstance(exception, Replay):
        return Response(
            exception.body,
            status_code=exception.status_code,
            headers={"Idempotent-Replayed": "true"},
            media_type="application/json",
        )
    work = unit_of_work(request)
    error = as_domain_error(exception)
    if isinstance(exception, (NotFoundException, MethodNotAllowedException)):
        hint_at_prefix(request, error)
    elif isinstance(exception, ValidationException) and not work.body.strip() and "data" in error.details:
        error = errors.ValidationFailed.of("body", "is required")
    if work.read_only and is_read_only_violation(exception):  # a read that writes is an error of ours
        error = errors.DatabaseFailed("The database could not complete the request")
    if error.retry_after_seconds is not None:
        work.claim = None  # what passes must not be given again to whoever repeats the request
    if error.status >= 500:
        error.details.setdefault("request_id", work.request_id)
        log_failure(error, exception, route_of(request.scope))
    return Response(body_of(error), status_code=error.status, headers=headers_of(error), media_type="application/json")
