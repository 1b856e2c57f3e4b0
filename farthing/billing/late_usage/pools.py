"""Usage lines that share a commitment: one account of all of them, their overage and the true-up. Pure.

Those of a subscription's period share the subscription's, versions of an item that follow one another the item's; under
a commitment over several periods, the lines of all of its window's invoices share it. What one line comes to depends on
the others: more of one may only make the true-up smaller. So the whole is compared with what was charged of the whole,
and the difference is the lines' together.
Rule: docs/rules/late-usage.md#under-a-commitment-of-the-subscription
Rule: docs/rules/late-usage.md#under-a-commitment-over-several-periods
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from farthing.billing.calculation.commitments import committed
from farthing.billing.calculation.draft import DraftLine
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, allocate, exact_sum
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class PooledPeriod:
    """A billing period of a pool, its invoice, and what that charges beside its lines for all of them together:
    `true_up` to reach the commitment, and under one over several periods `overage`, less what corrections took back."""

    invoice_id: str
    period: Period
    true_up: Decimal = ZERO
    true_up_line_id: str | None = None
    overage: Decimal = ZERO
    overage_line_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitmentPool:
    """The usage of one subscription, or of `versions` of one of its items, the first first: of one invoice, or of those
    of a commitment's window, in their order. Unless `is_known`, more than its lines decides what it costs, or one of
    them cannot be told.

    `used` is what invoices and corrections have counted towards a commitment over several periods, at its cost before
    any factor, `prior` of it on invoices of another subscription before; None under one for each period.
    """

    subscription_id: str
    periods: tuple[PooledPeriod, ...]
    is_known: bool
    versions: tuple[str, ...] = ()
    used: Decimal | None = None
    prior: Decimal = ZERO

    @property
    def beside_lines(self) -> Decimal:
        """What was charged for all lines together."""
        return exact_sum([amount for period in self.periods for amount in (period.true_up, period.overage)])


@dataclass(frozen=True, slots=True)
class PooledLine:
    """A line of a pool: the invoice it is on, and what its usage costs before the commitment, as a draft's line."""

    invoice_id: str
    draft: DraftLine


@dataclass(frozen=True, slots=True)
class PeriodCharge:
    """What a period of a pool comes to now beside its lines."""

    true_up: Decimal = ZERO
    overage: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class PooledCharge:
    """What a pool was charged, and what it comes to now: in all, and beside its lines by period.

    `used` is what its usage costs now before any factor.
    """

    pool: CommitmentPool
    before: Decimal
    now: Decimal
    used: Decimal
    beside_lines: tuple[PeriodCharge, ...]


@dataclass(frozen=True, slots=True)
class PoolShares:
    """How the difference of a pool falls to its lines, and to the overage of all lines of each of its periods."""

    of_lines: Sequence[Decimal]
    of_overage: Sequence[Decimal]


def charge_again(
    pool: CommitmentPool, member: SubscriptionSnapshot, lines: Sequence[PooledLine], charged: Sequence[Decimal]
) -> tuple[PooledCharge, list[Decimal]]:
    """What a subscription's pool comes to now, and what each of its lines does, period by period; `lines` in the order
    in which they use it up, and what was `charged` of each."""
    digits, used = currency.digits(member.currency), pool.prior
    now = [ZERO] * len(lines)
    beside: list[PeriodCharge] = []
    for period in pool.periods:
        places = [place for place, line in enumerate(lines) if line.invoice_id == period.invoice_id]
        drafts = [lines[place].draft for place in places]
        made = committed(member, drafts, period.period, digits, prior=used, trues_up=True)
        for place, draft in zip(places, drafts, strict=True):
            now[place] = exact_sum(
                [part.amount for part in made if part.item is draft.item and part.start == draft.start]
            )
        of_all = [part for part in made if part.item is None]
        beside.append(
            PeriodCharge(
                true_up=exact_sum([part.amount for part in of_all if part.kind is LineKind.TRUE_UP]),
                overage=exact_sum([part.amount for part in of_all if part.kind is LineKind.OVERAGE]),
            )
        )
        used = exact_sum([used, *(draft.amount for draft in drafts)])
    before = exact_sum([pool.beside_lines, *charged])
    whole = exact_sum([*now, *(amount for period in beside for amount in (period.true_up, period.overage))])
    return PooledCharge(pool, before, whole, used, tuple(beside)), now


def shares_of(
    whole: PooledCharge, charged: Sequence[Decimal], now: Sequence[Decimal], costs_more: Sequence[Decimal], digits: int
) -> PoolShares:
    """How the difference of a pool falls to its lines; `costs_more`: what the new usage of each costs before the
    commitment, 0 where there is none.

    What is more falls to the lines with more usage, as they have more. What is less is taken of what comes to less, in
    order, and nothing is taken back of more than was charged. What stays is between lines and the true-up, and nobody's
    debt.
    """
    difference = EXACT.subtract(whole.now, whole.before)
    periods = whole.pool.periods
    if difference >= 0:
        weights = costs_more if any(costs_more) else [Decimal(1), *(ZERO for _ in charged[1:])]
        return PoolShares(allocate(difference, weights, digits), [ZERO for _ in periods])
    before = [*charged, *(period.overage for period in periods)]
    after = [*now, *(period.overage for period in whole.beside_lines)]
    fallen = [min(was, EXACT.subtract(was, comes_to)) for was, comes_to in zip(before, after, strict=True)]
    rest, first = _fill(EXACT.minus(difference), fallen)
    _, second = _fill(rest, [EXACT.subtract(was, taken) for was, taken in zip(before, first, strict=True)])
    shares = [EXACT.minus(EXACT.add(*pair)) for pair in zip(first, second, strict=True)]
    return PoolShares(shares[: len(charged)], shares[len(charged) :])


def _fill(amount: Decimal, room: Iterable[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """What is left of an amount, and what each takes of it, one after the other."""
    taken = []
    for space in room:
        part = max(min(space, amount), ZERO)
        amount = EXACT.subtract(amount, part)
        taken.append(part)
    return amount, taken
