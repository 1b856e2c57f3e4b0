"""The dates of an invoice: when it is due, when patience ends, and which dates its number is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

from farthing.calendar.billing import DAY, add_months
from farthing.calendar.period import MICROSECOND
from farthing.calendar.zones import UTC, to_local, to_utc


class PaymentTerms(StrEnum):
    """How long after its reference date an invoice may be paid."""

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
LATEST_ISSUE = timedelta(hours=72)
"""How long after its reference date an invoice may be issued before its time to pay counts from its issue."""


@dataclass(frozen=True, slots=True)
class DueTerms:
    """How long a payer may take: payment terms, else `due_days`, counted on the calendar of `zone`."""

    terms: PaymentTerms | None = None
    due_days: int = DEFAULT_DUE_DAYS
    zone: ZoneInfo = UTC


def due_date(reference_date: datetime, issued_at: datetime, due_terms: DueTerms) -> datetime:
    """When an invoice is due: by its terms from its reference date, or from its issue when that comes too late.

    Rule: docs/rules/invoices-and-payments.md#due-date
    """
    return payable_until(issued_at if is_issued_late(reference_date, issued_at) else reference_date, due_terms)


def is_issued_late(reference_date: datetime, issued_at: datetime) -> bool:
    """Whether an invoice is issued more than 72 hours after its reference date."""
    return issued_at - reference_date > LATEST_ISSUE


def payable_until(moment: datetime, due_terms: DueTerms) -> datetime:
    """The end of the time to pay that begins at `moment`.

    Days keep the time on the wall of the zone, so that a clock change moves no due day. The end of a month is the last
    microsecond of the month that `moment` lies in (or the next), in the zone.
    """
    local = to_local(moment, due_terms.zone)
    terms = due_terms.terms
    if terms is None or terms in NET_DAYS:
        days = due_terms.due_days if terms is None else NET_DAYS[terms]
        return to_utc(local + days * DAY, due_terms.zone)
    months = 1 if terms is PaymentTerms.END_OF_MONTH else 2
    following = add_months(local.date(), months, 1)
    return to_utc(datetime.combine(following, time.min), due_terms.zone) - MICROSECOND


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
