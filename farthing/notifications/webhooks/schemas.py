"""Requests and responses of webhook endpoints and messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, UnsetType

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import BadField, Moment, Request, Response, Timestamp, checked_metadata
from farthing.core.enums import Status
from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.notifications.webhooks.tables import AttemptTrigger, DeliveryState, DisabledReason
from farthing.storage.queries.listing import ListQuery

MOST_HEADERS = 20
LONGEST_HEADER = 1000
HIDDEN = "********"
"""What is shown of the value of a header; sent back, it leaves the value as it is."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OUR_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_OUR_PREFIXES = ("svix-", "webhook-", "proxy-")

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Description = Annotated[str, Meta(max_length=500)]
FilterTypes = Annotated[list[str], Meta(max_length=200)]
RateLimit = Annotated[int, Meta(ge=1, le=1000)]


class CreateWebhookEndpointRequest(Request):
    """A URL that is to get events; without `filter_types`, all of them."""

    url: Url
    description: Description = ""
    filter_types: FilterTypes | None = None
    disabled: bool = False
    ordered: bool = False
    headers: dict[str, str] | None = None
    rate_limit: RateLimit | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter_types(self.filter_types or ())
        check_headers(self.headers or {})
        checked_metadata(self.metadata)


class UpdateWebhookEndpointRequest(Request):
    """What may change on an endpoint; absent fields stay, and null takes a rate limit away."""

    url: Url | None = None
    description: Description | None = None
    filter_types: FilterTypes | None = None
    disabled: bool | None = None
    ordered: bool | None = None
    headers: dict[str, str] | None = None
    rate_limit: RateLimit | UnsetType | None = UNSET
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter_types(self.filter_types or ())
        check_headers(self.headers or {})
        checked_metadata(self.metadata)


def check_filter_types(names: Iterable[str]) -> None:
    """Raises BadField for a name that is no event's."""
    unknown = [name for name in names if name not in EVENTS]
    if unknown:
        raise BadField(
            "filter_types", f"must be names of events, as GET /webhooks/events lists them; not '{unknown[0]}'"
        )


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises BadField for headers that are not the caller's to set, or cannot be sent."""
    if len(headers) > MOST_HEADERS:
        raise BadField("headers", f"must be at most {MOST_HEADERS}")
    names = [name.lower() for name in headers]
    if len(set(names)) < len(names):
        raise BadField("headers", "must not name a header twice")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadField("headers", "must have names of 1 to 64 letters, digits and hyphens")
        if name.lower() in _OUR_HEADERS or name.lower().startswith(_OUR_PREFIXES):
            raise BadField(f"headers.{name}", "is set by Farthing")
        if len(value) > LONGEST_HEADER or not all(" " <= character <= "~" for character in value):
            raise BadField(f"headers.{name}", f"must be at most {LONGEST_HEADER} visible ASCII characters")


class WebhookEndpointResponse(Response):
    """An endpoint, without its secret and the values of its headers."""

    id: str
    url: str
    description: str
    filter_types: list[str]
    disabled: bool
    ordered: bool
    headers: dict[str, str]
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    rate_limit: int | None = None
    disabled_reason: DisabledReason | None = None
    disabled_at: Timestamp | None = None
    failing_since: Timestamp | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class CreatedWebhookEndpointResponse(WebhookEndpointResponse, kw_only=True):
    """A new endpoint with its secret."""

    secret: str


class ListWebhookEndpointsResponse(Page[WebhookEndpointResponse]):
    """One page of endpoints."""

    items: list[WebhookEndpointResponse]


class WebhookSecretResponse(Response):
    """The secret that messages to an endpoint are signed with."""

    secret: str
    previous_secret_until: Timestamp | None = None


class TestWebhookEndpointRequest(Request):
    """Which event to send a sample of."""

    event_type: str = "customer.created"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.event_type not in EVENTS:
            raise BadField("event_type", "must be the name of an event, as GET /webhooks/events lists them")


class WebhookTestResponse(Response):
    """What an endpoint made of a sample."""

    message_id: str
    success: bool
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    response_body: str | None = None


class WebhookDashboardResponse(Response):
    """Where endpoints are looked after; Farthing has a page of its own for that."""

    url: str
    svix_enabled: bool


class RetryWebhookRequest(Request):
    """Which event to send once more, now, to every endpoint that has not taken it."""

    system_event_id: Annotated[str, Meta(min_length=1, max_length=50)]


class RetryWebhookResponse(Response):
    success: bool
    message: str
    system_event_id: str


class RecoverWebhooksRequest(Request):
    """Which messages to send again: those that failed, or with `all` everything, of `since` up to `until`."""

    since: Moment
    until: Moment | None = None
    all: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.until is not None and self.until <= self.since:
            raise BadField("until", "must be after since")


class ResendWebhookRequest(Request):
    """Whom to send a message again; without an endpoint, everybody who is subscribed to it."""

    endpoint_id: Annotated[str, Meta(min_length=1, max_length=50)] | None = None


class WebhooksQueuedResponse(Response):
    """How many deliveries were begun again."""

    queued: int


class WebhookEventType(Response):
    """An event that endpoints can want, with a sample of its body and the body's JSON schema."""

    name: str
    description: str
    sample: dict[str, Any]
    schema: dict[str, Any]


class WebhookEventTypesResponse(Response):
    events: list[WebhookEventType]


class WebhookDeliveryResponse(Response):
    """How far a message is on its way to one endpoint."""

    endpoint_id: str
    state: DeliveryState
    failures: int
    next_attempt_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    reason: str | None = None


class WebhookMessageResponse(Response):
    """An event as endpoints receive it, and how far it is on its way to each."""

    id: str
    system_event_id: str
    event_type: str
    entity_type: str
    entity_id: str
    created_at: Timestamp
    deliveries: list[WebhookDeliveryResponse]
    payload: dict[str, Any] | None = None


class ListWebhookMessagesResponse(Page[WebhookMessageResponse]):
    """One page of messages, newest first."""

    items: list[WebhookMessageResponse]


class WebhookMessageQuery(ListQuery):
    """Filters of the list of messages."""

    event_types: FilterTypes | None = None
    entity_id: str | None = None
    endpoint_id: str | None = None
    state: DeliveryState | None = None


class WebhookAttemptResponse(Response):
    """One POST of a message."""

    id: str
    endpoint_id: str
    trigger: AttemptTrigger
    attempted_at: Timestamp
    duration_ms: int
    success: bool
    status_code: int | None = None
    error: str | None = None
    response_body: str | None = None


class ListWebhookAttemptsResponse(Page[WebhookAttemptResponse]):
    """One page of attempts, newest first."""

    items: list[WebhookAttemptResponse]
