"""Who is asking: the outcome of authentication, and what it allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from farthing.core.origin import Actor

READ = "read"
WRITE = "write"
DELETE = "delete"
ANY = "*"

Permissions = Mapping[str, frozenset[str]]
"""Entity name (or `*`) to actions (`read`, `write`, `delete` of events, or `*`)."""


_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What the settings of an environment say about requests.

    They are read with the caller, because bodies are decoded, and events taken, before there is a session.
    """

    refuses_unknown_fields: bool = False
    earliest_event_time: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    event_years_ahead: int = 5


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated credential: its tenant, its environment (may be ""), its user and its permissions."""

    tenant_id: str
    environment_id: str
    user_id: str
    credential_id: str
    """What a rate limit counts by: the key's id, or the user's."""
    actor: Actor
    """Who the caller is in the activity log."""
    roles: tuple[str, ...] = ()
    permissions: Permissions = field(default_factory=dict)
    is_person: bool = False
    """Anyone but a service account; some actions are reserved for people."""
    is_publishable: bool = False
    """A key that stands in a browser: it may send events, and knows nobody but itself."""
    is_operator: bool = False
    """A key of the deployment's own configuration: whoever runs Farthing, not a tenant's user."""
    is_api_key: bool = False
    """An API key, which is bound to its environment, whatever its owner may enter."""
    tenant_suspended: bool = False
    credential_expires_at: datetime | None = None
    """When the API key that speaks expires; None for one that does not, and for a person who signed in."""
    frozen_time: datetime | None = None
    """The environment's test clock, when it stands still."""
    terms: RequestTerms = RequestTerms()

    def may(self, action: str, entity: str) -> bool:
        """Whether any role grants `action` on `entity`, either of them possibly by `*`."""
        granted, everywhere = self.permissions.get(entity, _NONE), self.permissions.get(ANY, _NONE)
        return action in granted or ANY in granted or action in everywhere or ANY in everywhere

    @property
    def only_sends(self) -> bool:
        """Whether this caller may read nothing at all: a publishable key, or one that ingests."""
        return not any(granted & {READ, ANY} for granted in self.permissions.values())

    @property
    def sender(self) -> str:
        """Whose the events are that this caller sends: the key's, or the service account's for all of its keys."""
        return self.credential_id if self.is_publishable or self.is_person else self.user_id

    @property
    def is_super_admin(self) -> bool:
        return "super_admin" in self.roles
