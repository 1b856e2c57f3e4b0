"""What has changed on lines that were measured again, and the lines that charge it. Pure.

Rule: docs/rules/late-usage.md#what-is-charged
Rule: docs/rules/late-usage.md#under-a-commitment-of-the-subscription
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from farthing.billing.calculation.bill import commitment_info, usage_line
from farthing.billing.calculation.charges import WHOLE
from farthing.billing.calculation.draft import DraftLine, explained
from farthing.billing.calculation.usage_charges import Answers, Committed, RatedUsage, rate, rate_at_cost
from farthing.billing.late_usage.detection import NotCharged, RecheckableLine
from farthing.billing.late_usage.pools import CommitmentPool, PooledCharge, PooledLine, charge_again, shares_of
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, exact_sum, plain


@dataclass(frozen=True, slots=True)
class LateCharge:
    """What a line's usage comes to now. `usage` and `amount` are what has not been charged; below 0 when corrections
    and deletions took more away than came. `amount` None where a commitment decides what usage costs.

    `worth` is what the whole costs now. It differs from what was charged by `amount`, but in a pool: there `amount` is
    the line's share of the pool's difference.
    """

    current: Decimal
    usage: Decimal
    amount: Decimal | None
    worth: Decimal | None
    not_charged: NotCharged | None
    rated: RatedUsage
    pooled: PooledCharge | None = None


def late_charges(lines: Sequence[RecheckableLine], answers: Answers, now: datetime) -> list[LateCharge]:
    """What has changed on each line; `lines` of an invoice are all there, as a pool needs all of its own. Pure."""
    found = [_alone(recheckable, answers, now) for recheckable in lines]
    by_pool: dict[CommitmentPool, list[int]] = defaultdict(list)
    for place, recheckable in enumerate(lines):
        if recheckable.pool is not None and recheckable.pool.is_known:
            by_pool[recheckable.pool].append(place)
    for pool, places in by_pool.items():
        theirs, alone = [lines[place] for place in places], [found[place] for place in places]
        pooled = _of_versions(pool, theirs, alone) if pool.versions else _in_pool(pool, theirs, alone)
        for place, charge in zip(places, pooled, strict=True):
            found[place] = charge
    return found


def _alone(recheckable: RecheckableLine, answers: Answers, now: datetime) -> LateCharge:
    """What has changed on a line that decides alone what it costs, or of which nobody can tell."""
    line = recheckable.line
    digits = currency.digits(recheckable.member.currency)
    again = rate(recheckable.plan, answers, digits, now, recheckable.committed)
    usage = EXACT.subtract(again.raw, line.usage)
    in_unknown_pool = recheckable.pool is not None and not recheckable.pool.is_known
    if recheckable.kept is NotCharged.COMMITMENT or in_unknown_pool:
        return LateCharge(again.raw, usage, None, None, recheckable.kept, again)
    # the same usage costs what it was invoiced for, whatever has become of allowances since
    amount = ZERO if usage == 0 else EXACT.subtract(again.amount, line.amount)
    worth = EXACT.add(line.amount, amount)
    return LateCharge(again.raw, usage, amount, worth, recheckable.kept or _negative(usage, amount), again)


def _of_versions(
    pool: CommitmentPool, lines: Sequence[RecheckableLine], found: Sequence[LateCharge]
) -> list[LateCharge]:
    """The same for versions of an item under one commitment: each goes on where the one before it stopped, and the last
    is trued up."""
    digits, prior = currency.digits(lines[0].member.currency), ZERO
    rated = {}
    for item_id in pool.versions:
        place = next(place for place, recheckable in enumerate(lines) if recheckable.line.item_id == item_id)
        recheckable, charge = lines[place], found[place]
        share = WHOLE if recheckable.committed is None else recheckable.committed.share
        committed = Committed(prior, trues_up=item_id == pool.versions[-1], share=share)
        # the same usage costs what it was invoiced for, whatever has become of allowances since
        cost = recheckable.line.base if charge.usage == 0 else None
        rated[place] = rate_at_cost(recheckable.plan.charge.item, charge.rated, cost, committed, digits)
        prior = EXACT.add(prior, rated[place].cost)
    found = [replace(charge, rated=rated[place]) for place, charge in enumerate(found)]
    if all(charge.usage == 0 for charge in found):
        return _unchanged(pool, lines, found)
    charged = [recheckable.line.amount for recheckable in lines]
    now = [charge.rated.amount for charge in found]
    whole = PooledCharge(pool, exact_sum(charged), exact_sum(now), ZERO)
    shares = shares_of(EXACT.subtract(whole.now, whole.before), charged, now)
    return [
        replace(
            charge,
            amount=share,
            worth=worth,
            not_charged=_negative_in_pool(charge.usage, share),
            pooled=whole,
        )
        for charge, share, worth in zip(found, shares, now, strict=True)
    ]


def _unchanged(pool: CommitmentPool, lines: Sequence[RecheckableLine], found: Sequence[LateCharge]) -> list[LateCharge]:
    before = exact_sum([pool.true_up, *(recheckable.line.amount for recheckable in lines)])
    same = PooledCharge(pool, before, before, pool.true_up)
    return [
        replace(charge, amount=ZERO, worth=recheckable.line.amount, not_charged=None, pooled=same)
        for charge, recheckable in zip(found, lines, strict=True)
    ]


def _in_pool(pool: CommitmentPool, lines: Sequence[RecheckableLine], found: Sequence[LateCharge]) -> list[LateCharge]:
    """The same for the lines of a pool, of which each has its share of what the whole differs by."""
    charged = [recheckable.line.amount for recheckable in lines]
    if all(charge.usage == 0 for charge in found):
        return _unchanged(pool, lines, found)
    drafts = [
        PooledLine(recheckable.line.amount, _draft_of(recheckable, charge))
        for recheckable, charge in zip(lines, found, strict=True)
    ]
    whole, now = charge_again(pool, lines[0].member, drafts)
    shares = shares_of(EXACT.subtract(whole.now, whole.before), charged, now)
    return [
        replace(charge, amount=share, worth=worth, not_charged=_negative_in_pool(charge.usage, share), pooled=whole)
        for charge, share, worth in zip(found, shares, now, strict=True)
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
    return {
        "pool_invoice_id": pooled.pool.invoice_id,
        "pool_charged_before": plain(pooled.before),
        "pool_now": plain(pooled.now),
        **({"pool_item_id": pooled.pool.versions[-1]} if pooled.pool.versions else {}),
    }
