"""When a grant gives credits, how many, and how long they last: functions of dates and numbers alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from farthing.calendar.billing import add_months
from farthing.calendar.period import Period
from farthing.calendar.proration import coefficient
from farthing.calendar.zones import UTC, to_local, to_utc
from farthing.catalogue.plans.credit_grants import CreditGrantExpiryType, DurationUnit
from farthing.core.clock import instant
from farthing.core.money import round_to

PRORATED_SCALE = 8
"""Decimals of a prorated number of credits."""
COEFFICIENT_SCALE = 16
"""Decimals of a share as it is shown; the share itself is exact."""
_MONTHS_OF_A_YEAR = 12
_FIRST_DEFERRAL, _MOST_DOUBLINGS = timedelta(minutes=30), 4
_FIRST_RETRY, _LONGEST_RETRY = timedelta(seconds=10), timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class GrantExpiry:
    """How long the credits of a grant last; `duration` and `unit` go with DURATION."""

    type: CreditGrantExpiryType
    duration: int | None = None
    unit: DurationUnit | None = None

    def of_lot(self, start: datetime, billing_period_end: datetime, zone: ZoneInfo = UTC) -> datetime | None:
        """When credits that were granted for a period from `start` on expire; None is never.

        `billing_period_end` is that of the billing period that holds `start`.
        Rule: docs/rules/credits.md#expiry-of-granted-credits
        """
        if self.type is CreditGrantExpiryType.BILLING_CYCLE:
            return billing_period_end
        if self.type is CreditGrantExpiryType.NEVER or self.duration is None or self.unit is None:
            return None
        return moment_after(start, self.duration, self.unit, zone)


def moment_after(start: datetime, count: int, unit: DurationUnit, zone: ZoneInfo = UTC) -> datetime | None:
    """`start` plus so many units: days and weeks of 24 hours, months and years of the calendar in `zone`, at a day that
    exists. None where that lies beyond the calendar."""
    try:
        if unit in {DurationUnit.DAY, DurationUnit.WEEK}:
            return start + timedelta(days=count * (7 if unit is DurationUnit.WEEK else 1))
        months = count * (_MONTHS_OF_A_YEAR if unit is DurationUnit.YEAR else 1)
        local = to_local(start, zone)
        day = add_months(local.date(), months, local.day)
        return to_utc(local.replace(year=day.year, month=day.month, day=day.day), zone)
    except (OverflowError, ValueError):
        return None


def share_left(period: Period, at: datetime) -> Fraction:
    """The exact share of a period that is left at `at`."""
    return coefficient(period, at)


def prorated_credits(credits: Decimal, period: Period, at: datetime) -> Decimal:
    """The part of `credits` for what is left of a period at `at`.

    Rule: docs/rules/credits.md#grants-of-addons
    """
    return round_to(Fraction(credits) * share_left(period, at), PRORATED_SCALE)


def deferral(earlier_attempts: int) -> timedelta:
    """How much later an application is attended to again whose subscription has not begun.

    Rule: docs/rules/credits.md#applications
    """
    return _FIRST_DEFERRAL * (1 << min(earlier_attempts, _MOST_DOUBLINGS))


def retry_delay(failures: int) -> timedelta:
    """How long to wait after this many failures, at least one: doubling from ten seconds up to six hours.

    Rule: docs/rules/credits.md#applications
    """
    return min(_FIRST_RETRY * (1 << min(failures - 1, 12)), _LONGEST_RETRY)


def application_key(grant_id: str, start: datetime, end: datetime | None) -> str:
    """Names the application of a grant to a period, so that there is one at most."""
    named = "|".join((grant_id, instant(start), instant(end) if end else ""))
    return f"credit_grant-{hashlib.sha256(named.encode()).hexdigest()}"


def surplus(left: Decimal, maximum: Decimal | None) -> Decimal:
    """What of `left` from earlier applications goes, so that at most `maximum` is carried over; None carries all.

    Rule: docs/rules/credits.md#rollover
    """
    return Decimal(0) if maximum is None else max(left - maximum, Decimal(0))
