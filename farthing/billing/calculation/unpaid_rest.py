"""The rest of a fee that was charged up to an end which holds no longer, as when a cancellation is taken back. Pure.

Rule: docs/rules/proration.md#last-period
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from farthing.billing.calculation.charges import FixedCharge, InvoicedWindow
from farthing.billing.calculation.service_time import NO_TIME, charged_until, period_span
from farthing.calendar.period import Period
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot

CLOSING = frozenset({InvoiceTrigger.CYCLE, InvoiceTrigger.FINAL})
"""Invoices at whose boundary it is known how long a period was served."""


def unpaid_rests(
    snapshot: SubscriptionSnapshot, occasion: InvoiceTrigger, period: Period, invoiced: Sequence[InvoicedWindow]
) -> Iterator[FixedCharge]:
    """What fees in advance still owe of the closing period that other invoices charge in part.

    A fee that no invoice of the period charges is not looked at: a settlement charged it, or nobody.
    """
    if occasion not in CLOSING:
        return
    charged: dict[str, list[InvoicedWindow]] = defaultdict(list)
    for window in invoiced:
        if period.contains(window.start):
            charged[window.line_item_id].append(window)
    if not charged:
        return
    span = period_span(snapshot, period)
    for item in snapshot.items:
        windows = charged.get(item.id)
        held = item.window(period)
        if not windows or held is None or not item.is_advance or item.is_onetime or snapshot.has_longer_period(item):
            continue
        paid = sum((window.service for window in windows), NO_TIME)
        rest = span.between(item.start, charged_until(snapshot, item)) - paid
        start = max(window.end for window in windows)
        if rest > NO_TIME and start < held.end:
            yield FixedCharge(item, start, held.end, span.share(rest), rest)
