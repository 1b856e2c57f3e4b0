"""What a change in mid-period is worth: credits for what was paid and not had, charges for the rest. Pure.

Rule: docs/rules/proration.md#coefficient
Rule: docs/rules/proration.md#what-is-settled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from farthing.billing.calculation.service_time import NO_TIME, ServiceSpan, charged_until, service_span
from farthing.calendar.period import MICROSECOND, Period, elapsed_share
from farthing.core import currency
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.pricing.cost import price_quantity
from farthing.subscriptions.item_changes import ItemAction, ItemChange
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class DiscountShare:
    """What an attached coupon took off a fee, or a part of that: of the budget of the period that begins then, or
    (`period_start` None) as a coupon for one invoice."""

    association_id: str
    period_start: datetime | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of a line item's service window: `paid` is invoiced net of discounts and before tax, `credited`
    was given back already; `only_drafted` says that the fee stands on a draft alone, which will be computed again.

    `paid_service` is how far into the window it was paid for, and `paid_length` the service time that was paid for;
    None for all of it. `discounts` are what coupons with budgets, and those for one invoice, took off; `is_settled`
    says that a change has settled the fee before.
    """

    paid: Decimal = ZERO
    credited: Decimal = ZERO
    only_drafted: bool = False
    paid_service: timedelta | None = None
    paid_length: timedelta | None = None
    discounts: tuple[DiscountShare, ...] = ()
    is_settled: bool = False

    @property
    def was_free(self) -> bool:
        """Whether coupons took off all of the fee: its unused time is worth nothing, and still returns discounts."""
        return not self.paid and not self.is_settled


@dataclass(frozen=True, slots=True)
class CreditPart:
    """A part of a credit: what of it stands on the invoice line `line_id`, which carries `rates` of tax.

    Without a line it is what no line was found for.
    """

    amount: Decimal
    rates: frozenset[str] = frozenset()
    line_id: str | None = None
    unrounded: Fraction = Fraction(1)
    """What the credit was before it was rounded, for each 1 of it: another currency is rounded to once."""

    @property
    def exact(self) -> Fraction:
        """The part of the credit before that was rounded."""
        return Fraction(self.amount) * self.unrounded


@dataclass(frozen=True, slots=True)
class Netting:
    """By change, in their order: what credits take off its charge, and which parts of its credit are owed instead."""

    taken: tuple[Decimal, ...]
    owed: tuple[tuple[CreditPart, ...], ...]

    @property
    def amount_owed(self) -> Decimal:
        return exact_sum([part.amount for parts in self.owed for part in parts])


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
    worth: Fraction
    """The credit before it was rounded."""
    returned: tuple[DiscountShare, ...] = ()
    """What the credit gives back to the budgets of fixed coupons."""
    carried: tuple[DiscountShare, ...] = ()
    """What coupons for one invoice took off what goes on: another quantity is charged for the difference."""
    discount: Decimal = ZERO
    """What coupons take off the charge."""
    charge_rates: frozenset[str] = frozenset()
    """The tax rates that the charge carries."""
    parts: tuple[CreditPart, ...] = ()
    """What the credit stands on; together they are the credit."""

    @property
    def net_charge(self) -> Decimal:
        return EXACT.subtract(self.charge, self.discount)


@dataclass(frozen=True, slots=True)
class Proration:
    """All changes of one request, settled together."""

    changes: tuple[SettledChange, ...] = ()

    @property
    def credit(self) -> Decimal:
        return exact_sum([change.credit for change in self.changes])

    @property
    def charge(self) -> Decimal:
        """What is charged after discounts."""
        return exact_sum([change.net_charge for change in self.changes])

    @property
    def discount(self) -> Decimal:
        return exact_sum([change.discount for change in self.changes])

    def netting(self) -> Netting:
        """Let credits lower the charges that carry the same rates of tax, in order, each down to its discount.

        Rule: docs/rules/proration.md#tax-on-what-is-given-back
        """
        left = credit_by_rates(self.changes)
        taken = []
        for change in self.changes:
            lowered = min(left.get(change.charge_rates, ZERO), change.net_charge)
            if lowered > 0:
                left[change.charge_rates] = EXACT.subtract(left[change.charge_rates], lowered)
            taken.append(lowered)
        return Netting(tuple(taken), owed_parts(self.changes, left))

    def charged(self, netting: Netting) -> list[tuple[SettledChange, Decimal]]:
        """The charges that are invoiced, less what credits take off them."""
        pairs = zip(self.changes, netting.taken, strict=True)
        return [(change, EXACT.subtract(change.charge, taken)) for change, taken in pairs if change.charge > taken]


def credit_by_rates(changes: Sequence[SettledChange]) -> dict[frozenset[str], Decimal]:
    """The credits of changes, by the rates of tax that they carry."""
    sums: dict[frozenset[str], Decimal] = {}
    for change in changes:
        for part in change.parts:
            sums[part.rates] = EXACT.add(sums.get(part.rates, ZERO), part.amount)
    return sums


def owed_parts(
    changes: Sequence[SettledChange], left: Mapping[frozenset[str], Decimal]
) -> tuple[tuple[CreditPart, ...], ...]:
    """The parts of credits that come to what is `left` of them by rates, by change; the first are owed first."""
    missing = dict(left)
    owed = []
    for change in changes:
        parts = []
        for part in change.parts:
            amount = min(missing.get(part.rates, ZERO), part.amount)
            if amount > 0:
                missing[part.rates] = EXACT.subtract(missing[part.rates], amount)
                parts.append(replace(part, amount=amount))
        owed.append(tuple(parts))
    return tuple(owed)


@dataclass(frozen=True, slots=True)
class UnusedTime:
    """What is unused of a fee: its share of the service time that was paid for, its share of the whole that a full fee
    pays for, what it is `worth`, and that rounded, the `credit`."""

    share_of_paid: Fraction
    share_of_whole: Fraction
    worth: Fraction
    credit: Decimal


def unused_time(known: Served, listed: Decimal, span: ServiceSpan, at: datetime, digits: int) -> UnusedTime:
    """What is unused at `at` of a fee that costs `listed` for a whole period.

    Rule: docs/rules/proration.md#what-is-settled
    """
    paid_for = span.length if known.paid_service is None else min(known.paid_service, span.length)
    unused = max(paid_for - span.consumed(at), NO_TIME)
    paid_length = known.paid_length or span.length
    share_of_paid, share_of_whole = elapsed_share(unused, paid_length), span.share(unused)
    worth = Fraction(known.paid) * share_of_paid
    if known.paid == round_to(Fraction(listed) * span.share(paid_length), digits):
        worth = Fraction(listed) * share_of_whole  # as its price says, without the rounding of what was paid
    left = max(EXACT.subtract(known.paid, known.credited), ZERO)
    return UnusedTime(share_of_paid, share_of_whole, min(worth, Fraction(left)), min(round_to(worth, digits), left))


def prorated(snapshot: SubscriptionSnapshot, changes: Sequence[ItemChange], served: Mapping[str, Served]) -> Proration:
    """Settle changes of a subscription's line items; `served` by the id of the item before, else of the one after.

    Only fees in advance are settled. Unused time is worth what was paid for it, net of discounts, and at most what was
    not credited yet. A fee that stands on a draft alone settles nothing: the draft will be computed with the item's new
    versions.
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
        listed = ZERO if before is None else price_quantity(before.price, before.quantity)
        unused = unused_time(known, listed, span, change.at, digits)
        charge, service, share = ZERO, NO_TIME, Fraction(0)
        if after is not None:
            rest = service_span(snapshot, after, change.at) or span
            service = rest.between(change.at, charged_until(snapshot, after))
            share = rest.share(service)
            charge = round_to(Fraction(price_quantity(after.price, after.quantity)) * share, digits)
        had = known.discounts if unused.credit or known.was_free else ()
        returned = tuple(
            part_of(share, unused.share_of_paid, digits) for share in had if share.period_start is not None
        )
        goes_on = _share_that_goes_on(change, Fraction(listed) * unused.share_of_whole, charge)
        once = tuple(share for share in had if goes_on and share.period_start is None)
        carried = tuple(part_of(share, unused.share_of_paid * goes_on, digits) for share in once)
        coefficient = share if before is None else unused.share_of_whole
        settled.append(
            SettledChange(
                change=change,
                window=window_around(span, change.at),
                coefficient=coefficient,
                credit=unused.credit,
                charge=charge,
                charged_service=service,
                charged_share=share,
                listed=listed,
                worth=unused.worth,
                returned=returned,
                carried=carried,
            )
        )
    return Proration(tuple(settled))


def _share_that_goes_on(change: ItemChange, unused: Fraction, charge: Decimal) -> Fraction:
    """The part of what was charged before that is charged again after a change of quantity."""
    if change.action is not ItemAction.QUANTITY or not unused:
        return Fraction(0)
    return min(Fraction(charge) / unused, Fraction(1))


def part_of(discount: DiscountShare, share: Fraction, digits: int) -> DiscountShare:
    """A share of what a coupon took, rounded."""
    return replace(discount, amount=round_to(Fraction(discount.amount) * share, digits))


def window_around(span: ServiceSpan, at: datetime) -> Period:
    """The period on the calendar; one that is paused lasts beyond a change at `at`."""
    window = span.window
    return window if at < window.end else Period(window.start, at + MICROSECOND)


def fee_of(item: LineItemSnapshot | None) -> LineItemSnapshot | None:
    """A recurring fee in advance; nothing else is settled."""
    if item is None or item.is_usage or item.is_onetime or not item.is_advance:
        return None
    return item
