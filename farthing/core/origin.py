"""Who causes a change, from where, and by which request.

What goes on at the moment is known without being handed from function to function: whoever admits a caller or begins
a piece of work says so once, and every transaction that is opened from there on carries it.
Rule: docs/rules/activity.md#who-and-from-where
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum

LONGEST_USER_AGENT = 512
LONGEST_LABEL = 320
LONGEST_ID = 100
LONGEST_OWNER_ID = 50
LONGEST_ADDRESS = 64
"""With room for the zone of a link-local address."""


class ActorType(StrEnum):
    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    API_KEY = "api_key"
    OPERATOR = "operator"
    PORTAL = "portal"
    PROVIDER = "provider"
    SYSTEM = "system"


class ChangeSource(StrEnum):
    """Which way a change came in."""

    API = "api"
    DASHBOARD = "dashboard"
    PORTAL = "portal"
    WORKER = "worker"
    CLI = "cli"
    WEBHOOK = "webhook"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts; `label` is what a person called it at that moment, `owner_id` the user behind an API key."""

    type: ActorType
    id: str
    label: str
    owner_id: str = ""

    def __post_init__(self) -> None:
        # some come from a deployment's configuration, where nothing bounds them
        object.__setattr__(self, "id", self.id[:LONGEST_ID])
        object.__setattr__(self, "label", self.label[:LONGEST_LABEL])
        object.__setattr__(self, "owner_id", self.owner_id[:LONGEST_OWNER_ID])


@dataclass(frozen=True, slots=True)
class ChangeOrigin:
    """Who causes what happens now, from where; the last three are empty outside of requests."""

    actor: Actor
    source: ChangeSource
    request_id: str = ""
    ip: str = ""
    user_agent: str = ""


VISITOR = Actor(ActorType.USER, "", "not signed in")
"""Somebody who has not said yet who it is, such as a person who signs up or redeems a link."""
SERVICE = Actor(ActorType.SYSTEM, "farthing", "Farthing")
"""The service itself, outside of any request and duty."""
COMMAND_LINE = Actor(ActorType.OPERATOR, "command_line", "command line")

_current: ContextVar[ChangeOrigin] = ContextVar("origin", default=ChangeOrigin(SERVICE, ChangeSource.WORKER))  # noqa: B039 (immutable)


def current_origin() -> ChangeOrigin:
    """The origin of what happens now."""
    return _current.get()


def begin_request(source: ChangeSource, *, request_id: str, ip: str, user_agent: str) -> None:
    """A request begins, of somebody not known yet; what it does is its own from here on."""
    _current.set(ChangeOrigin(VISITOR, source, request_id, ip[:LONGEST_ADDRESS], user_agent[:LONGEST_USER_AGENT]))


def admit(actor: Actor, source: ChangeSource) -> None:
    """The request that goes on turns out to be of this actor."""
    begun = _current.get()
    _current.set(ChangeOrigin(actor, source, begun.request_id, begun.ip, begun.user_agent))


@contextmanager
def acting_as(actor: Actor, source: ChangeSource) -> Iterator[None]:
    """What the block does is done by `actor`; the request, if it is one, stays the same."""
    token = _current.set(replace(_current.get(), actor=actor, source=source))
    try:
        yield
    finally:
        _current.reset(token)


def duty_actor(name: str, owner_id: str = "") -> Actor:
    """The actor of a periodic duty, or of another job that somebody asked for: "subscription billing"."""
    return Actor(ActorType.SYSTEM, name, name.replace("_", " "), owner_id)
