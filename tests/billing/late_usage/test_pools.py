"""Whatever comes late or is withdrawn: a commitment over several periods comes to what it would from the start. Pure.

Rule: docs/rules/late-usage.md#under-a-commitment-over-several-periods
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.billing.calculation.bill import CalculationInput, Facts, MemberPlan, bill, plan_members, questions
from farthing.billing.calculation.commitments import in_force
from farthing.billing.calculation.draft import DraftLine
from farthing.billing.calculation.usage_charges import Committed, MeasuredUsage, Question, UsageRange
from farthing.billing.late_usage.charges import LateCharge, late_charges, late_line
from farthing.billing.late_usage.detection import InvoicedUsage, RecheckableLine
from farthing.billing.late_usage.pools import CommitmentPool, PooledPeriod
from farthing.calendar.billing import BillingPeriod
from farthing.core.enums import LineKind, PriceType
from farthing.core.money import exact_sum
from farthing.metering.meter import Aggregation, AggregationType, Meter
from farthing.metering.model import Usage
from farthing.rating.commitments.line_commitment import LineCommitment
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot.values import ItemCommitment, SubscriptionCommitment, SubscriptionSnapshot
from tests.billing.values import item, span, subscription
from tests.thorough import examples

MONTHS = [span("2026-01-01", "2026-02-01"), span("2026-02-01", "2026-03-01"), span("2026-03-01", "2026-04-01")]
NOW = MONTHS[-1].end
PRICES = {"bytes": Decimal(2), "calls": Decimal("0.07")}
METERS = {name: Meter(name, name, Aggregation(AggregationType.COUNT)) for name in PRICES}
NONE = Decimal(0)
Usages = dict[tuple[str, int], int]
"""How much of each item was used in each month."""


@dataclass(frozen=True)
class Promise:
    """A commitment for a quarter, of the subscription or of each of its items."""

    amount: Decimal
    factor: Decimal
    true_up: bool
    of_items: bool

    def snapshot(self) -> SubscriptionSnapshot:
        own = ItemCommitment(LineCommitment(self.amount, self.factor, self.true_up), duration=BillingPeriod.QUARTERLY)
        items = [
            replace(
                item(str(price), "0", id=name, start="2026-01-01", commitment=own if self.of_items else None),
                meter_id=name,
                price_type=PriceType.USAGE,
            )
            for name, price in PRICES.items()
        ]
        of_all = SubscriptionCommitment(self.amount, self.factor, BillingPeriod.QUARTERLY, self.true_up)
        return replace(subscription(MONTHS[0], *items), commitment=None if self.of_items else of_all)

    def costs(self, used: Usages, months: int) -> Decimal:
        """The independent model: what so many months of the quarter cost with everything there from the start."""
        shared = [[name] for name in PRICES] if self.of_items else [list(PRICES)]
        return sum((self._costs_of(used, names, months) for names in shared), NONE)

    def _costs_of(self, used: Usages, names: Sequence[str], months: int) -> Decimal:
        so_far = total = NONE
        for month in range(months):
            cost = sum((used[name, month] * PRICES[name] for name in names), NONE)
            above = max(so_far + cost - max(so_far, self.amount), NONE)
            total += cost - above + (above * self.factor).quantize(Decimal("0.01"), ROUND_HALF_UP)
            so_far += cost
        owed = max(self.amount - so_far, NONE) if self.true_up and months == len(MONTHS) else NONE
        return total + owed


@dataclass
class Invoiced:
    """What was charged of an item and month, and how much use of it that was; `base` until something came late."""

    amount: Decimal
    quantity: Decimal
    usage: Decimal
    base: Decimal | None


@dataclass
class Books:
    """Invoices of a quarter and what was made good since, kept as the tables keep it."""

    snapshot: SubscriptionSnapshot
    lines: dict[tuple[str, int], Invoiced] = field(default_factory=dict)
    overage: list[Decimal] = field(default_factory=list)
    true_up: list[Decimal] = field(default_factory=list)
    used: dict[str, Decimal] = field(default_factory=dict)
    """What is counted towards each commitment, by the id of whose it is."""

    @property
    def months(self) -> int:
        return len(self.overage)

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines.values()), sum([*self.overage, *self.true_up], NONE))

    def owner(self, name: str) -> str:
        """Whose commitment an item is under."""
        return name if self.snapshot.commitment is None else self.snapshot.id

    def bill(self, usages: Usages) -> None:
        """The invoice of the next month."""
        known = Facts(NOW, METERS, prior=dict(self.used))
        work, planned = self._planned(self.months)
        answers = answered(list(questions({self.snapshot.id: planned})), usages)
        draft = bill(work, replace(known, answers=answers, planned={self.snapshot.id: planned}))
        month, costs = (
            self.months,
            {plan.charge.item.id: usages[plan.charge.item.id, self.months] for plan in planned.usage},
        )
        for line in draft.lines:
            if line.base is not None:
                owner = self.snapshot.id if line.item is None else self.owner(line.item.id)
                self.used[owner] = self.used.get(owner, NONE) + line.base
            if line.item is not None:
                used = Decimal(costs[line.item.id])
                self.lines[line.item.id, month] = Invoiced(line.amount, used, used, self._cost(line, used))
        of_all = {line.kind: line.amount for line in draft.lines if line.item is None}
        self.overage.append(of_all.get(LineKind.OVERAGE, NONE))
        self.true_up.append(of_all.get(LineKind.TRUE_UP, NONE))

    def _cost(self, line: DraftLine, used: Decimal) -> Decimal:
        """What a line cost before the commitment, as its record of how it was rated has it."""
        assert line.item is not None
        return sum((Decimal(part["amount"]) for part in line.rating["parts"]), NONE)

    def _planned(self, month: int) -> tuple[CalculationInput, MemberPlan]:
        work = CalculationInput(self.snapshot, InvoiceTrigger.CYCLE, MONTHS[month])
        return work, plan_members(work, Facts(NOW, METERS))[self.snapshot.id]

    def recheckable(self, asked: int) -> list[RecheckableLine]:
        """All that is invoiced, as somebody sees it who asks for one month."""
        found = []
        pools: dict[str, CommitmentPool] = {}
        for owner in dict.fromkeys(self.owner(name) for name in PRICES):
            of_item = owner in PRICES
            periods = tuple(
                PooledPeriod(
                    f"inv-{month}",
                    MONTHS[month],
                    true_up=NONE if of_item else self.true_up[month],
                    overage=NONE if of_item else self.overage[month],
                    overage_line_id=None if of_item else f"overage-{month}",
                )
                for month in range(self.months)
            )
            versions = (owner,) if of_item else ()
            pools[owner] = CommitmentPool(self.snapshot.id, periods, True, versions, self.used.get(owner, NONE))
        for month in range(self.months):
            for plan in self._planned(month)[1].usage:
                name, own = plan.charge.item.id, plan.charge.item.commitment
                line = self.lines[name, month]
                share, closes = (None, True) if own is None else in_force(self.snapshot, own.duration, MONTHS[month])
                invoiced = InvoicedUsage(
                    id=f"{name}-{month}",
                    invoice_id=f"inv-{month}",
                    billed=self.snapshot.id,
                    subscription_id=self.snapshot.id,
                    item_id=name,
                    price_id="price",
                    display_name=name,
                    window=MONTHS[month],
                    invoice_period=MONTHS[month],
                    watermark=1,
                    committed=own is not None,
                    edited=False,
                    measured=True,
                    amount=line.amount,
                    quantity=line.quantity,
                    usage=line.usage,
                    base=line.base,
                )
                found.append(
                    RecheckableLine(
                        invoiced,
                        self.snapshot,
                        plan,
                        None,
                        None if share is None else Committed(trues_up=closes, share=share),
                        pools[self.owner(name)],
                        commitment_window=span("2026-01-01", "2026-04-01"),
                        is_elsewhere=month != asked,
                    )
                )
        return found

    def make_good(self, asked: int, usages: Usages) -> None:
        """A correction of one month's invoice, and what it left to the next invoice on that."""
        lines = self.recheckable(asked)
        answers = answered([question for line in lines for question in line.ranges()], usages)
        charges = late_charges(lines, answers, NOW)
        before = self.total
        for line, charge in zip(lines, charges, strict=True):
            self._make_good(line, charge)
        due = exact_sum([charge.difference or NONE for charge in charges])
        assert self.total - before == due
        assert all(line.amount >= 0 for line in self.lines.values())
        assert all(amount >= 0 for amount in self.overage)

    def _make_good(self, line: RecheckableLine, charge: LateCharge) -> None:
        assert charge.amount is not None
        name, month = line.line.item_id, int(line.line.id.split("-")[1])
        account = self.lines[name, month]
        if not charge.difference:
            return
        for overage_id, taken in charge.overages:
            self.overage[int(overage_id.split("-")[1])] -= taken
        if charge.base is not None:
            owner = self.owner(name)
            self.used[owner] = self.used.get(owner, NONE) + charge.base
        made = late_line(line, charge)
        assert (made is not None) == (charge.difference > 0)
        assert made is None or (made.amount, made.base) == (charge.amount, charge.base)
        account.amount += charge.amount
        account.usage += charge.usage
        account.quantity = charge.rated.billable
        account.base = None


def answered(asked: Sequence[Question], usages: Usages) -> dict[Question, MeasuredUsage]:
    found: dict[Question, MeasuredUsage] = {}
    for question in asked:
        assert isinstance(question, UsageRange)
        month = next(number for number, period in enumerate(MONTHS) if period.contains(question.start))
        count = usages[question.meter_id, month]
        found[question] = MeasuredUsage(Usage(Decimal(count), count))
    return found


promises = st.builds(
    Promise,
    amount=st.integers(1, 60).map(Decimal),
    factor=st.sampled_from([Decimal(1), Decimal("1.25"), Decimal(2)]),
    true_up=st.booleans(),
    of_items=st.booleans(),
)
accounts = st.tuples(st.sampled_from(sorted(PRICES)), st.integers(0, len(MONTHS) - 1))
changes = st.lists(st.tuples(accounts, st.integers(0, 40)), max_size=4)
steps = st.lists(st.tuples(changes, st.one_of(st.just("bill"), st.integers(0, len(MONTHS) - 1))), max_size=8)


@settings(max_examples=examples(150, 1500))
@given(promises, st.lists(st.integers(0, 40), min_size=6, max_size=6), steps)
def test_any_order_comes_to_what_it_would_from_the_start(
    promise: Promise, first: list[int], story: list[tuple[list[tuple[tuple[str, int], int]], str | int]]
) -> None:
    """Months are billed, usage of any of them changes, and invoices are corrected in any order. Once each has been
    looked at, what was charged in all is what the usage would have cost if it had been there from the start."""
    usages: Usages = dict(zip(((name, month) for name in PRICES for month in range(3)), first, strict=True))
    books = Books(promise.snapshot())
    for changed, step in story:
        usages |= dict(changed)
        if step == "bill" and books.months < len(MONTHS):
            books.bill(usages)
        elif isinstance(step, int) and step < books.months:
            books.make_good(step, usages)
    while books.months < len(MONTHS):
        for month in range(books.months):
            books.make_good(month, usages)
        assert books.total == promise.costs(usages, books.months)
        books.bill(usages)
        assert books.total == promise.costs(usages, books.months)
    for month in range(books.months):
        books.make_good(month, usages)
    assert books.total == promise.costs(usages, len(MONTHS))
