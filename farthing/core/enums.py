"""Enums that several domains share. An enum of one domain lives in that domain."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Life of a row: live, retired but readable, or a tombstone that is never read."""

    PUBLISHED = "published"
    ARCHIVED = "archived"
    DELETED = "deleted"


class PriceType(StrEnum):
    """What a price charges for; anything that is not usage counts as fixed."""

    USAGE = "USAGE"
    FIXED = "FIXED"
