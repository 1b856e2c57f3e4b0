"""The dates of an invoice: when it is due, when patience ends, and which dates its number is made of."""

from __future__ import annotations

from datetime import datetime, time
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

from farthing.calendar.billing import DAY, add_months
from farthing.calendar.period import MICROSECOND
from farthing.calendar.zones import UTC, to_local, to_utc
from farthing.core.clock import as_utc


class PaymentTerms(StrEnum):
    """How long after the end of the period an invoice may be paid."""

    NET_15 = "15 NET"
    NET_30 = "30 NET"
    NET_45 = "45 NET"
    NET_60 = "60 NET"
    NET_75 = "75 NET"
    NET_90 = "90 NET"
    END_OF_MONTH = "END_OF_MONTH"
    END_OF_NEXT_MONTH = "END_OF_NEXT_MONTH"


NET_DAYS = MappingProxyType(
    {
        PaymentTerms.NET_15: 15,
        PaymentTerms.NET_30: 30,
        PaymentTerms.NET_45: 45,
        PaymentTerms.NET_60: 60,
        PaymentTerms.NET_75: 75,
        PaymentTerms.NET_90: 90,
    }
)

DEFAULT_DUE_DAYS = 1


def due_date(
    period_end: datetime, terms: PaymentTerms | None = None, due_days: int | None = None, zone: ZoneInfo = UTC
) -> datetime:
    """When a subscription's invoice is due: by its payment terms, else `due_days` (the setting; missing means 1).

    Net terms and days are counted in 24 hours from `period_end`. The end of a month is its last microsecond in `zone`,
    the tenant's, of the month that `period_end` itself lies in (or the next).
    Rule: docs/rules/invoices-and-payments.md#due-date
    """
    period_end = as_utc(period_end)
    if terms is None:
        return period_end + (DEFAULT_DUE_DAYS if due_days is None else due_days) * DAY
    if terms in NET_DAYS:
        return period_end + NET_DAYS[terms] * DAY
    months = 1 if terms is PaymentTerms.END_OF_MONTH else 2
    following = add_months(to_local(period_end, zone).date(), months, 1)
    return to_utc(datetime.combine(following, time.min), zone) - MICROSECOND


def grace_is_over(due: datetime, grace_days: int, now: datetime) -> bool:
    """Whether `grace_days` of 24 hours have passed since `due`, and more: the last instant is still grace.

    Rule: docs/rules/invoices-and-payments.md#grace-and-automatic-cancellation
    """
    return now > due + grace_days * DAY


class NumberDate(StrEnum):
    """The date part of an invoice number: which of year, month and day it shows."""

    MONTH = "YYYYMM"
    DAY = "YYYYMMDD"
    SHORT_DAY = "YYMMDD"
    SHORT_YEAR = "YY"
    YEAR = "YYYY"


_PATTERNS = MappingProxyType(
    {
        NumberDate.MONTH: "{0:%Y}{0:%m}",
        NumberDate.DAY: "{0:%Y}{0:%m}{0:%d}",
        NumberDate.SHORT_DAY: "{0:%y}{0:%m}{0:%d}",
        NumberDate.SHORT_YEAR: "{0:%y}",
        NumberDate.YEAR: "{0:%Y}",
    }
)


def number_date(finalized_at: datetime, format: NumberDate, zone: ZoneInfo = UTC) -> str:
    """The date part of the number of an invoice finalized at that instant, as the calendar on the wall shows it.

    Rule: docs/rules/invoices-and-payments.md#numbering
    """
    return _PATTERNS[format].format(to_local(finalized_at, zone))
