"""Who a credential is in the activity log.

Rule: docs/rules/activity.md#who-and-from-where
"""

from __future__ import annotations

from farthing.core.origin import Actor, ActorType
from farthing.identity.tables import Secret, User, UserType
from farthing.settings import OperatorKey


def actor_of_user(user: User) -> Actor:
    """A person who signed in, or a service account that has a token."""
    kind = ActorType.USER if user.type is UserType.USER else ActorType.SERVICE_ACCOUNT
    return Actor(kind, user.id, user.email or user.name or user.id)


def actor_of_key(secret: Secret) -> Actor:
    """An API key, with the user or service account behind it."""
    return Actor(ActorType.API_KEY, secret.id, secret.name, owner_id=secret.user_id)


def actor_of_operator(key: OperatorKey) -> Actor:
    """A key of the deployment's configuration."""
    return Actor(ActorType.OPERATOR, key.name, key.name, owner_id=key.user_id)
