"""Usage lines that share a commitment: one account of all of them and the true-up. Pure.

Those of a subscription's period share the subscription's, versions of an item that follow one another the item's. What
one line comes to depends on the others: more of one may only make the true-up smaller. So the whole is compared
with what was charged of the whole, and the difference is the lines' together.
Rule: docs/rules/late-usage.md#under-a-commitment-of-the-subscription
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from farthing.billing.calculation.commitments import committed, span_of
from farthing.billing.calculation.draft import DraftLine
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class CommitmentPool:
    """The usage of one subscription on one invoice, or of `versions` of one of its items, the first first. `true_up` is
    what was charged beside its lines to reach the commitment. Unless `is_known`, more than its lines decides what it
    costs, or one of them cannot be told."""

    invoice_id: str
    subscription_id: str
    period: Period
    true_up: Decimal
    true_up_line_id: str | None
    is_known: bool
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PooledLine:
    """A line of a pool: what was charged of it, and what its usage costs before the commitment, as a draft's line."""

    charged: Decimal
    draft: DraftLine


@dataclass(frozen=True, slots=True)
class PooledCharge:
    """What a pool was charged, and what it comes to now, in all and as true-up."""

    pool: CommitmentPool
    before: Decimal
    now: Decimal
    true_up: Decimal


def lasts_a_period(member: SubscriptionSnapshot, period: Period) -> bool:
    """Whether a commitment is one for each billing period: over several, more than one invoice decides."""
    return member.commitment is not None and span_of(member, member.commitment.duration, period) is None


def charge_again(
    pool: CommitmentPool, member: SubscriptionSnapshot, lines: Sequence[PooledLine]
) -> tuple[PooledCharge, list[Decimal]]:
    """What a pool comes to now, and what each of its lines does; `lines` in the order in which they use it up."""
    drafts = [line.draft for line in lines]
    made = committed(member, drafts, pool.period, currency.digits(member.currency), prior=ZERO, trues_up=True)
    true_up = exact_sum([line.amount for line in made if line.kind is LineKind.TRUE_UP])
    now = [exact_sum([part.amount for part in made if _is_of(part, draft)]) for draft in drafts]
    before = exact_sum([pool.true_up, *(line.charged for line in lines)])
    return PooledCharge(pool, before, exact_sum([true_up, *now]), true_up), now


def _is_of(part: DraftLine, draft: DraftLine) -> bool:
    return part.kind is not LineKind.TRUE_UP and part.item is draft.item and part.start == draft.start


def shares_of(difference: Decimal, charged: Sequence[Decimal], now: Sequence[Decimal]) -> list[Decimal]:
    """How the difference of a pool falls to its lines: to those that differ the same way first, in their order.

    No line is taken back more than was charged of it. What stays is between lines and the true-up, and nobody's debt.
    """
    if difference > 0:
        rest, shares = _fill(difference, [EXACT.subtract(*pair) for pair in zip(now, charged, strict=True)])
        return [EXACT.add(shares[0], rest), *shares[1:]]
    fallen = [min(before, EXACT.subtract(before, after)) for before, after in zip(charged, now, strict=True)]
    rest, first = _fill(EXACT.minus(difference), fallen)
    _, second = _fill(rest, [EXACT.subtract(before, taken) for before, taken in zip(charged, first, strict=True)])
    return [EXACT.minus(EXACT.add(*pair)) for pair in zip(first, second, strict=True)]


def _fill(amount: Decimal, room: Iterable[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """What is left of an amount, and what each takes of it, one after the other."""
    taken = []
    for space in room:
        part = max(min(space, amount), ZERO)
        amount = EXACT.subtract(amount, part)
        taken.append(part)
    return amount, taken
