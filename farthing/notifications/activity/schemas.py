"""The activity log on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta

from farthing.core.encoding.wire import BadField, Moment, Request, Response, Timestamp
from farthing.core.origin import ActorType
from farthing.notifications.activity.actions import known_actions, known_entity_types

DEFAULT_LIMIT = 50
MOST_LISTED = 200
STATE = "state"
Id = Annotated[str, Meta(max_length=128)]


class ListActivityRequest(Request):
    """What is asked of the log; conditions are joined by AND. `start_time` is included, `end_time` is not."""

    actions: list[str] | None = None
    actor_id: Id | None = None
    actor_types: list[str] | None = None
    customer_id: Id | None = None
    entity_type: str | None = None
    entity_id: Id | None = None
    request_id: Id | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    expand: list[str] | None = None
    cursor: Annotated[str, Meta(max_length=1000)] | None = None
    limit: Annotated[int, Meta(ge=0, le=MOST_LISTED)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_known("actions", self.actions, known_actions())
        _require_known("actor_types", self.actor_types, ActorType)
        _require_known("entity_type", [self.entity_type] if self.entity_type else None, known_entity_types())
        _require_known("expand", self.expand, (STATE,))
        if self.start_time is not None and self.end_time is not None and self.end_time <= self.start_time:
            raise BadField("end_time", "must be after start_time")

    @property
    def page_size(self) -> int:
        return self.limit or DEFAULT_LIMIT

    @property
    def with_state(self) -> bool:
        return STATE in (self.expand or ())


def _require_known(field: str, values: Iterable[str] | None, allowed: Iterable[str]) -> None:
    known = sorted(allowed)
    for value in values or ():
        if value not in known:
            raise BadField(field, f"'{value}' is not known; allowed: {', '.join(known)}")


class ActivityActor(Response):
    """Who did it; `owner_id` is the user or service account behind an API key."""

    id: str
    label: str
    type: str
    owner_id: str | None = None


class ActivityEntity(Response):
    """What it was done to."""

    id: str
    label: str
    type: str


class ActivityResponse(Response):
    """One change of one entity. The actor of what was recorded before actors were is absent.

    `currency` comes with `changes`.
    """

    id: str
    action: str
    entity: ActivityEntity
    occurred_at: Timestamp
    actor: ActivityActor | None = None
    customer_id: str | None = None
    source: str | None = None
    state: dict[str, Any] | None = None
    changes: list[dict[str, Any]] | None = None
    currency: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


class ActivityPagination(Response):
    """`next_cursor` is absent on the last page."""

    limit: int
    has_more: bool
    next_cursor: str | None = None


class ListActivityResponse(Response):
    """One page of the log, newest first."""

    items: list[ActivityResponse]
    pagination: ActivityPagination
