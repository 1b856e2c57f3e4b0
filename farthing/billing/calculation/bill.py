"""A subscription's period as an invoice: the one calculation behind previews, drafts and final invoices. Pure.

Read it top to bottom: which charges (`charges`), what must be measured (`questions`), what each costs (`bill`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from farthing.billing.calculation.charges import (
    WHOLE,
    Charges,
    FixedCharge,
    InvoicedWindow,
    ItemTerms,
    charges_of,
    not_yet_invoiced,
    without_invoiced_onetime,
)
from farthing.billing.calculation.commitments import committed, in_force
from farthing.billing.calculation.draft import DraftLine, InvoiceDraft, explained
from farthing.billing.calculation.progressive import Charged, still_owed
from farthing.billing.calculation.service_time import seconds_of
from farthing.billing.calculation.unpaid_rest import unpaid_rests
from farthing.billing.calculation.usage_charges import Answers, Committed, Question, RatedUsage, UsagePlan, plan, rate
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, plain, round_to
from farthing.metering.meter import Meter
from farthing.rating.pricing.cost import explain
from farthing.subscriptions.enums import CommitmentType, InvoiceTrigger
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class CalculationInput:
    """One invoice to calculate: `period` of a subscription and its grouped children, because of `occasion`.

    `repeats`: charges that other invoices have already are shown again, as previews do.
    """

    snapshot: SubscriptionSnapshot
    occasion: InvoiceTrigger
    period: Period
    terms: ItemTerms = field(default_factory=ItemTerms)
    repeats: bool = False

    @property
    def logical(self) -> Period:
        """The period that allowances, tiers and commitments run over, threshold invoices or not."""
        return self.period if self.terms.since is None else Period(self.terms.since, self.period.end)

    @property
    def members(self) -> tuple[SubscriptionSnapshot, ...]:
        """Whose charges are on the invoice."""
        return (self.snapshot, *self.snapshot.grouped)


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """What one member is charged for on the invoice, and how each of its usage charges is measured and rated."""

    charges: Charges
    usage: Sequence[UsagePlan]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the subscription when an invoice is calculated at `now`.

    `meters` by id; `answers` to `questions`; `invoiced` by other invoices, threshold invoices aside; `charged` by the
    period's threshold invoices, by line key; `prior` base cost of the commitment windows, by subscription id and by
    line item id; `late` lines that earlier periods still owe; `planned` for each member by id, where `plan_members` has
    worked that out of the rest already.
    """

    now: datetime
    meters: Mapping[str, Meter] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    invoiced: Sequence[InvoicedWindow] = ()
    charged: Mapping[tuple[str, str, str], Charged] = field(default_factory=dict)
    prior: Mapping[str, Decimal] = field(default_factory=dict)
    late: Sequence[DraftLine] = ()
    planned: Mapping[str, MemberPlan] = field(default_factory=dict)


def plan_members(work: CalculationInput, known: Facts) -> dict[str, MemberPlan]:
    """What each member is charged for and how it will be measured, by id; `known` needs no answers for it."""
    return {member.id: _plan_member(work, member, known) for member in work.members}


def questions(planned: Mapping[str, MemberPlan]) -> Iterable[Question]:
    """All usage that `bill` will look up."""
    for member in planned.values():
        for usage_plan in member.usage:
            yield from usage_plan.ranges()


def _plan_member(work: CalculationInput, member: SubscriptionSnapshot, known: Facts) -> MemberPlan:
    charged = _charges(work, member, known)
    included = member.allowances(work.logical) if charged.usage else {}
    usage = [
        plan(member, charge, known.meters[charge.item.meter_id or ""], included.get(charge.item.meter_id or ""))
        for charge in charged.usage
    ]
    return MemberPlan(charged, usage)


def _charges(work: CalculationInput, member: SubscriptionSnapshot, known: Facts) -> Charges:
    """What one member is charged for on the invoice, without what others charge already."""
    found = charges_of(member, work.occasion, work.period, work.terms)
    rests = tuple(unpaid_rests(member, work.occasion, work.logical, known.invoiced))
    new = without_invoiced_onetime if work.repeats else not_yet_invoiced
    left = new(found, known.invoiced)
    return replace(left, arrear=(*left.arrear, *rests)) if rests else left


def bill(work: CalculationInput, known: Facts) -> InvoiceDraft:
    """The invoice: its lines in the order arrear fees, usage with what commitments make of it, advance fees; the
    subscription's own before its children's. A trial's opening is the first period for nothing."""
    lines: list[DraftLine] = []
    for member in work.members:
        lines += _lines_of(work, member, known)
    lines += known.late
    if work.occasion is InvoiceTrigger.TRIAL_START:
        lines = [replace(line, amount=ZERO) for line in lines]
    if work.occasion is InvoiceTrigger.THRESHOLD and not work.repeats:
        # an invoice amid the period names what was used; what only shows the period names every item
        lines = [line for line in lines if line.amount > 0 or line.quantity > 0]
    return InvoiceDraft(tuple(lines))


def _lines_of(work: CalculationInput, member: SubscriptionSnapshot, known: Facts) -> list[DraftLine]:
    digits = currency.digits(member.currency)
    planned = known.planned.get(member.id) or _plan_member(work, member, known)
    found = planned.charges
    trues_up = work.occasion is not InvoiceTrigger.THRESHOLD
    usage = [
        usage_line(member, usage_plan, rated)
        for usage_plan, rated in _rated(work, member, known, planned.usage, digits)
    ]
    if usage or (
        member.commitment is not None
        and work.occasion in {InvoiceTrigger.CYCLE, InvoiceTrigger.FINAL}
        and not _settles_elsewhere(work, member, found)
    ):
        usage = committed(
            member, usage, work.logical, digits, prior=known.prior.get(member.id, ZERO), trues_up=trues_up
        )
    usage = still_owed(usage, known.charged, pooled=member.commitment is not None)
    lines = [
        *(_fixed_line(member, charge, digits) for charge in found.arrear),
        *usage,
        *(_fixed_line(member, charge, digits) for charge in found.advance),
    ]
    if member is work.snapshot:
        return lines
    return [replace(line, metadata={**line.metadata, "child_customer_id": member.customer_id}) for line in lines]


def _settles_elsewhere(work: CalculationInput, member: SubscriptionSnapshot, left: Charges) -> bool:
    """Whether another invoice charges all usage of the period, and with it what the commitment makes of it."""
    return not left.usage and bool(charges_of(member, work.occasion, work.period, work.terms).usage)


def _rated(
    work: CalculationInput, member: SubscriptionSnapshot, known: Facts, planned: Sequence[UsagePlan], digits: int
) -> Iterator[tuple[UsagePlan, RatedUsage]]:
    """The usage charges of one member, each rated under its line item's commitment.

    Versions of an item that follow one another under the same commitment share it: a later one goes on where the
    earlier stopped, and only the last is trued up.
    """
    items = {usage_plan.charge.item.id: usage_plan.charge.item for usage_plan in planned}
    formers = {item.id: item.replaces_id for item in items.values() if goes_on(item, items.get(item.replaces_id or ""))}
    so_far: dict[str, Decimal] = {}
    for usage_plan in planned:
        item = usage_plan.charge.item
        before = so_far[formers[item.id] or ""] if item.id in formers else known.prior.get(item.id, ZERO)
        share, last = (WHOLE, True) if item.commitment is None else _in_force(member, item, work.logical)
        closes = last and item.id not in formers.values()
        committed_to = Committed(before, closes and work.occasion is not InvoiceTrigger.THRESHOLD, share)
        rated = rate(usage_plan, known.answers, digits, known.now, committed_to)
        so_far[item.id] = EXACT.add(before, rated.cost)
        yield usage_plan, rated


def goes_on(item: LineItemSnapshot, former: LineItemSnapshot | None) -> bool:
    """Whether the commitment of an item is that of the version before it."""
    if former is None or item.commitment is None or former.commitment is None or item.commitment.windowed:
        return False
    return item.commitment.promise == former.commitment.promise


def _in_force(member: SubscriptionSnapshot, item: LineItemSnapshot, period: Period) -> tuple[Fraction, bool]:
    """The share of the period in which an item's commitment is in force, and whether `period` closes its window."""
    assert item.commitment is not None
    return in_force(member, item.commitment.duration, period)


def _fixed_line(member: SubscriptionSnapshot, charge: FixedCharge, digits: int) -> DraftLine:
    """A fee: the price's cost of the item's quantity, times the share of the period, rounded once."""
    item = charge.item
    breakdown = explain(item.price, item.quantity)
    cost = breakdown.amount
    return DraftLine(
        kind=LineKind.FIXED,
        subscription_id=member.id,
        item=item,
        display_name=item.display_name or item.plan_display_name,
        plan_id=item.entity_id,
        plan_name=item.plan_display_name,
        start=charge.start,
        end=charge.end,
        amount=round_to(cost if charge.share == 1 else Fraction(cost) * charge.share, digits),
        quantity=item.quantity,
        rating=explained(breakdown, charge.share),
        whole_seconds=seconds_of(charge.service),
    )


def usage_line(member: SubscriptionSnapshot, plan: UsagePlan, rated: RatedUsage) -> DraftLine:
    """A usage charge as a line, before a commitment of the subscription."""
    item = plan.charge.item
    reset = plan.entitlement.reset if plan.entitlement is not None else None
    return DraftLine(
        kind=LineKind.USAGE,
        subscription_id=member.id,
        item=item,
        display_name=item.display_name or item.meter_display_name,
        plan_id=item.entity_id,
        plan_name=item.plan_display_name,
        start=plan.charge.window.start,
        end=plan.charge.window.end,
        amount=rated.amount,
        quantity=rated.billable,
        raw_usage=rated.raw,
        covered=rated.covered,
        base=rated.cost,
        rating=explained(rated.breakdown),
        commitment_info=commitment_info(item, rated),
        usage_windows=None if rated.over_quota is None else rated.over_quota.facts(item.id),
        metadata={"usage_reset_period": reset.value} if reset is not None else {},
    )


def commitment_info(item: LineItemSnapshot, rated: RatedUsage) -> dict[str, Any] | None:
    """What a line says of its item's own commitment; None without one."""
    charge = rated.commitment
    if charge is None:
        return None
    return {
        **_commitment_terms(item),
        **({} if rated.committed is None else {"amount_in_force": plain(rated.committed)}),
        "is_windowed": bool(item.buckets) or (item.commitment is not None and item.commitment.windowed),
        "computed_commitment_utilized_amount": plain(EXACT.add(charge.utilized, charge.uncommitted)),
        "computed_overage_amount": plain(charge.overage),
        "computed_true_up_amount": plain(charge.true_up),
    }


def _commitment_terms(item: LineItemSnapshot) -> dict[str, Any]:
    """The item's own commitment; nothing when only its times of day have one. A quantity's amount is what it costs."""
    if item.commitment is None:
        return {}
    terms, quantity, duration = item.commitment.terms, item.commitment.quantity, item.commitment.duration
    return {
        "type": (CommitmentType.AMOUNT if quantity is None else CommitmentType.QUANTITY).value,
        "amount": plain(terms.amount),
        **({} if quantity is None else {"quantity": plain(quantity)}),
        **({} if duration is None else {"duration": duration.value}),
        "overage_factor": plain(terms.overage_factor),
        "true_up_enabled": terms.true_up,
    }
