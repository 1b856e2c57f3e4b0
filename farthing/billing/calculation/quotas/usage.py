"""What is used in the usage windows of grants, when a quota is used up, and what is over it. Pure.

Events are taken one by one, in time order. Of what adds up an event is over a quota with the part of it that comes
after the quota was reached; where several quotas stand side by side, with the largest of these parts, so that each
unit is over once. A level is over with what its value in the window exceeds the quota by.
Rule: docs/rules/entitlements.md#usage-over-a-quota
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from farthing.billing.calculation.quotas.windows import QuotaSlot, window_opened_by
from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import GrantDurationUnit, GrantMeasure
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.events.usage.stretch import Stretch
from farthing.metering.meter import AggregationType
from farthing.metering.quantity import FRACTION_DIGITS
from farthing.rating.commitments.allowance import over
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import BillingModel, RatedPrice
from farthing.subscriptions.snapshot.entitlements import OpenedWindow

LEVELS = frozenset({AggregationType.AVG, AggregationType.LATEST})
"""Aggregations that a window has a value of, and no stock that is used up."""
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class ChargedSpan:
    """A usage line item while it is charged: in `[start, end)`, None is open, at `price`."""

    item_id: str
    start: datetime
    end: datetime | None
    price: RatedPrice

    def holds(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class QuotaQuestion:
    """What is used of a meter in the windows of one cycle.

    `stretches` say whose usage counts, and when. Events are counted from `counted_from` on, the cycle's start unless
    all windows from before are done with; what is over a quota counts from `since` on. `spans` are the line items that
    charge the meter.
    """

    meter_id: str
    stretches: tuple[Stretch, ...]
    cycle: Period
    counted_from: datetime
    since: datetime
    until: datetime
    zone: ZoneInfo
    slots: tuple[QuotaSlot, ...]
    spans: tuple[ChargedSpan, ...]


@dataclass(frozen=True, slots=True)
class QuotaWindow:
    """A window, and what was used of its quota, in units or in money. `over` is what each line item has over it.

    `opened_id` is the id under which it was stored, if it was.
    """

    entitlement_id: str
    measure: GrantMeasure
    quota: Decimal
    start: datetime
    end: datetime
    usage: Decimal
    crossed_at: datetime | None
    over: tuple[tuple[str, Decimal], ...] = ()
    opened_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChargedUsage:
    """What a line item charges in windows of money: quantity, and what it costs."""

    quantity: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """The windows of one cycle in the order of slots, then time; and what is charged in the windows, by line item."""

    windows: tuple[QuotaWindow, ...] = ()
    charged: tuple[tuple[str, ChargedUsage], ...] = ()


NO_QUOTAS = QuotaUsage()


class QuotaCount:
    """Counts events of one question, which come in time order."""

    def __init__(self, question: QuotaQuestion, how: AggregationType) -> None:
        self.question, self.how = question, how
        self._slots = [_SlotCount(slot, question, how) for slot in question.slots]
        self._charged: dict[str, ChargedUsage] = {}

    def add(self, at: datetime, quantity: Decimal, key: str) -> None:
        """Take the next event."""
        spans = [span for span in self.question.spans if span.holds(at)]
        quantity = _ONE if self.how in {AggregationType.COUNT, AggregationType.COUNT_UNIQUE} else quantity
        steps = []
        for slot in self._slots:
            window = slot.window_at(at)
            if window is not None:
                steps.append((window, window.add(at, quantity, key, spans)))
        if at < self.question.since or self.how in LEVELS:
            return
        if steps:
            self._charge(steps[0][1])
            shrinks = quantity < 0
            window, step = (min if shrinks else max)(steps, key=lambda step: exact_sum(list(step[1].over.values())))
            window.charge(step.over)

    def _charge(self, step: _Step) -> None:
        for item_id, charged in step.charged.items():
            before = self._charged.get(item_id, ChargedUsage(ZERO, ZERO))
            self._charged[item_id] = ChargedUsage(
                EXACT.add(before.quantity, charged.quantity), EXACT.add(before.cost, charged.cost)
            )

    def result(self) -> QuotaUsage:
        """What has come of all events."""
        by_slot = [slot.closed() for slot in self._slots]
        if self.how in LEVELS and len(by_slot) > 1:
            most = max(by_slot, key=_total_over)
            by_slot = [
                windows if windows is most else [replace(window, over=()) for window in windows] for windows in by_slot
            ]
        return QuotaUsage(tuple(window for windows in by_slot for window in windows), tuple(self._charged.items()))


def _total_over(windows: Sequence[QuotaWindow]) -> Decimal:
    return exact_sum([amount for window in windows for _, amount in window.over])


@dataclass(slots=True)
class _Step:
    """What one event adds to a window: over its quota, and what is charged, by line item."""

    over: dict[str, Decimal] = field(default_factory=dict)
    charged: dict[str, ChargedUsage] = field(default_factory=dict)


@dataclass(slots=True)
class _Level:
    """Events of a level: their number, sum and last value."""

    count: int = 0
    total: Decimal = ZERO
    last: Decimal = ZERO

    def add(self, quantity: Decimal) -> None:
        self.count, self.total, self.last = self.count + 1, EXACT.add(self.total, quantity), quantity

    def value(self, how: AggregationType) -> Decimal:
        if how is AggregationType.LATEST:
            return max(self.last, ZERO)
        return max(round_to(Fraction(self.total) / self.count, FRACTION_DIGITS), ZERO) if self.count else ZERO


class _WindowCount:
    """One window while its events are counted."""

    def __init__(self, slot: QuotaSlot, span: Period, opened: OpenedWindow | None, how: AggregationType) -> None:
        self.slot, self.span, self.opened, self.how = slot, span, opened, how
        self.quota = slot.quota if opened is None else opened.quota
        self.crossed_at: datetime | None = None
        self._over: dict[str, Decimal] = {}
        self._keys: set[str] = set()
        self._total = ZERO
        self._by_item: dict[str, tuple[ChargedSpan, Decimal]] = {}
        self._levels: dict[str, tuple[ChargedSpan, _Level]] = {}
        self._level = _Level()

    def add(self, at: datetime, quantity: Decimal, key: str, spans: Sequence[ChargedSpan]) -> _Step:
        """Count an event, and say what it adds."""
        if self.how is AggregationType.COUNT_UNIQUE:
            if key in self._keys:
                return _Step()
            self._keys.add(key)
        if self.how in LEVELS:
            step = self._add_to_level(quantity, spans)
        elif self.slot.measure is GrantMeasure.QUANTITY:
            step = self._add_quantity(quantity, spans)
        else:
            step = self._add_amount(quantity, spans)
        if self.crossed_at is None and self.usage >= self.quota:
            self.crossed_at = at
        return step

    def _add_quantity(self, quantity: Decimal, spans: Sequence[ChargedSpan]) -> _Step:
        before = self._total
        self._total = EXACT.add(before, quantity)
        more = EXACT.subtract(over(self._total, self.quota), over(before, self.quota))
        return _Step({span.item_id: more for span in spans})

    def _add_amount(self, quantity: Decimal, spans: Sequence[ChargedSpan]) -> _Step:
        """Each line item that charges the event spends of the quota, one after the other."""
        step = _Step()
        for span in spans:
            _, used = self._by_item.get(span.item_id, (span, ZERO))
            after = EXACT.add(used, quantity)
            cost = EXACT.subtract(_cost(span.price, after), _cost(span.price, used))
            self._by_item[span.item_id] = span, after
            before = self._total
            self._total = EXACT.add(before, cost)
            step.over[span.item_id] = EXACT.subtract(over(self._total, self.quota), over(before, self.quota))
            step.charged[span.item_id] = ChargedUsage(quantity, cost)
        return step

    def _add_to_level(self, quantity: Decimal, spans: Sequence[ChargedSpan]) -> _Step:
        self._level.add(quantity)
        for span in spans:
            self._levels.setdefault(span.item_id, (span, _Level()))[1].add(quantity)
        return _Step()

    def charge(self, more: Mapping[str, Decimal]) -> None:
        """Charge what an event has over the quota to this window."""
        for item_id, amount in more.items():
            self._over[item_id] = EXACT.add(self._over.get(item_id, ZERO), amount)

    @property
    def usage(self) -> Decimal:
        """What was used of the quota."""
        if self.how not in LEVELS:
            return max(self._total, ZERO)
        if self.slot.measure is GrantMeasure.QUANTITY:
            return self._level.value(self.how)
        return exact_sum([_cost(span.price, level.value(self.how)) for span, level in self._levels.values()])

    def counted(self) -> QuotaWindow:
        """The window with all that was counted."""
        over_quota = self._over_of_levels() if self.how in LEVELS else self._over
        return QuotaWindow(
            self.slot.entitlement_id if self.opened is None else self.opened.entitlement_id,
            self.slot.measure,
            self.quota,
            self.span.start,
            self.span.end,
            self.usage,
            self.crossed_at,
            tuple((item_id, max(amount, ZERO)) for item_id, amount in over_quota.items() if amount > 0),
            None if self.opened is None else self.opened.id,
        )

    def _over_of_levels(self) -> dict[str, Decimal]:
        in_money = self.slot.measure is GrantMeasure.AMOUNT
        return {
            item_id: over(_cost(span.price, level.value(self.how)) if in_money else level.value(self.how), self.quota)
            for item_id, (span, level) in self._levels.items()
        }


class _SlotCount:
    """The windows of one slot, one after the other."""

    def __init__(self, slot: QuotaSlot, question: QuotaQuestion, how: AggregationType) -> None:
        self.slot, self.question, self.how = slot, question, how
        since = question.counted_from
        self._ahead = deque(window for window in slot.opened if window.start >= since)
        self._covered = max([since, *(window.end for window in slot.opened if window.start < since)])
        self._current: _WindowCount | None = None
        self._closed: list[QuotaWindow] = []

    def window_at(self, at: datetime) -> _WindowCount | None:
        """The window that holds `at`, opened if there is none; None when no window opens."""
        if self._current is not None and at < self._current.span.end:
            return self._current
        self._close()
        if at < self._covered:
            return None  # a window that is done with holds it
        while self._ahead and self._ahead[0].end <= at:
            if at < self._begin(self._ahead.popleft()).span.end:
                return self._current
            self._close()
        if self._ahead and self._ahead[0].start <= at:
            return self._begin(self._ahead.popleft())
        following = self._ahead[0].start if self._ahead else None
        span = window_opened_by(at, self._covered, self.question.cycle, self.slot.terms, self.question.zone, following)
        if span is not None:
            self._current = _WindowCount(self.slot, span, None, self.how)
        return self._current

    def _begin(self, opened: OpenedWindow) -> _WindowCount:
        end = opened.end
        if opened.unit is GrantDurationUnit.SUBSCRIPTION_PERIOD:
            end = max(end, self.question.cycle.end)  # a pause has made the cycle longer since
        self._current = _WindowCount(self.slot, Period(opened.start, end), opened, self.how)
        return self._current

    def _close(self) -> None:
        if self._current is not None:
            self._closed.append(self._current.counted())
            self._covered = max(self._covered, self._current.span.end)
            self._current = None

    def closed(self) -> list[QuotaWindow]:
        """All windows, once there are no more events."""
        if self.slot.terms.unit is GrantDurationUnit.SUBSCRIPTION_PERIOD and self._current is None and not self._closed:
            self.window_at(self.question.cycle.start)  # the cycle is a window, whether or not anything was used
        self._close()
        while self._ahead:
            self._begin(self._ahead.popleft())
            self._close()
        return self._closed


def _cost(price: RatedPrice, quantity: Decimal) -> Decimal:
    if price.model is BillingModel.FLAT_FEE:
        return EXACT.multiply(price.amount, max(quantity, ZERO))
    return price_quantity(price, quantity)
