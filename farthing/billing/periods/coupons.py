"""The coupons of subscriptions as invoices take them: which there are, what they have taken, what budgets have left.

Rule: docs/rules/discounts-and-taxes.md#which-lines-a-coupon-discounts
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from msgspec.structs import replace as with_fields
from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import DiscountShare
from farthing.billing.periods.history import COUNTING
from farthing.billing.tables import ProrationSettlement
from farthing.calendar.period import Period
from farthing.catalogue.discounts.attaching import AttachedCoupon, attached_to, predecessors_of
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.invoices.figures.coupon_reach import reaches, service_start
from farthing.invoices.figures.terms import Budget, CouponTerm
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.rating.totals.discounts import CouponType
from farthing.storage.documents import Document, decode_all, encode_all
from farthing.storage.queries.rows import in_array, not_in_array
from farthing.subscriptions.line_items.lineage import later_versions
from farthing.subscriptions.snapshot.service_periods import counted_periods, service_period_at
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem


class ReturnedDiscount(Document, frozen=True, kw_only=True):
    """A `DiscountShare` that a settlement gave back, as it is stored."""

    coupon_association_id: str
    period_start: datetime
    amount: str


def stored_shares(shares: Iterable[DiscountShare]) -> list[Any]:
    """Shares of budgets as a settlement's column keeps them; those of nothing are left out."""
    return encode_all(
        [
            ReturnedDiscount(
                coupon_association_id=share.association_id, period_start=share.period_start, amount=plain(share.amount)
            )
            for share in shares
            if share.amount and share.period_start is not None
        ]
    )


def returned_shares(column: Sequence[Any]) -> list[DiscountShare]:
    """The shares of budgets that a settlement's column keeps."""
    return [
        DiscountShare(discount.coupon_association_id, discount.period_start, Decimal(discount.amount))
        for discount in decode_all(ReturnedDiscount, column)
    ]


@dataclass(slots=True)
class SubscriptionCoupon:
    """A coupon of a subscription, as an invoice is about to take it.

    `item` is the line item that it is confined to. `is_budgeted` says that each service period has an amount, and
    `taken` what other invoices have taken of it, less what was returned, by the start of the period.
    """

    term: CouponTerm
    member: SubscriptionSnapshot
    item: LineItemSnapshot | None
    attached_at: tuple[datetime, str]
    is_budgeted: bool = False
    taken: dict[datetime, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))

    def take(self, period_start: datetime, amount: Decimal) -> None:
        """Count what an invoice took of the budget of a period; what a credit returns counts below 0."""
        self.taken[period_start] = EXACT.add(self.taken[period_start], amount)

    def budget_at(self, start: datetime) -> Budget:
        """The budget of the service period that holds a moment, with what is left of it."""
        period = service_period_at(self.member, self.item, start)
        taken = exact_sum([amount for begun, amount in self.taken.items() if period.contains(begun)])
        left = EXACT.subtract(Decimal(self.term.off), taken)
        return Budget(start=period.start, end=period.end, left=plain(max(left, ZERO)))


async def coupons_of(
    session: AsyncSession, members: Sequence[SubscriptionSnapshot], own: Collection[str]
) -> dict[str, list[SubscriptionCoupon]]:
    """The coupons of each subscription that may still discount something, in the order in which they were attached.

    `own` are the invoices that are being calculated: what they have taken is theirs.
    """
    attached = await attached_to(session, {member.id for member in members})
    everything = [coupon for coupons in attached.values() for coupon in coupons]
    if not everything:
        return {}
    used = await _used_elsewhere(session, everything, own)
    targets = {coupon.association.subscription_line_item_id for coupon in everything} - {None}
    later = await later_versions(session, {target for target in targets if target}) if targets else {}
    found = {
        member.id: [
            coupon
            for attached_coupon in attached[member.id]
            if attached_coupon.association.id not in used
            and (coupon := _subscription_coupon(attached_coupon, member, later)) is not None
        ]
        for member in members
    }
    await _count_taken(session, [coupon for coupons in found.values() for coupon in coupons if coupon.is_budgeted], own)
    return found


def _subscription_coupon(
    attached: AttachedCoupon, member: SubscriptionSnapshot, later: Mapping[str, Sequence[str]]
) -> SubscriptionCoupon | None:
    """None for a coupon whose periods are used up."""
    association, coupon = attached.association, attached.coupon
    target = association.subscription_line_item_id
    versions = () if target is None else (target, *_versions(target, member, later))
    item = next((item for version in versions if (item := member.item(version)) is not None), None)
    counted: Period | None = None
    if association.counted_from is not None:
        count = (coupon.duration_in_periods or 0) - association.periods_used
        counted = counted_periods(member, item, association.counted_from, count)
        if counted is None:
            return None
    term = with_fields(
        CouponTerm.of(coupon, target, association.id),
        also=versions[1:],
        start=association.start_date,
        end=association.cut_at,
        service_from=counted.start if counted else None,
        service_until=counted.end if counted else None,
    )
    budgeted = coupon.type is CouponType.FIXED and coupon.cadence is not CouponCadence.ONCE
    attached_at = (association.created_at, association.id)
    return SubscriptionCoupon(term, member, item, attached_at, is_budgeted=budgeted)


def _versions(target: str, member: SubscriptionSnapshot, later: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The versions that have replaced a line item, those of a preview among them."""
    stored = later.get(target, ())
    previewed = (item.id for item in member.items if item.replaces_id in {target, *stored} and item.id not in stored)
    return (*stored, *previewed)


async def _used_elsewhere(session: AsyncSession, attached: Sequence[AttachedCoupon], own: Collection[str]) -> set[str]:
    """The associations of coupons for one invoice that have discounted another that is not void, or whose predecessor
    has."""
    once = [coupon.association for coupon in attached if coupon.coupon.cadence is CouponCadence.ONCE]
    if not once:
        return set()
    chains = await predecessors_of(session, once)
    rows = await session.scalars(
        select(CouponApplicationRow.coupon_association_id)
        .join(Invoice, Invoice.id == CouponApplicationRow.invoice_id)
        .where(
            in_array(CouponApplicationRow.coupon_association_id, set(chain.from_iterable(chains.values()))),
            *_standing(own),
        )
    )
    applied = set(rows)
    return {association_id for association_id, lineage in chains.items() if applied.intersection(lineage)}


async def _count_taken(session: AsyncSession, coupons: Sequence[SubscriptionCoupon], own: Collection[str]) -> None:
    """Count what other invoices have taken of the budgets, less what credits gave back."""
    by_association = {coupon.term.coupon_association_id or "": coupon for coupon in coupons}
    if not by_association:
        return
    application = CouponApplicationRow
    rows = await session.execute(
        select(application.coupon_association_id, application.period_start, func.sum(application.charge_discount))
        .join(Invoice, Invoice.id == application.invoice_id)
        .where(
            in_array(application.coupon_association_id, by_association),
            application.period_start.is_not(None),
            *_standing(own),
        )
        .group_by(application.coupon_association_id, application.period_start)
    )
    for association_id, period_start, amount in rows:
        assert period_start is not None, "only these were asked for"
        by_association[association_id or ""].take(period_start, amount)
    settlement = ProrationSettlement
    columns = await session.scalars(
        select(settlement.returned_discounts).where(
            settlement.subscription_line_item_id.in_(_items_of({coupon.member.id for coupon in coupons})),
            settlement.status == Status.PUBLISHED,
            func.jsonb_array_length(settlement.returned_discounts) > 0,
        )
    )
    return_to_budgets(coupons, [share for column in columns for share in returned_shares(column)])


def _items_of(subscription_ids: Collection[str]) -> Select[str]:
    """The line items, ended ones too, of subscriptions and of the children whose lines their coupons reach."""
    family = select(Subscription.id).where(
        or_(
            in_array(Subscription.id, subscription_ids), in_array(Subscription.parent_subscription_id, subscription_ids)
        )
    )
    return select(SubscriptionLineItem.id).where(SubscriptionLineItem.subscription_id.in_(family))


def return_to_budgets(coupons: Iterable[SubscriptionCoupon], returned: Iterable[DiscountShare]) -> None:
    """Count discounts as not taken that credits give back."""
    by_association = {coupon.term.coupon_association_id: coupon for coupon in coupons}
    for share in returned:
        coupon = by_association.get(share.association_id)
        if coupon is not None and share.period_start is not None:
            coupon.take(share.period_start, share.amount.copy_negate())


def _standing(own: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """On an invoice that is not void, and not one of the caller's own."""
    return (
        CouponApplicationRow.status == Status.PUBLISHED,
        Invoice.status == Status.PUBLISHED,
        Invoice.invoice_status != InvoiceStatus.VOIDED,
        not_in_array(Invoice.id, own),
    )


def terms_on(
    coupons: Sequence[SubscriptionCoupon], billed: str, lines: Sequence[InvoiceLineItem], reference_date: datetime
) -> list[CouponTerm]:
    """The coupons as terms of an invoice of the subscription `billed` with these lines, in the order they apply: those
    of single line items first.

    Coupons of a grouped child, or of a member alone, discount its own lines only.
    """
    terms = []
    for coupon in sorted(coupons, key=lambda coupon: (coupon.term.target is None, coupon.attached_at)):
        term = coupon.term if coupon.member.id == billed else with_fields(coupon.term, subscription_id=coupon.member.id)
        if coupon.is_budgeted:
            starts = {service_start(line, reference_date) for line in lines if reaches(term, line, reference_date)}
            budgets = {budget.start: budget for budget in map(coupon.budget_at, starts)}
            term = with_fields(term, budgets=tuple(budgets[start] for start in sorted(budgets)))
        terms.append(term)
    return terms


async def carried_terms(session: AsyncSession, carried: Mapping[str, Sequence[DiscountShare]]) -> list[CouponTerm]:
    """What coupons for one invoice took off what goes on, as terms that take the same off the line items by whose ids
    the shares are given."""
    shares = [(item_id, share) for item_id, theirs in carried.items() for share in theirs if share.amount]
    if not shares:
        return []
    rows = await session.execute(
        select(CouponAssociation, CouponRow)
        .join(CouponRow, CouponRow.id == CouponAssociation.coupon_id)
        .where(in_array(CouponAssociation.id, {share.association_id for _, share in shares}))
    )
    coupons = {association.id: coupon for association, coupon in rows}
    return [
        with_fields(
            CouponTerm.of(coupons[share.association_id], item_id, share.association_id),
            type=CouponType.FIXED,
            off=plain(share.amount),
        )
        for item_id, share in shares
    ]


async def is_period_invoiced(
    session: AsyncSession, subscription_id: str, period: Period, line_item_id: str | None
) -> bool:
    """Whether a line whose service begins in the period stands on an invoice that is not void."""
    line = InvoiceLineItem
    query = (
        select(line.id)
        .join(Invoice, Invoice.id == line.invoice_id)
        .where(
            line.subscription_id == subscription_id,
            line.status == Status.PUBLISHED,
            line.period_start >= period.start,
            line.period_start < period.end,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(COUNTING),
        )
        .limit(1)
    )
    if line_item_id is not None:
        query = query.where(line.subscription_line_item_id == line_item_id)
    return await session.scalar(query) is not None
