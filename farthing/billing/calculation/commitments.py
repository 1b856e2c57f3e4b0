"""A subscription's commitment over the usage lines of one invoice. Pure.

The arithmetic is `rating.commitments.subscription_commitment`; here is which of the two applies to a period, and which
lines it makes.
Rule: docs/rules/commitments.md#subscription-level
Rule: docs/rules/commitments.md#cumulative
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from farthing.billing.calculation.draft import DraftLine
from farthing.billing.calculation.service_time import ServiceSpan, period_span
from farthing.calendar.billing import MONTHS, BillingPeriod, Recurrence
from farthing.calendar.period import Period
from farthing.calendar.recurring import closes_window, commitment_window
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, round_to
from farthing.rating.commitments.subscription_commitment import (
    CommittedLine,
    UsageCharge,
    cumulative_commitment,
    split_commitment,
)
from farthing.rating.pricing.price import BillingModel
from farthing.subscriptions.snapshot.values import SubscriptionCommitment, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class CommitmentSpan:
    """The window that a commitment over several periods is in, and whether a period closes it."""

    window: Period
    closes: bool


def span_of(snapshot: SubscriptionSnapshot, duration: BillingPeriod | None, period: Period) -> CommitmentSpan | None:
    """Where a commitment of `duration` stands in `period`; None when it is one per billing period."""
    if duration is None or not _outlasts(duration, snapshot.recurrence):
        return None
    window = commitment_window(snapshot.start, duration, period.start, snapshot.recurrence.zone)
    return CommitmentSpan(window, closes_window(period, window))


_DAYS = {BillingPeriod.DAILY: 1, BillingPeriod.WEEKLY: 7, **{period: 30 * months for period, months in MONTHS.items()}}


def _outlasts(duration: BillingPeriod, recurrence: Recurrence) -> bool:
    """Whether `duration` is longer than a billing period, a month counting as thirty days."""
    return _DAYS[duration] > _DAYS[recurrence.period] * recurrence.count


def in_force(snapshot: SubscriptionSnapshot, duration: BillingPeriod | None, period: Period) -> tuple[Fraction, bool]:
    """The share of a commitment's window in which it is in force, and whether `period` closes the window.

    The subscription's end cuts a window where that end prorates; a first, shorter billing period is a part too.
    Rule: docs/rules/commitments.md#part-periods
    """
    cut = snapshot.ends_at if snapshot.prorates_end else None
    span = span_of(snapshot, duration, period)
    if span is None:
        service = period_span(snapshot, period)
        return service.share(service.planned(cut)), True
    window = span.window
    if cut is None or cut >= window.end:
        return Fraction(1), span.closes
    service = ServiceSpan(window.start, window.duration, window.duration, snapshot.service_pauses)
    return service.share(service.planned(cut)), span.closes or period.end >= cut


def committed(
    snapshot: SubscriptionSnapshot,
    lines: Sequence[DraftLine],
    period: Period,
    digits: int,
    *,
    prior: Decimal,
    trues_up: bool,
) -> list[DraftLine]:
    """The usage lines of `period` under the subscription's commitment: cut where it ends, overage and true-up added.

    `prior` is the base cost of the earlier periods of its window. `trues_up`: whether this invoice may, as one in
    mid-period may not.
    """
    commitment = snapshot.commitment
    if commitment is None:
        return list(lines)
    share, closes = in_force(snapshot, commitment.duration, period)
    if share != 1:
        commitment = replace(commitment, amount=round_to(Fraction(commitment.amount) * share, digits))
    charges = [
        UsageCharge(str(place), line.quantity, line.amount, _unit_amount(line)) for place, line in enumerate(lines)
    ]
    span = span_of(snapshot, commitment.duration, period)
    if span is None:
        split = split_commitment(
            charges,
            commitment.amount,
            commitment.overage_factor,
            true_up=commitment.true_up and trues_up,
            digits=digits,
        )
        within = {part.charge_id for part in split.lines if not part.overage}
        made = [
            _line(lines[int(part.charge_id)], part, commitment, follows=part.overage and part.charge_id in within)
            for part in split.lines
        ]
        used = EXACT.subtract(commitment.amount, split.unused)
        return made + _true_up(snapshot, period, split.true_up, commitment, used)
    charged = cumulative_commitment(
        charges,
        commitment.amount,
        commitment.overage_factor,
        prior=prior,
        closes_window=closes,
        true_up=commitment.true_up and trues_up,
        digits=digits,
    )
    made = [_line(lines[int(part.charge_id)], part, commitment) for part in charged.lines]
    if charged.overage_base > 0:
        made.append(_overage(snapshot, period, charged.overage, charged.overage_base, commitment))
    used = EXACT.subtract(commitment.amount, charged.true_up)
    return made + _true_up(snapshot, period, charged.true_up, commitment, used)


def _unit_amount(line: DraftLine) -> Decimal | None:
    """A flat fee's amount; any other line is counted by what one unit came to."""
    plain_price = line.item is not None and line.item.commitment is None
    if plain_price and line.item is not None and line.item.price.model is BillingModel.FLAT_FEE:
        return line.item.price.amount
    return None


def _line(
    line: DraftLine, part: CommittedLine, commitment: SubscriptionCommitment, *, follows: bool = False
) -> DraftLine:
    """A part of a charge; what was measured stands on the first, so not on an overage that `follows` another."""
    if not part.overage:
        if part.amount == line.amount and part.quantity == line.quantity:
            return replace(line, base=part.base)
        return replace(line, amount=part.amount, quantity=part.quantity, base=part.base)
    return replace(
        line,
        kind=LineKind.OVERAGE,
        display_name=f"{line.display_name} (Overage)",
        amount=part.amount,
        quantity=part.quantity,
        base=part.base,
        raw_usage=None if follows else line.raw_usage,
        covered=None if follows else line.covered,
        overage_factor=commitment.overage_factor,
    )


def _overage(
    snapshot: SubscriptionSnapshot, period: Period, amount: Decimal, base: Decimal, commitment: SubscriptionCommitment
) -> DraftLine:
    line = _of_the_whole(snapshot, period, LineKind.OVERAGE, "Overage", amount)
    return replace(line, base=base, overage_factor=commitment.overage_factor)


def _true_up(
    snapshot: SubscriptionSnapshot, period: Period, amount: Decimal, commitment: SubscriptionCommitment, used: Decimal
) -> list[DraftLine]:
    if amount == ZERO:
        return []
    line = _of_the_whole(snapshot, period, LineKind.TRUE_UP, "True Up", amount)
    return [replace(line, commitment_amount=commitment.amount, commitment_utilized=used)]


def _of_the_whole(
    snapshot: SubscriptionSnapshot, period: Period, kind: LineKind, name: str, amount: Decimal
) -> DraftLine:
    """A line that charges for no item but for the subscription as a whole."""
    return DraftLine(
        kind=kind,
        subscription_id=snapshot.id,
        item=None,
        display_name=f"{snapshot.plan_name} {name}",
        plan_id=snapshot.plan_id,
        plan_name=snapshot.plan_name,
        start=period.start,
        end=period.end,
        amount=amount,
        quantity=Decimal(1),
    )
