"""What a change in mid-period is worth: credits for what was paid and not had, charges for the rest. Pure.

Rule: docs/rules/proration.md#coefficient
Rule: docs/rules/proration.md#what-is-settled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from farthing.billing.calculation.service_time import NO_TIME, ServiceSpan, charged_until, service_span
from farthing.calendar.period import MICROSECOND, Period
from farthing.core import currency
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.pricing.cost import price_quantity
from farthing.subscriptions.outcome import ItemAction, ItemChange
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of a line item's service window: `paid` is invoiced net of discounts and before tax, `credited`
    was given back already; `only_drafted` says that the fee stands on a draft alone, which will be computed again.

    `paid_service` is the service time of the window that was paid for; None for all of it.
    """

    paid: Decimal = ZERO
    credited: Decimal = ZERO
    only_drafted: bool = False
    paid_service: timedelta | None = None


@dataclass(frozen=True, slots=True)
class SettledChange:
    """One change in money, rounded: `credit` for the side before, `charge` for the side after, both at least 0.

    `coefficient` is the unused share of the whole that a full fee pays for. `charged_service` is the service time that
    the charge pays for, and `charged_share` its share of the whole.
    """

    change: ItemChange
    window: Period
    coefficient: Fraction
    credit: Decimal
    charge: Decimal
    charged_service: timedelta
    charged_share: Fraction
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
        span = None if item is None else service_span(snapshot, item, change.at)
        if item is None or span is None:
            continue
        paid_for = span.length if known.paid_service is None else min(known.paid_service, span.length)
        unused = span.share(max(paid_for - span.consumed(change.at), NO_TIME))
        listed = ZERO if before is None else price_quantity(before.price, before.quantity)
        charge, service, share = ZERO, NO_TIME, Fraction(0)
        if after is not None:
            rest = service_span(snapshot, after, change.at) or span
            service = rest.between(change.at, charged_until(snapshot, after))
            share = rest.share(service)
            charge = round_to(Fraction(price_quantity(after.price, after.quantity)) * share, digits)
        most = max(EXACT.subtract(known.paid, known.credited), ZERO)
        if change.action is ItemAction.QUANTITY:
            most = EXACT.add(most, charge)
        credit = min(round_to(Fraction(listed) * unused, digits), most)
        coefficient = share if before is None else unused
        settled.append(
            SettledChange(change, _window(span, change), coefficient, credit, charge, service, share, listed)
        )
    return Proration(tuple(settled))


def _window(span: ServiceSpan, change: ItemChange) -> Period:
    """The period on the calendar; one that is paused lasts beyond the change."""
    window = span.window
    return window if change.at < window.end else Period(window.start, change.at + MICROSECOND)


def fee_of(item: LineItemSnapshot | None) -> LineItemSnapshot | None:
    """A recurring fee in advance; nothing else is settled."""
    if item is None or item.is_usage or item.is_onetime or not item.is_advance:
        return None
    return item
