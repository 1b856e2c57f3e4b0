"""Every way Farthing refuses or fails: one exception class per error code of the wire.

A rule raises the class that says what went wrong; one place (`api.errors`) turns it into the error body. The message
is safe to show; `details` maps a field or a word to a reason or a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class FarthingError(Exception):
    """Base of all domain errors. `code` and `status` are the wire's; subclasses fix them.

    `retry_after_seconds` is set where the same request may succeed later: such an answer is never kept for a repeat.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_seconds = retry_after_seconds


class ValidationFailed(FarthingError):
    """A malformed body, a missing or bad field, an illegal filter."""

    code = "validation_error"
    status = 400

    @classmethod
    def of(cls, field: str, reason: str) -> ValidationFailed:
        """The error for one bad field, named as on the wire."""
        return cls.listing({field: reason})

    @classmethod
    def listing(cls, problems: Mapping[str, Any], **more: Any) -> ValidationFailed:
        """The error for several bad fields: the message says the first, the details all of them and `more`.

        Rule: docs/rules/conventions.md#errors
        """
        field, reason = next(iter(problems.items()))
        return cls(f"{field}: {reason}", {**problems, **more})

    def within(self, place: str) -> ValidationFailed:
        """The same error of fields that stand in `place` of a larger request."""
        return ValidationFailed.listing({f"{place}.{field}": reason for field, reason in self.details.items()})


class RequestTimedOut(ValidationFailed):
    """A request that did not arrive in time."""

    status = 408


class UnsupportedEncoding(ValidationFailed):
    """A body in an encoding that is not taken."""

    status = 415


class InvalidOperation(FarthingError):
    """A legal request in the wrong state."""

    code = "invalid_operation"
    status = 400


class MethodNotAllowed(InvalidOperation):
    """A known path with another method."""

    status = 405


class PermissionDenied(FarthingError):
    """The caller is known and may not do this."""

    code = "permission_denied"
    status = 403


class Unauthorized(PermissionDenied):
    """Missing or bad credentials."""

    status = 401


class NotFound(FarthingError):
    """No such row in this scope; a foreign row answers the same."""

    code = "not_found"
    status = 404


class AlreadyExists(FarthingError):
    """A uniqueness promise would be broken."""

    code = "already_exists"
    status = 409


class VersionConflict(FarthingError):
    """Somebody else changed it meanwhile, or is doing so now."""

    code = "version_conflict"
    status = 409


class TooManyRequests(FarthingError):
    """A rate limit or a full queue; `retry_after_seconds` tells when to come back."""

    code = "too_many_requests"
    status = 429

    def __init__(self, message: str, retry_after_seconds: int, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details, retry_after_seconds=retry_after_seconds)


class ProviderFailed(FarthingError):
    """A payment provider's call failed."""

    code = "http_client_error"
    status = 500


class DatabaseFailed(FarthingError):
    """The storage failed."""

    code = "database_error"
    status = 500


class NotImplementedHere(FarthingError):
    """A feature this deployment does not have."""

    code = "not_implemented"
    status = 501


class ServiceUnavailable(FarthingError):
    """A dependency is down; nothing was accepted."""

    code = "service_unavailable"
    status = 503

    def __init__(self, message: str, details: Mapping[str, Any] | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message, details, retry_after_seconds=retry_after_seconds)
