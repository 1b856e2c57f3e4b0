"""What a change in mid-period is worth: credits for what was paid and not had, charges for the rest. Pure.

Rule: docs/rules/proration.md#coefficient
Rule: docs/rules/proration.md#what-is-settled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from farthing.billing.calculation.charges import whole_period
from farthing.calendar.billing import periods_from
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.pricing.cost import price_quantity
from farthing.subscriptions.outcome import ItemAction, ItemChange
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of a line item's service window: `paid` is invoiced net of discounts and before tax, `credited`
    was given back already; `only_drafted` says that the fee stands on a draft alone, which will be computed again."""

    paid: Decimal = ZERO
    credited: Decimal = ZERO
    only_drafted: bool = False


@dataclass(frozen=True, slots=True)
class SettledChange:
    """One change in money, rounded: `credit` for the side before, `charge` for the side after, both at least 0.

    `coefficient` is the share of the service `window` that is left.
    """

    change: ItemChange
    window: Period
    coefficient: Fraction
    credit: Decimal
    charge: Decimal
    listed: Decimal
    """What the side before costs for a whole window (0 without one)."""


@dataclass(frozen=True, slots=True)
class Proration:
    """All changes of one request, settled together."""

    changes: tuple[SettledChange, ...] = ()

    @property
    def credit(self) -> Decimal:
        return exact_sum([one.credit for one in self.changes])

    @property
    def charge(self) -> Decimal:
        return exact_sum([one.charge for one in self.changes])

    @property
    def net(self) -> Decimal:
        """Charges less credits: what is to be invoiced if positive, owed to the payer if negative."""
        return EXACT.subtract(self.charge, self.credit)

    def charged(self) -> list[tuple[SettledChange, Decimal]]:
        """The charges that are invoiced: credits reduce them in order, each down to 0."""
        left, lines = self.credit, []
        for one in self.changes:
            taken = min(left, one.charge)
            left = EXACT.subtract(left, taken)
            if one.charge > taken:
                lines.append((one, EXACT.subtract(one.charge, taken)))
        return lines


def prorated(snapshot: SubscriptionSnapshot, changes: Sequence[ItemChange], served: Mapping[str, Served]) -> Proration:
    """Settle changes of a subscription's line items; `served` by the id of the item before, else of the one after.

    Only fees in advance are settled. A credit is at most what was invoiced and not credited yet. A change of quantity,
    whose two sides are the same fee, may credit its own charge beside, so that only the difference is ever invoiced;
    but no more than was paid is given back. A fee that stands on a draft alone settles nothing: the draft will be
    computed with the item's new versions.
    """
    digits = currency.digits(snapshot.currency)
    settled = []
    for change in changes:
        if change.carried:
            continue
        before, after = fee_of(change.before), fee_of(change.after)
        item = before or after
        known = Served() if item is None else served.get(item.id, Served())
        if known.only_drafted:
            continue
        window = _window(snapshot, before or after, change)
        if window is None or (before is None and after is None):
            continue
        share = _left(snapshot, before or after, window, change)
        listed = ZERO if before is None else price_quantity(before.price, before.quantity)
        charge = ZERO
        if after is not None:
            rest = _window(snapshot, after, change)
            share_after = share if rest == window or rest is None else _left(snapshot, after, rest, change)
            charge = round_to(Fraction(price_quantity(after.price, after.quantity)) * share_after, digits)
        most = max(EXACT.subtract(known.paid, known.credited), ZERO)
        if change.action is ItemAction.QUANTITY:
            most = EXACT.add(most, charge)
        credit = min(round_to(Fraction(listed) * share, digits), most)
        settled.append(SettledChange(change, window, share, credit, charge, listed))
    return Proration(tuple(settled))


def fee_of(item: LineItemSnapshot | None) -> LineItemSnapshot | None:
    """A recurring fee in advance; nothing else is settled."""
    if item is None or item.is_usage or item.is_onetime or not item.is_advance:
        return None
    return item


def service_window(snapshot: SubscriptionSnapshot, item: LineItemSnapshot, change: ItemChange) -> Period | None:
    """The service period of the item that holds the moment of the change: the subscription's, or its own longer one.

    None for a change that lies outside of it, such as one at the very end of the open period.
    """
    if snapshot.has_longer_period(item):
        rhythm = snapshot.own_recurrence(item)
        for own in periods_from(rhythm.anchor, rhythm):
            if own.contains(change.at):
                return own
            if own.start > change.at:
                break
        return None
    return snapshot.full_period if snapshot.full_period.contains(change.at) else None


def _window(snapshot: SubscriptionSnapshot, item: LineItemSnapshot | None, change: ItemChange) -> Period | None:
    return None if item is None else service_window(snapshot, item, change)


def _left(
    snapshot: SubscriptionSnapshot, item: LineItemSnapshot | None, window: Period, change: ItemChange
) -> Fraction:
    """The share of a full fee that pays for the rest of the window."""
    assert item is not None
    whole = window if snapshot.has_longer_period(item) else whole_period(snapshot, window)
    rest = window.clip(change.at, None)
    return Fraction(0) if rest is None else rest.fraction_of(whole)
