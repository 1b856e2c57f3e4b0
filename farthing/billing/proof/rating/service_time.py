"""The service time that fees pay for, derived again long after their period was open. Pure.

Rule: docs/rules/proration.md#service-time
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from itertools import takewhile

from farthing.billing.calculation.service_time import ServiceSpan, own_spans, period_span, seconds_of, service_of
from farthing.core.clock import instant
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.subscriptions.snapshot.service_periods import service_period_at
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


def service_span_at(member: SubscriptionSnapshot, item: LineItemSnapshot, at: datetime) -> ServiceSpan | None:
    """The service period of the item that holds `at`: one of the subscription's, or the item's own longer one."""
    if member.has_longer_period(item):
        begun = takewhile(lambda span: span.start <= at, own_spans(member, item))
        return next((span for span in begun if span.holds(at)), None)
    return period_span(member, service_period_at(member, None, at))


def service_time_faults(
    line: InvoiceLineItem, item: LineItemSnapshot, member: SubscriptionSnapshot, share: Fraction
) -> Iterator[Difference]:
    """The service time that a fee pays for is its `share` of the whole of its period, in which it ends.

    Lines from before service time was kept have that of their window. What a trial's opening charges for nothing is for
    the trial as it was planned, whenever it ended.
    """
    if line.period_start is None or line.period_end is None or line.period_start < member.first_paid_at:
        return
    span = None if item.is_onetime else service_span_at(member, item, line.period_start)
    if span is None:
        return
    stored = None if line.whole_seconds is None else service_of(line.whole_seconds)
    due = share * Fraction(seconds_of(span.whole))
    if stored != line.period_end - line.period_start and (stored is None or Fraction(seconds_of(stored)) != due):
        yield Difference(line.id, "service time", f"{line.whole_seconds} s", f"{float(due)} s")
    if line.period_end > span.window.end:
        yield Difference(line.id, "end of its service", instant(line.period_end), f"at most {instant(span.window.end)}")
