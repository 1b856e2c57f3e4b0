"""What can be asked for: the actions and types of entities that an activity can have."""

from __future__ import annotations

from functools import cache

from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.storage.record.activities import audited_tables

EVENT_ACTIONS = ("event.voided", "event.amended", "event.deleted")
CUSTOMER_ERASED = "customer.erased"
_WITHOUT_TABLE = frozenset({"event", "payment_method"})
"""Types of entities that no audited table holds."""


@cache
def known_actions() -> frozenset[str]:
    """Every action that an activity can be."""
    of_tables = {action for audit in audited_tables().values() for action in audit.actions}
    return frozenset({*EVENTS, *of_tables, *EVENT_ACTIONS, CUSTOMER_ERASED})


@cache
def known_entity_types() -> frozenset[str]:
    """Every type of entity that an activity can be about."""
    return frozenset({*audited_tables(), *_WITHOUT_TABLE})
