"""The fixed catalogue of roles and what each may do. Rule: identity, "roles"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farthing.core.caller import ANY, READ, WRITE, Permissions
from farthing.identity.tables import UserType

_ENTITIES = """
user environment event meter price customer plan addon group alert_settings subscription wallet tenant invoice feature
entitlement creditgrant payment integration task tax secret connection costsheet creditnote coupon ai portal webhook
cron setting oauth checkoutsession workflow
"""
ENTITIES = tuple(_ENTITIES.split())

SUPER_ADMIN = "super_admin"


@dataclass(frozen=True, slots=True)
class Role:
    """One role: what it grants, and to whom it may be given."""

    id: str
    name: str
    description: str
    permissions: Mapping[str, frozenset[str]]
    assignable_to: frozenset[UserType]


_PEOPLE, _SERVICES = UserType.USER, UserType.SERVICE_ACCOUNT

ROLES: Mapping[str, Role] = {
    role.id: role
    for role in (
        Role(
            SUPER_ADMIN,
            "Super Admin",
            "Everything, and alone what is reserved for a person in charge",
            {ANY: frozenset({ANY})},
            frozenset({_PEOPLE, _SERVICES}),
        ),
        Role("all_reader", "Reader", "Reads everything", {ANY: frozenset({READ})}, frozenset({_PEOPLE})),
        Role(
            "all_writer",
            "Writer",
            "Reads and writes everything",
            {ANY: frozenset({READ, WRITE})},
            frozenset({_PEOPLE}),
        ),
        Role("event_ingestor", "Event Ingestor", "Sends events", {"event": frozenset({WRITE})}, frozenset({_SERVICES})),
        Role("event_reader", "Event Reader", "Reads events", {"event": frozenset({READ})}, frozenset({_SERVICES})),
    )
}

INGEST_ONLY: Permissions = ROLES["event_ingestor"].permissions


def permissions_of(roles: Iterable[str]) -> Permissions:
    """What a set of roles grants together; unknown roles grant nothing."""
    granted: dict[str, frozenset[str]] = {}
    for role in roles:
        for entity, actions in ROLES[role].permissions.items() if role in ROLES else ():
            granted[entity] = granted.get(entity, frozenset()) | actions
    return granted
