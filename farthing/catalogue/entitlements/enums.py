"""Enums of entitlements: what a column, a field on the wire or a rule may say."""

from __future__ import annotations

from enum import StrEnum


class EntitlementOwner(StrEnum):
    """Whose an entitlement is. Read whatever its case: documentation shows lower case, clients send upper."""

    PLAN = "PLAN"
    ADDON = "ADDON"
    SUBSCRIPTION = "SUBSCRIPTION"

    @classmethod
    def _missing_(cls, value: object) -> EntitlementOwner | None:
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


class UsageResetPeriod(StrEnum):
    """How often a limit starts anew."""

    BILLING_PERIOD = ""
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    NEVER = "NEVER"


class AggregationMode(StrEnum):
    """Whether entitlements to one feature add up to one limit, or are each a quota of their own."""

    ADDITIVE = "additive"
    PARALLEL = "parallel"


class GrantMeasure(StrEnum):
    """What a grant's quota counts: units of usage, or money."""

    QUANTITY = "quantity"
    AMOUNT = "amount"


class GrantDurationUnit(StrEnum):
    """The unit in which a grant's window is long."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    SUBSCRIPTION_PERIOD = "subscription_period"


class GrantAllocation(StrEnum):
    """Where a grant's window starts: at the first usage not covered yet, or at the unit that contains it."""

    FIRST_USAGE = "first_usage"
    UNIT_START = "unit_start"
