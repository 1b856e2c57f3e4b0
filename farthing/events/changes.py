"""What can happen to a stored event."""

from __future__ import annotations

from enum import StrEnum


class EventChange(StrEnum):
    """What ended a version of an event."""

    VOIDED = "voided"
    AMENDED = "amended"
    DELETED = "deleted"
