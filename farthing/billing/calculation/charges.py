"""Which charge of which period goes on which invoice. Pure.

Rule: docs/rules/billing.md#charges-on-an-invoice
Rule: docs/rules/billing.md#fixed-amount
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from farthing.billing.calculation.service_time import (
    NO_TIME,
    ServiceSpan,
    charged_until,
    following_period,
    own_spans,
    period_span,
)
from farthing.calendar.period import Period
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot

OPENINGS = frozenset(
    {InvoiceTrigger.CREATE, InvoiceTrigger.UPDATE, InvoiceTrigger.TRIAL_START, InvoiceTrigger.TRIAL_END}
)
"""Invoices made when a period begins; all others are made when one ends."""

WHOLE = Fraction(1)


@dataclass(frozen=True, slots=True)
class FixedCharge:
    """A fee for the service period `[start, end)`, of which `share` is charged; a one-time fee has `end` = `start`.

    `service` is the service time that the share pays for.
    """

    item: LineItemSnapshot
    start: datetime
    end: datetime
    share: Fraction = WHOLE
    service: timedelta = NO_TIME


@dataclass(frozen=True, slots=True)
class MeteredCharge:
    """What was used of an item in `window`, which lies in the billing `period` that its allowance is granted for."""

    item: LineItemSnapshot
    window: Period
    period: Period


@dataclass(frozen=True, slots=True)
class InvoicedWindow:
    """A stretch of a line item that another invoice charges already; one-time charges have `end` = `start`.

    `service` is the service time that a fee pays for.
    """

    line_item_id: str
    start: datetime
    end: datetime
    service: timedelta = NO_TIME


@dataclass(frozen=True, slots=True)
class Charges:
    """What one subscription is charged for on one invoice, in the order of the lines."""

    arrear: tuple[FixedCharge, ...] = ()
    usage: tuple[MeteredCharge, ...] = ()
    advance: tuple[FixedCharge, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemTerms:
    """What an invoice's period does not say by itself.

    `scale_arrears`: a final invoice charges fees in arrear by elapsed time, else in full. `since`: where the logical
    period began, when threshold invoices have cut it.
    """

    scale_arrears: bool = False
    since: datetime | None = None


def charges_of(
    snapshot: SubscriptionSnapshot, occasion: InvoiceTrigger, period: Period, terms: ItemTerms | None = None
) -> Charges:
    """Everything that an invoice of `occasion` for `period` charges, whatever was invoiced before.

    Items are taken in their order (start, id). An opening has the advance fees of its period; a cycle the arrear fees
    and usage of its period and the advance fees of the next, if the subscription lives then; a final invoice the
    arrear fees and usage up to the end; a threshold invoice usage alone.
    """
    terms = terms or ItemTerms()
    logical = period if terms.since is None else Period(terms.since, period.end)
    items = [item for item in snapshot.items if item.end is None or item.end > logical.start or item.is_onetime]
    if occasion in OPENINGS:
        return Charges(advance=tuple(_each(_advance(snapshot, item, period) for item in items)))
    usage = tuple(_usage(items, logical))
    if occasion is InvoiceTrigger.THRESHOLD:
        return Charges(usage=usage)
    arrear = tuple(_each(_arrear(snapshot, item, logical, occasion, terms) for item in items))
    # one-time charges that were added after the period's opening are due now; what the opening had is left out later
    once = tuple(_each(_advance(snapshot, item, logical) for item in items if item.is_onetime))
    if occasion is InvoiceTrigger.FINAL:
        return Charges(arrear, usage, once)
    following = next_period(snapshot, period)
    ahead: Iterable[FixedCharge] = ()
    if following is not None:
        ahead = _each(_advance(snapshot, item, following) for item in items)
    return Charges(arrear, usage, (*once, *ahead))


def next_period(snapshot: SubscriptionSnapshot, period: Period) -> Period | None:
    """The period after `period`; None when the subscription will not live then."""
    if snapshot.ends_at is not None and snapshot.ends_at <= period.end:
        return None
    return following_period(snapshot, period.end)


def not_yet_invoiced(charges: Charges, invoiced: Sequence[InvoicedWindow]) -> Charges:
    """Without what other invoices charge already: the same line item in an overlapping window."""
    taken: dict[str, list[InvoicedWindow]] = {}
    for window in invoiced:
        taken.setdefault(window.line_item_id, []).append(window)
    return Charges(
        tuple(one for one in charges.arrear if not _is_taken(one.item, one.start, one.end, taken)),
        tuple(one for one in charges.usage if not _is_taken(one.item, one.window.start, one.window.end, taken)),
        tuple(one for one in charges.advance if not _is_taken(one.item, one.start, one.end, taken)),
    )


def without_invoiced_onetime(charges: Charges, invoiced: Sequence[InvoicedWindow]) -> Charges:
    """A preview shows recurring charges whether or not they were invoiced, but no one-time charge twice."""
    taken = {window.line_item_id for window in invoiced}
    kept = tuple(one for one in charges.advance if not (one.item.is_onetime and one.item.id in taken))
    return Charges(charges.arrear, charges.usage, kept)


def _is_taken(item: LineItemSnapshot, start: datetime, end: datetime, taken: dict[str, list[InvoicedWindow]]) -> bool:
    if item.is_onetime:
        return item.id in taken
    return any(start < window.end and end > window.start for window in taken.get(item.id, ()))


def _each(charges: Iterable[FixedCharge | None]) -> Iterator[FixedCharge]:
    return (charge for charge in charges if charge is not None)


def _usage(items: Iterable[LineItemSnapshot], period: Period) -> Iterator[MeteredCharge]:
    for item in items:
        window = item.window(period) if item.is_usage else None
        if window is not None:
            yield MeteredCharge(item, window, period)


def _advance(snapshot: SubscriptionSnapshot, item: LineItemSnapshot, period: Period) -> FixedCharge | None:
    """The advance fee that an invoice charges at the start of `period`."""
    if not item.is_advance:
        return None
    if item.is_onetime:
        return FixedCharge(item, item.start, item.start) if period.contains(item.start) else None
    if snapshot.has_longer_period(item):
        return _longer_advance(snapshot, item, period)
    return _slice(item, period, period_span(snapshot, period), charged_until(snapshot, item))


def _arrear(
    snapshot: SubscriptionSnapshot, item: LineItemSnapshot, period: Period, occasion: InvoiceTrigger, terms: ItemTerms
) -> FixedCharge | None:
    """The arrear fee that an invoice charges at the end of `period`."""
    if item.is_usage or item.is_advance:
        return None
    if snapshot.has_longer_period(item):
        return _longer_arrear(snapshot, item, period)
    until = charged_until(snapshot, item)
    if occasion is InvoiceTrigger.FINAL and terms.scale_arrears:
        until = period.end if until is None else min(until, period.end)
    return _slice(item, period, period_span(snapshot, period), until)


def _longer_advance(snapshot: SubscriptionSnapshot, item: LineItemSnapshot, period: Period) -> FixedCharge | None:
    """The item's own period that starts in `period`, in full; versions of an item that share it, and one that the
    subscription's end cuts short where that prorates, are charged by service time."""
    for span in own_spans(snapshot, item):
        if span.start >= period.end:
            return None
        if span.start >= period.start:
            break
    own = span.window
    if item.window(own) is None:
        return None
    cut = snapshot.ends_at if snapshot.prorates_end else None
    if item.start > own.start or snapshot.is_succeeded(item):
        return _slice(item, own, span, charged_until(snapshot, item))
    if cut is not None and own.start < cut < own.end and (item.end is None or item.end >= cut):
        return _slice(item, Period(own.start, cut), span, cut)
    return FixedCharge(item, own.start, own.end, WHOLE, span.length)


def _longer_arrear(snapshot: SubscriptionSnapshot, item: LineItemSnapshot, period: Period) -> FixedCharge | None:
    """The item's own period that ends in `(start, end]` of `period`; one that the item's start or end cuts short is
    charged by service time."""
    for span in own_spans(snapshot, item):
        own = span.window
        if own.start >= period.end or (item.end is not None and own.start >= item.end):
            return None
        held = item.window(own)
        if held is not None and period.start < held.end <= period.end:
            return _slice(item, own, span, item.end)
    return None


def _slice(item: LineItemSnapshot, period: Period, span: ServiceSpan, until: datetime | None) -> FixedCharge | None:
    """The part of `period` in which the item holds, charged as the share of its service time up to `until`."""
    window = item.window(period)
    if window is None:
        return None
    service = span.between(item.start, until)
    return FixedCharge(item, window.start, window.end, span.share(service), service)
