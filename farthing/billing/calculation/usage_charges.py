"""From usage to the amount of one usage charge: what must be measured, what the allowance leaves, what it costs. Pure.

Rule: docs/rules/billing.md#usage-amount
Rule: docs/rules/entitlements.md#allowance
Rule: docs/rules/commitments.md#line-item-level
Rule: docs/rules/commitments.md#windowed
Rule: docs/rules/pricing.md#rounding
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

from farthing.billing.calculation.charges import MeteredCharge
from farthing.billing.calculation.quotas.overage import OverQuota, StretchesOf, is_counted, over_quota, quota_questions
from farthing.billing.calculation.quotas.usage import NO_QUOTAS, QuotaQuestion, QuotaUsage
from farthing.billing.calculation.quotas.windows import slots_of
from farthing.calendar.billing import BillingCycle
from farthing.calendar.period import MICROSECOND, Period
from farthing.calendar.recurring import reset_windows
from farthing.calendar.windows import anchor_day, windows
from farthing.calendar.zones import UTC
from farthing.catalogue.entitlements.enums import AggregationMode
from farthing.core.errors import InvalidOperation
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.events.usage.stretch import Stretch
from farthing.metering.meter import AggregationType, Meter
from farthing.metering.model import BucketValue, Usage
from farthing.metering.quantity import FRACTION_DIGITS
from farthing.rating.commitments.allowance import (
    ResetWindow,
    billable_buckets,
    billable_quantity,
    covered_quantity,
    over,
)
from farthing.rating.commitments.line_commitment import CommitmentCharge, item_commitment, total_charge
from farthing.rating.commitments.windows import WindowTerms, WindowUsage, charge_windows
from farthing.rating.pricing.breakdown import Breakdown
from farthing.rating.pricing.cost import explain, explain_values
from farthing.subscriptions.snapshot.entitlements import FeatureEntitlement
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot

ADDS_UP = frozenset(
    {
        AggregationType.COUNT,
        AggregationType.SUM,
        AggregationType.SUM_WITH_MULTIPLIER,
        AggregationType.COUNT_UNIQUE,
    }
)
"""Aggregations whose usage is a stock that an allowance is drawn from; the others are levels."""


@dataclass(frozen=True, slots=True)
class UsageRange:
    """One question to the event store: a meter's usage of `customers` (external ids) in `[start, end)`.

    `zone` and `month_day` say where a bucketed meter's buckets have their edges. `more` stretches count as one with
    the first. `level_since` is from when on changes of a level have led to the one at `start`.
    """

    meter_id: str
    customers: frozenset[str]
    start: datetime
    end: datetime
    zone: ZoneInfo = UTC
    month_day: int = 1
    more: tuple[Stretch, ...] = ()
    level_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class MeasuredUsage:
    """The answer: the value, a bucketed meter's buckets by time, then group, and what was counted of quotas."""

    usage: Usage
    buckets: tuple[BucketValue, ...] = ()
    quotas: QuotaUsage = NO_QUOTAS


NOTHING = MeasuredUsage(Usage(ZERO, 0))
_NONE = Fraction(0)

Question = UsageRange | QuotaQuestion

Answers = Mapping[Question, MeasuredUsage]
"""A range without an answer had no events."""

Spread = tuple[UsageRange, ...]
"""A stretch of time in the pieces in which the same customers count and no pause falls."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is free in one reset window: its usage up to the charge's end, and before the charge's start, if any."""

    start: datetime
    used: Spread
    used_before: Spread


@dataclass(frozen=True, slots=True)
class UsagePlan:
    """A usage charge and everything that must be measured for it.

    `entitlement` None: nothing is free. `allowances` are the reset windows that the charge touches, in order; `quotas`
    what must be counted where grants stand in for the limit.
    """

    charge: MeteredCharge
    meter: Meter
    raw: Spread
    entitlement: FeatureEntitlement | None
    allowances: tuple[Allowance, ...]
    zone: ZoneInfo
    month_day: int
    quotas: tuple[QuotaQuestion, ...] = ()

    def ranges(self) -> Iterable[Question]:
        """Every question to ask."""
        yield from self.raw
        yield from self.quotas
        for allowance in self.allowances:
            yield from allowance.used
            yield from allowance.used_before


@dataclass(frozen=True, slots=True)
class Committed:
    """How far a line item's commitment has come: the `prior` cost of earlier periods of one that runs over several, and
    of earlier versions of the item; whether this charge is the one to true up; and the share of the commitment's period
    in which it is in force."""

    prior: Decimal = ZERO
    trues_up: bool = True
    share: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """What a usage charge comes to. `cost` is unrounded and before any commitment; `amount` is rounded."""

    raw: Decimal
    billable: Decimal
    cost: Decimal
    amount: Decimal
    breakdown: Breakdown
    commitment: CommitmentCharge | None
    over_quota: OverQuota | None = None
    committed: Decimal | None = None
    """What the line item's commitment comes to in a period that it is in force for a part of; else None."""

    @property
    def covered(self) -> Decimal:
        """Quantity that an entitlement covered."""
        return covered_quantity(self.raw, self.billable)


def plan(
    snapshot: SubscriptionSnapshot, charge: MeteredCharge, meter: Meter, entitlement: FeatureEntitlement | None
) -> UsagePlan:
    """What must be measured to rate `charge`. Raises InvalidOperation when nobody's usage counts."""
    zone = UTC if charge.item.buckets else snapshot.recurrence.zone
    month_day = anchor_day(snapshot.recurrence.anchor, zone)
    spreads = _Spreads(snapshot, meter, zone, month_day)
    raw = spreads.over(charge.window.start, charge.window.end)
    if not snapshot.usage_customers:
        raise InvalidOperation("Nobody's usage counts for the subscription", {"subscription_id": snapshot.id})
    limited = entitlement is not None and entitlement.limit is not None and not entitlement.grants
    allowances: tuple[Allowance, ...] = ()
    if entitlement is not None and limited:
        allowances = tuple(_allowances(snapshot, charge, meter, entitlement, spreads))
    quotas: tuple[QuotaQuestion, ...] = ()
    if entitlement is not None and entitlement.grants and is_counted(entitlement, meter):
        quotas = tuple(quota_questions(snapshot, meter, entitlement, charge.period, spreads.stretches))
    return UsagePlan(charge, meter, raw, entitlement, allowances, zone, month_day, quotas)


def stretches_of(snapshot: SubscriptionSnapshot, meter: Meter) -> StretchesOf:
    """Whose usage of a meter counts between two instants, and when."""
    return _Spreads(snapshot, meter, UTC, 1).stretches


class _Spreads:
    """Cuts stretches of time where pauses begin and end, and where a customer's usage begins or ceases to count."""

    def __init__(self, snapshot: SubscriptionSnapshot, meter: Meter, zone: ZoneInfo, month_day: int) -> None:
        self.snapshot, self.meter, self.zone, self.month_day = snapshot, meter, zone, month_day

    def over(self, start: datetime, end: datetime) -> Spread:
        return self._joined(self._pieces(start, end), start)

    def stretches(self, start: datetime, end: datetime) -> tuple[Stretch, ...]:
        """The pieces as whose usage counts, and when."""
        return tuple(Stretch(piece.customers, piece.start, piece.end) for piece in self._pieces(start, end))

    def _pieces(self, start: datetime, end: datetime) -> list[UsageRange]:
        if start >= end:
            return []
        owner, *others = self.snapshot.usage_customers
        if not others and not self.snapshot.pauses:
            return [self._range(frozenset({owner.customer_id}), start, end)]
        cuts = {start, end}
        for customer in others:
            cuts |= {at for at in (customer.start, customer.end) if at is not None and start < at < end}
        for pause_start, resumed_at in self.snapshot.pauses:
            cuts |= {at for at in (pause_start, resumed_at) if at is not None and start < at < end}
        edges = sorted(cuts)
        pieces: list[UsageRange] = []
        for since, until in pairwise(edges):
            if any(paused <= since and (back is None or since < back) for paused, back in self.snapshot.pauses):
                continue
            counted = frozenset(
                {owner.customer_id}
                | {
                    customer.customer_id
                    for customer in others
                    if customer.start <= since and (customer.end is None or since < customer.end)
                }
            )
            if pieces and pieces[-1].end == since and pieces[-1].customers == counted:
                pieces[-1] = self._range(counted, pieces[-1].start, until)
            else:
                pieces.append(self._range(counted, since, until))
        return pieces

    def _range(self, customers: frozenset[str], start: datetime, end: datetime) -> UsageRange:
        return UsageRange(self.meter.id, customers, start, end, self.zone, self.month_day)

    def _joined(self, pieces: Sequence[UsageRange], start: datetime) -> Spread:
        """Pieces whose values cannot be put together afterwards: somebody seen in two counts once, a level stands on
        from one to the next."""
        match self.meter.aggregation.type:
            case AggregationType.COUNT_UNIQUE if len(pieces) > 1:
                more = tuple(Stretch(piece.customers, piece.start, piece.end) for piece in pieces[1:])
                return (replace(pieces[0], more=more),)
            case AggregationType.WEIGHTED_SUM:
                return tuple(piece if piece.start == start else replace(piece, level_since=start) for piece in pieces)
        return tuple(pieces)


def _allowances(
    snapshot: SubscriptionSnapshot,
    charge: MeteredCharge,
    meter: Meter,
    entitlement: FeatureEntitlement,
    spreads: _Spreads,
) -> Iterable[Allowance]:
    start, end = charge.window.start, charge.window.end
    adds_up = meter.aggregation.type in ADDS_UP or meter.aggregation.bucket_size is not None
    moved_by = snapshot.service_pauses if snapshot.cycle is BillingCycle.ANNIVERSARY else ()
    recurrence = snapshot.recurrence_at(snapshot.start)
    for window in reset_windows(entitlement.reset, charge.period, recurrence, snapshot.start, charge.window, moved_by):
        first, last = max(start, window.start), min(end, window.end)
        if first >= last:
            continue
        opened = max(window.start, snapshot.first_paid_at) if adds_up else first
        yield Allowance(window.start, spreads.over(min(opened, first), last), spreads.over(min(opened, first), first))


def rate(
    plan: UsagePlan, answers: Answers, digits: int, now: datetime, committed: Committed | None = None
) -> RatedUsage:
    """Price what was used: allowance, price, the line item's own commitment, one rounding.

    `now` bounds the empty windows that a windowed true-up charges.
    """
    item = plan.charge.item
    committed = committed or Committed()
    if plan.meter.aggregation.bucket_size is not None:
        return _rate_buckets(plan, answers, digits, now, committed)
    raw = value_of(plan.meter, plan.raw, answers)
    above = _over_quota(plan, answers) if plan.quotas else None
    billable = _billable(plan, answers, raw) if above is None else above.billable
    breakdown = explain(item.price, billable) if above is None else above.breakdown
    cost = breakdown.amount
    amount, commitment = _committed_amount(item, cost, committed, digits)
    return RatedUsage(raw, billable, cost, amount, breakdown, commitment, above, _committed_part(item, committed))


def rate_at_cost(
    item: LineItemSnapshot, rated: RatedUsage, cost: Decimal | None, committed: Committed, digits: int
) -> RatedUsage:
    """A charge under its line item's commitment as it stands; `cost` replaces what it was rated at if it is given."""
    cost = rated.cost if cost is None else cost
    amount, commitment = _committed_amount(item, cost, committed, digits)
    return replace(rated, cost=cost, amount=amount, commitment=commitment, committed=_committed_part(item, committed))


def _committed_amount(
    item: LineItemSnapshot, cost: Decimal, committed: Committed, digits: int
) -> tuple[Decimal, CommitmentCharge | None]:
    """What a cost comes to under the line item's commitment, and what the commitment makes of it, both rounded."""
    charge = _item_commitment(item, cost, committed)
    if charge is None:
        return round_to(cost, digits), None
    return round_to(charge.amount, digits), charge.rounded(digits)


def _billable(plan: UsagePlan, answers: Answers, raw: Decimal) -> Decimal:
    entitlement = plan.entitlement
    if entitlement is None:
        return raw
    if entitlement.grants:
        return over(raw, _whole_quota(entitlement))
    if entitlement.limit is None:
        return ZERO
    used = []
    for allowance in plan.allowances:
        before = value_of(plan.meter, allowance.used_before, answers)
        # corrections can make a sum shrink; what was billed of it then stays billed
        used.append(ResetWindow(max(value_of(plan.meter, allowance.used, answers), before), before))
    return billable_quantity(used, entitlement.limit)


def _over_quota(plan: UsagePlan, answers: Answers) -> OverQuota:
    assert plan.entitlement is not None, "quotas are those of an entitlement"
    counted = [answers.get(question, NOTHING).quotas for question in plan.quotas]
    return over_quota(plan.charge.item.id, plan.charge.item.price, slots_of(plan.entitlement), counted)


def _whole_quota(entitlement: FeatureEntitlement) -> Decimal:
    """The quota of a whole period for a level: the sum of those that add up, else the smallest."""
    quotas = [source.grant.quota for source in entitlement.grants if source.grant is not None]
    return min(quotas) if entitlement.mode is AggregationMode.PARALLEL else exact_sum(quotas)


def _item_commitment(item: LineItemSnapshot, cost: Decimal, committed: Committed) -> CommitmentCharge | None:
    """What the line item's commitment makes of `cost`; None without one.

    One that runs over several periods, or several versions of the item, charges what the cost so far comes to, less
    what came before; only what closes it trues up.
    """
    if item.commitment is None:
        return None
    terms = item.commitment.terms
    part = _committed_part(item, committed)
    if part is not None:
        terms = replace(terms, amount=part)
    now = replace(terms, true_up=terms.true_up and committed.trues_up)
    so_far = item_commitment(EXACT.add(committed.prior, cost), now)
    before = item_commitment(committed.prior, replace(terms, true_up=False))
    return CommitmentCharge(
        utilized=EXACT.subtract(so_far.utilized, before.utilized),
        overage=EXACT.subtract(so_far.overage, before.overage),
        true_up=so_far.true_up,
    )


def _committed_part(item: LineItemSnapshot, committed: Committed) -> Decimal | None:
    if item.commitment is None or committed.share == 1:
        return None
    return committed_part(item.commitment.terms.amount, committed.share)


def committed_part(amount: Decimal, share: Fraction) -> Decimal:
    """What a line item's commitment comes to where it is in force for a share of its window."""
    return round_to(Fraction(amount) * share, FRACTION_DIGITS)


def _rate_buckets(plan: UsagePlan, answers: Answers, digits: int, now: datetime, committed: Committed) -> RatedUsage:
    item = plan.charge.item
    values = buckets_of(plan.meter, plan.raw, answers)
    raw = exact_sum([bucket.value for bucket in values])
    charged = _billable_buckets(plan, answers, values)
    by_start: dict[datetime, list[Decimal]] = {}
    for bucket, billable in zip(values, charged, strict=True):
        by_start.setdefault(bucket.start, []).append(billable)
    breakdown = explain_values(item.price, charged)
    if not item.buckets and not (item.commitment is not None and item.commitment.windowed):
        cost = breakdown.amount
        charge = _item_commitment(item, cost, committed)
        part = _committed_part(item, committed)
    else:
        part = None
        for start in _empty_windows_to_true_up(plan, now):
            by_start.setdefault(start, [])
        windowed = charge_windows(
            [WindowUsage(start, by_start[start]) for start in sorted(by_start)],
            WindowTerms(item.price, None if item.commitment is None else item.commitment.terms),
            item.buckets,
        )
        cost = exact_sum([window.cost for window in windowed])
        charge = total_charge([window.charge for window in windowed])
    amount = round_to(cost if charge is None else charge.amount, digits)
    rounded = None if charge is None else charge.rounded(digits)
    return RatedUsage(raw, exact_sum(charged), cost, amount, breakdown, rounded, committed=part)


def _billable_buckets(plan: UsagePlan, answers: Answers, values: Sequence[BucketValue]) -> list[Decimal]:
    entitlement = plan.entitlement
    if entitlement is None:
        return [bucket.value for bucket in values]
    if entitlement.limit is None or not plan.allowances:
        return [ZERO for _ in values]
    charged: list[Decimal] = []
    starts = [allowance.start for allowance in plan.allowances]
    for number, allowance in enumerate(plan.allowances):
        until = starts[number + 1] if number + 1 < len(starts) else None
        ours = [
            bucket.value
            for bucket in values
            if (number == 0 or bucket.start >= allowance.start) and (until is None or bucket.start < until)
        ]
        before = exact_sum([bucket.value for bucket in buckets_of(plan.meter, allowance.used_before, answers)])
        charged += billable_buckets(ours, entitlement.limit, before)
    return charged


def _empty_windows_to_true_up(plan: UsagePlan, now: datetime) -> Iterable[datetime]:
    """Starts of the windows, up to `now`, for which a true-up may be owed although nothing was used in them.

    A window that lies in a pause whole owes none.
    """
    item, size = plan.charge.item, plan.meter.aggregation.bucket_size
    assert size is not None
    own = item.commitment is not None and item.commitment.terms.true_up
    if not own and not any(
        bucket.terms.commitment is not None and bucket.terms.commitment.true_up for bucket in item.buckets
    ):
        return
    for piece in plan.raw:
        if piece.start < min(piece.end, now):
            for window in windows(Period(piece.start, min(piece.end, now)), size, plan.zone, plan.month_day):
                yield window.start


def buckets_of(meter: Meter, spread: Spread, answers: Answers) -> list[BucketValue]:
    """The buckets of a stretch. One that a cut goes through is put together again."""
    if len(spread) == 1:
        return list(answers.get(spread[0], NOTHING).buckets)
    whole: dict[tuple[datetime, str], BucketValue] = {}
    for piece in spread:
        for bucket in answers.get(piece, NOTHING).buckets:
            same = whole.get((bucket.start, bucket.group))
            if same is None:
                whole[bucket.start, bucket.group] = bucket
                continue
            largest = meter.aggregation.type is AggregationType.MAX
            value = max(same.value, bucket.value) if largest else EXACT.add(same.value, bucket.value)
            whole[bucket.start, bucket.group] = BucketValue(
                bucket.start, bucket.group, value, same.event_count + bucket.event_count
            )
    return [whole[key] for key in sorted(whole)]


def value_of(meter: Meter, spread: Spread, answers: Answers) -> Decimal:
    """The meter's value over a stretch that pauses or joining customers may have cut in pieces.

    Pieces of what adds up are added; of levels the largest, the last, or the mean weighted by events or time is taken,
    as the aggregation says.
    """
    if meter.aggregation.bucket_size is not None:
        return exact_sum([bucket.value for bucket in buckets_of(meter, spread, answers)])
    if not spread:
        return ZERO
    if len(spread) == 1:
        return answers.get(spread[0], NOTHING).usage.value
    pieces = [(piece, answers.get(piece, NOTHING).usage) for piece in spread]
    match meter.aggregation.type:
        case AggregationType.MAX:
            return max(usage.value for _, usage in pieces)
        case AggregationType.LATEST:
            seen = [usage.value for _, usage in pieces if usage.event_count]
            return seen[-1] if seen else ZERO
        case AggregationType.AVG:
            events = sum(usage.event_count for _, usage in pieces)
            total = sum((Fraction(usage.value) * usage.event_count for _, usage in pieces), _NONE)
            return round_to(total / events, FRACTION_DIGITS) if events else ZERO
        case AggregationType.WEIGHTED_SUM:
            lengths = [(piece.end - piece.start) // MICROSECOND for piece, _ in pieces]
            level = sum(
                (Fraction(usage.value) * length for (_, usage), length in zip(pieces, lengths, strict=True)), _NONE
            )
            return round_to(level / sum(lengths), FRACTION_DIGITS)
        case _:
            return exact_sum([usage.value for _, usage in pieces])
