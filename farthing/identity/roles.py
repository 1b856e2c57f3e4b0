"""The fixed catalogue of roles and what each may do.

Rule: docs/rules/identity.md#roles
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farthing.core.caller import ANY, DELETE, READ, WRITE, Permissions
from farthing.core.errors import NotFound, ValidationFailed
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
            "Everything, also what only a person in charge may do",
            {ANY: frozenset({ANY})},
            frozenset({_PEOPLE, _SERVICES}),
        ),
        Role("all_reader", "Reader", "Reads everything", {ANY: frozenset({READ})}, frozenset({_PEOPLE})),
        Role(
            "all_writer",
            "Writer",
            "Reads and writes everything",
            {ANY: frozenset({READ, WRITE}), "event": frozenset({READ, WRITE, DELETE})},
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


def covers(held: Permissions, granted: Permissions) -> bool:
    """Whether whoever holds `held` has every permission in `granted`."""
    everywhere = held.get(ANY, frozenset())
    for entity, actions in granted.items():
        here = everywhere | held.get(entity, frozenset())
        if ANY not in here and not actions <= here:
            return False
    return True


def checked_roles(roles: Sequence[str], type: UserType) -> list[str]:
    """`roles` without repetitions, if users of this type may hold them together. Raises ValidationFailed."""
    if not roles:
        raise ValidationFailed.of("roles", "must not be empty")
    wanted = list(dict.fromkeys(roles))
    allowed = [role.id for role in ROLES.values() if type in role.assignable_to]
    for role in wanted:
        if role not in allowed:
            raise ValidationFailed.listing(
                {"roles": f"must be among {', '.join(allowed)}; not '{role}'"},
                role=role,
                user_type=type.value,
                allowed_roles=allowed,
            )
    if SUPER_ADMIN in wanted and len(wanted) > 1:
        raise ValidationFailed.of("roles", f"{SUPER_ADMIN} stands alone")
    return wanted


def one(role_id: str) -> Role:
    """The role with this id. Raises NotFound."""
    if role_id not in ROLES:
        raise NotFound(f"Role with ID {role_id} was not found", {"role_id": role_id})
    return ROLES[role_id]
