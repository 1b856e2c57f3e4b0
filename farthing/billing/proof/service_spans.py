"""The service period of a fee that holds a moment, long after it was open. Pure.

Rule: docs/rules/proration.md#service-time
"""

from __future__ import annotations

from datetime import datetime
from itertools import takewhile

from farthing.billing.calculation.service_time import ServiceSpan, own_spans, period_span
from farthing.subscriptions.snapshot.service_periods import service_period_at
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


def service_span_at(member: SubscriptionSnapshot, item: LineItemSnapshot, at: datetime) -> ServiceSpan | None:
    """The service period of the item that holds `at`: one of the subscription's, or the item's own longer one."""
    if member.has_longer_period(item):
        begun = takewhile(lambda span: span.start <= at, own_spans(member, item))
        return next((span for span in begun if span.holds(at)), None)
    return period_span(member, service_period_at(member, None, at))
