"""What has changed on lines that were measured again, and the lines that charge it. Pure.

Rule: docs/rules/late-usage.md#what-is-charged
Rule: docs/rules/late-usage.md#under-a-commitment-of-the-subscription
Rule: docs/rules/late-usage.md#under-a-commitment-over-several-periods
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from farthing.billing.calculation.bill import commitment_info, usage_line
from farthing.billing.calculation.draft import DraftLine, explained
from farthing.billing.calculation.usage_charges import Answers, Committed, RatedUsage, rate, rate_at_cost
from farthing.billing.late_usage.detection import NotCharged, RecheckableLine
from farthing.billing.late_usage.pools import (
    CommitmentPool,
    PeriodCharge,
    PooledCharge,
    PooledLine,
    PoolShares,
    charge_again,
    shares_of,
)
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.metering.quantity import FRACTION_DIGITS
from farthing.rating.pricing.cost import explain


@dataclass(frozen=True, slots=True)
class LateCharge:
    """What a line's usage comes to now. `usage` and `amount` are what has not been charged; below 0 when corrections
    and deletions took more away than came. `amount` None where a commitment decides what usage costs.

    `worth` is what the whole costs now. It differs from what was charged by `amount`, but in a pool: there `amount` is
    the line's share of the pool's difference. What a pool has charged too much as overage of all its lines is taken
    back of `overages`, rows by id, on account of the first line that has less usage. `base` is what the usage of a pool
    under a commitment over several periods costs more or less before any factor, told of one of the lines that differ.
    """

    current: Decimal
    usage: Decimal
    amount: Decimal | None
    worth: Decimal | None
    not_charged: NotCharged | None
    rated: RatedUsage
    pooled: PooledCharge | None = None
    overages: tuple[tuple[str, Decimal], ...] = ()
    base: Decimal | None = None

    @property
    def difference(self) -> Decimal | None:
        """`amount` less what is taken back of overage of all lines."""
        if self.amount is None:
            return None
        return EXACT.subtract(self.amount, exact_sum([taken for _, taken in self.overages]))


def late_charges(lines: Sequence[RecheckableLine], answers: Answers, now: datetime) -> list[LateCharge]:
    """What has changed on each line; `lines` of an invoice are all there, as a pool needs all of its own. Pure."""
    found = [_alone(recheckable, answers, now) for recheckable in lines]
    by_pool: dict[CommitmentPool, list[int]] = defaultdict(list)
    for place, recheckable in enumerate(lines):
        if recheckable.pool is not None and recheckable.pool.is_known:
            by_pool[recheckable.pool].append(place)
    for pool, places in by_pool.items():
        theirs, alone = [lines[place] for place in places], [found[place] for place in places]
        for place, charge in zip(places, _in_pool(pool, theirs, alone), strict=True):
            found[place] = charge
    return found


def _alone(recheckable: RecheckableLine, answers: Answers, now: datetime) -> LateCharge:
    """What has changed on a line that decides alone what it costs, or of which nobody can tell."""
    line = recheckable.line
    digits = currency.digits(recheckable.member.currency)
    again = rate(recheckable.plan, answers, digits, now, recheckable.committed)
    usage = EXACT.subtract(again.raw, line.usage)
    if recheckable.pool is None:
        is_unknown = recheckable.commitment_window is not None
    else:
        is_unknown = not recheckable.pool.is_known
    if is_unknown or recheckable.kept is NotCharged.COMMITMENT:
        return LateCharge(again.raw, usage, None, None, recheckable.kept or NotCharged.COMMITMENT, again)
    if recheckable.is_forgotten:
        again, usage = _as_it_was(recheckable, again, digits), ZERO
    # the same usage costs what it was invoiced for, whatever has become of allowances since
    amount = ZERO if usage == 0 else EXACT.subtract(again.amount, line.amount)
    worth = EXACT.add(line.amount, amount)
    return LateCharge(again.raw, usage, amount, worth, recheckable.kept or _negative(usage, amount), again)


def _as_it_was(recheckable: RecheckableLine, again: RatedUsage, digits: int) -> RatedUsage:
    """What was invoiced of a line whose events are kept no longer."""
    line = recheckable.line
    cost = line.base
    if cost is None:
        bucketed = recheckable.plan.meter.aggregation.bucket_size is not None
        by_quantity = not bucketed and again.over_quota is None
        cost = explain(recheckable.plan.charge.item.price, line.quantity).amount if by_quantity else again.cost
    return replace(again, raw=line.usage, billable=line.quantity, cost=cost, amount=round_to(cost, digits))


def _in_pool(pool: CommitmentPool, lines: Sequence[RecheckableLine], found: Sequence[LateCharge]) -> list[LateCharge]:
    """The same for the lines of a pool, of which each has its share of what the whole differs by."""
    digits = currency.digits(lines[0].member.currency)
    charged = [recheckable.line.amount for recheckable in lines]
    lasts = pool.used is not None
    # what was a draft while another invoice of the window was corrected may be off by what that has moved
    is_as_invoiced = not lasts or all(line.line.base is not None for line in lines)
    if pool.versions:
        found, whole, now = _versions_again(pool, lines, found)
    if is_as_invoiced and all(charge.usage == 0 for charge in found):
        return _unchanged(pool, lines, found)
    if not pool.versions:
        drafts = [
            PooledLine(recheckable.line.invoice_id, _draft_of(recheckable, charge))
            for recheckable, charge in zip(lines, found, strict=True)
        ]
        whole, now = charge_again(pool, lines[0].member, drafts, charged)
    shares = shares_of(whole, charged, now, [_cost_of_more(charge) for charge in found], digits)
    charges = [
        replace(charge, amount=share, worth=worth, not_charged=_negative_in_pool(charge.usage, share), pooled=whole)
        for charge, share, worth in zip(found, shares.of_lines, now, strict=True)
    ]
    return _with_overages(pool, charges, shares, whole) if lasts else charges


def _cost_of_more(charge: LateCharge) -> Decimal:
    """What the usage that is new costs, as the whole does on an average."""
    if charge.usage <= 0 or charge.rated.raw <= 0:
        return ZERO
    return round_to(Fraction(charge.rated.cost) * Fraction(charge.usage) / Fraction(charge.rated.raw), FRACTION_DIGITS)


def _with_overages(
    pool: CommitmentPool, charges: Sequence[LateCharge], shares: PoolShares, whole: PooledCharge
) -> list[LateCharge]:
    """The lines of a commitment over several periods, with what is taken back of overage, and what was used."""
    made = list(charges)
    less = next((place for place, charge in enumerate(made) if charge.usage < 0), 0)
    overages = tuple(
        (period.overage_line_id, EXACT.minus(share))
        for period, share in zip(pool.periods, shares.of_overage, strict=True)
        if share < 0 and period.overage_line_id is not None
    )
    made[less] = replace(made[less], overages=overages)
    differing = [place for place, charge in enumerate(made) if charge.difference]
    if differing:
        told = less if less in differing else differing[0]
        made[told] = replace(made[told], base=EXACT.subtract(whole.used, pool.used or ZERO))
    return made


def _versions_again(
    pool: CommitmentPool, lines: Sequence[RecheckableLine], found: Sequence[LateCharge]
) -> tuple[list[LateCharge], PooledCharge, list[Decimal]]:
    """What versions of an item come to now under one commitment, and each of their lines: a version goes on where the
    one before it stopped, and the last on the invoice that closes the commitment is trued up."""
    digits, prior = currency.digits(lines[0].member.currency), pool.prior
    invoices = [period.invoice_id for period in pool.periods]
    order = sorted(
        range(len(lines)),
        key=lambda place: (
            invoices.index(lines[place].line.invoice_id),
            pool.versions.index(lines[place].line.item_id),
        ),
    )
    last_on = {lines[place].line.invoice_id: place for place in order}
    rated = list(found)
    for place in order:
        recheckable, charge = lines[place], found[place]
        own = recheckable.committed or Committed()
        trues_up = own.trues_up and last_on[recheckable.line.invoice_id] == place
        # the same usage costs what it was invoiced for, whatever has become of allowances since
        cost = recheckable.line.base if charge.usage == 0 else None
        again = rate_at_cost(
            recheckable.plan.charge.item, charge.rated, cost, Committed(prior, trues_up, own.share), digits
        )
        rated[place] = replace(charge, rated=again)
        prior = EXACT.add(prior, again.cost)
    now = [charge.rated.amount for charge in rated]
    before = exact_sum([recheckable.line.amount for recheckable in lines])
    beside = tuple(PeriodCharge() for _ in pool.periods)
    return rated, PooledCharge(pool, before, exact_sum(now), prior, beside), now


def _unchanged(pool: CommitmentPool, lines: Sequence[RecheckableLine], found: Sequence[LateCharge]) -> list[LateCharge]:
    before = exact_sum([pool.beside_lines, *(recheckable.line.amount for recheckable in lines)])
    beside = tuple(PeriodCharge(period.true_up, period.overage) for period in pool.periods)
    same = PooledCharge(pool, before, before, pool.used or ZERO, beside)
    return [
        replace(charge, amount=ZERO, worth=recheckable.line.amount, not_charged=None, pooled=same)
        for charge, recheckable in zip(found, lines, strict=True)
    ]


def _draft_of(recheckable: RecheckableLine, charge: LateCharge) -> DraftLine:
    draft = usage_line(recheckable.member, recheckable.plan, charge.rated)
    # the same usage costs what it was invoiced for, whatever has become of allowances since
    is_same = charge.usage == 0 and recheckable.line.base is not None
    return replace(draft, amount=recheckable.line.base or ZERO) if is_same else draft


def _negative(usage: Decimal, amount: Decimal) -> NotCharged | None:
    return NotCharged.NEGATIVE if usage < 0 or amount < 0 else None


def _negative_in_pool(usage: Decimal, share: Decimal) -> NotCharged | None:
    """What falls to a line is charged, whichever line of the pool it came from."""
    return None if share > 0 else _negative(usage, share)


def late_line(recheckable: RecheckableLine, found: LateCharge) -> DraftLine | None:
    """The line that charges what came late; None when there is nothing to charge. Pure."""
    line, item = recheckable.line, recheckable.plan.charge.item
    if found.amount is None or found.amount <= 0:
        return None
    costs_more = recheckable.is_left_by_correction and found.not_charged is NotCharged.NEGATIVE
    if found.not_charged is not None and not costs_more:
        return None
    quantity = max(EXACT.subtract(found.rated.billable, line.quantity), ZERO)
    of_child = line.subscription_id != line.billed
    return DraftLine(
        kind=LineKind.LATE_USAGE,
        subscription_id=line.subscription_id,
        item=item,
        display_name=f"{line.display_name} (Late Usage)",
        plan_id=item.entity_id,
        plan_name=item.plan_display_name,
        start=line.window.start,
        end=line.window.end,
        amount=found.amount,
        quantity=quantity,
        raw_usage=found.usage,
        covered=max(EXACT.subtract(found.usage, quantity), ZERO),
        base=None if found.base is None else max(found.base, ZERO),
        rating={
            **explained(found.rated.breakdown),
            "current_usage": plain(found.current),
            "charged_before": plain(line.amount),
            **_pool_facts(found.pooled),
        },
        commitment_info=commitment_info(item, found.rated),
        usage_windows=None if found.rated.over_quota is None else found.rated.over_quota.facts(item.id),
        late_for_line_id=line.id,
        metadata={"child_customer_id": recheckable.member.customer_id} if of_child else {},
    )


def _pool_facts(pooled: PooledCharge | None) -> dict[str, str]:
    """What the commitment that it shares makes of the whole, beside what was charged of it."""
    if pooled is None:
        return {}
    pool = pooled.pool
    return {
        "pool_invoice_id": pool.periods[0].invoice_id,
        "pool_charged_before": plain(pooled.before),
        "pool_now": plain(pooled.now),
        **({"pool_item_id": pool.versions[-1]} if pool.versions else {}),
        **({} if pool.used is None else {"pool_used_before": plain(pool.used), "pool_used_now": plain(pooled.used)}),
    }
