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


class LineKind(StrEnum):
    """What billing made an invoice line for; with its line item it names the line when an invoice is computed again."""

    FIXED = "fixed"
    USAGE = "usage"
    OVERAGE = "overage"
    TRUE_UP = "true_up"
    LATE_USAGE = "late_usage"
