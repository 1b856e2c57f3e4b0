"""Settling changes in mid-period: what was paid is looked up, the difference invoiced or given back, once.

The amounts are `proration.prorated`'s, for previews and executions alike.
Rule: docs/rules/proration.md#settlement
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.draft import explained
from farthing.billing.calculation.proration import Proration, SettledChange, prorated
from farthing.billing.calculation.service_time import seconds_of
from farthing.billing.changes.fee_sources import FeeSources, find_fee_sources
from farthing.billing.changes.give_back import ReturnedCredit, give_back, settled_before
from farthing.billing.changes.prepaid_fees import served
from farthing.billing.periods.coupons import carried_terms, coupons_of, return_to_budgets, stored_shares, terms_on
from farthing.billing.periods.drafts import in_price_unit, recomputable
from farthing.billing.tables import ProrationSettlement
from farthing.catalogue.taxes.choosing import auto_apply_associations
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.core import currency
from farthing.core.clock import instant
from farthing.core.enums import LineKind, PriceType
from farthing.core.errors import AlreadyExists
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.invoicing.wallets import lock_wallets_in
from farthing.credits.notes.lifecycle.settlements import SettlementCause
from farthing.credits.notes.tables import CreditNoteReason
from farthing.customers.tables import Customer
from farthing.invoices.figures.computation import charge_line, compute, is_exempt
from farthing.invoices.figures.coupon_reach import coupons_reaching
from farthing.invoices.figures.settlement import settle
from farthing.invoices.figures.tax_points import rates_carried
from farthing.invoices.figures.terms import CouponTerm, TaxTerm, stored
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import drafts, transitions
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.rating.pricing.cost import explain
from farthing.rating.totals.calculation import invoice_totals
from farthing.storage.queries.rows import unique
from farthing.subscriptions.item_changes import ItemChange
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class ProrationResult:
    """What a settlement came to: an invoice of charges that credits did not cover, or that coupons lowered; what was
    given back of credits that no charge took."""

    proration: Proration
    invoice: Invoice | None = None
    returned: ReturnedCredit = field(default_factory=ReturnedCredit)


@dataclass(frozen=True, slots=True)
class Discounted:
    """What changes are worth, and the terms of the coupons that lower their charges."""

    proration: Proration
    coupons: list[CouponTerm]


async def proration_of(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    changes: Sequence[ItemChange],
    sources: FeeSources | None = None,
) -> Proration:
    """What changes are worth, given what was invoiced and credited. Writes nothing.

    `snapshot` is the subscription in whose open period the changes fall; `sources` are looked up unless they are known.
    """
    if sources is None:
        sources = await find_fee_sources(session, snapshot, changes, lock=False)
    return (await _discounted(session, snapshot, changes, sources)).proration


async def _discounted(
    session: AsyncSession, snapshot: SubscriptionSnapshot, changes: Sequence[ItemChange], sources: FeeSources
) -> Discounted:
    """What changes are worth, with what coupons take off the charges and the taxes that they carry.

    Rule: docs/rules/proration.md#coupons-on-charges
    """
    proration = sources.attributed(prorated(snapshot, changes, await served(session, snapshot, changes)))
    lines = {
        position: _line(change, change.charge) for position, change in enumerate(proration.changes) if change.charge
    }
    if not lines:
        return Discounted(proration, [])
    start = min(change.change.at for change in proration.changes)
    terms = await _tax_terms(session, snapshot)
    rates = {position: rates_carried(line, start, terms) for position, line in lines.items()}
    discounts, coupons = await _discounts(session, snapshot, proration, lines, start)
    changed = [
        replace(change, charge_rates=rates.get(position, frozenset()), discount=discounts.get(str(position), ZERO))
        for position, change in enumerate(proration.changes)
    ]
    return Discounted(Proration(tuple(changed)), coupons)


async def _tax_terms(session: AsyncSession, snapshot: SubscriptionSnapshot) -> list[TaxTerm]:
    """The taxes that a charge of the subscription carries now; none where its payer is exempt."""
    payer = await session.get(Customer, snapshot.payer_id)
    if is_exempt(payer):
        return []
    paid_in = (payer.billing_currency if payer is not None else None) or snapshot.currency
    taxes = await auto_apply_associations(session, TaxEntityType.SUBSCRIPTION, snapshot.billed_with, paid_in)
    return [TaxTerm.of(tax.rate, tax.association) for tax in taxes]


async def _discounts(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    proration: Proration,
    lines: dict[int, InvoiceLineItem],
    at: datetime,
) -> tuple[dict[str, Decimal], list[CouponTerm]]:
    """What coupons take off charges, by the position of their change, and the terms of these coupons."""
    members = [snapshot]
    if snapshot.billed_with != snapshot.id:
        members.append(await loading.load_one(session, snapshot.billed_with))
    coupons = [coupon for found in (await coupons_of(session, members, ())).values() for coupon in found]
    carried = {
        change.change.after.id: change.carried for change in proration.changes if change.change.after is not None
    }
    carried_on = await carried_terms(session, carried)
    if not coupons and not carried_on:
        return {}, []
    return_to_budgets(coupons, [share for change in proration.changes for share in change.returned])
    for position, line in lines.items():
        line.id = str(position)
    charged = list(lines.values())
    terms = [*carried_on, *terms_on(coupons, members[-1].id, charged, at)]
    totals = invoice_totals(
        [charge_line(line) for line in charged],
        currency.digits(snapshot.currency),
        coupons=coupons_reaching(terms, charged, at),
    )
    return {line.id: line.discount for line in totals.lines}, terms


async def settle_changes(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    changes: Sequence[ItemChange],
    now: datetime,
    effects: InvoiceHooks,
    *,
    ends: bool = False,
    onto: Invoice | None = None,
) -> ProrationResult:
    """Settle changes that have just been made to a locked subscription; `ends` says that they are its cancellation.

    Charges are put `onto` the locked draft that is given, or onto a new invoice.
    Raises AlreadyExists when the same changes were settled before.
    """
    sources = await lock_for_settlement(session, snapshot, changes)
    discounted = await _discounted(session, snapshot, changes, sources)
    proration = discounted.proration
    if not proration.changes:
        return ProrationResult(proration)
    key, netting = settlement_key(snapshot.id, changes), proration.netting()
    reason = CreditNoteReason.SUBSCRIPTION_CANCELLATION if ends else CreditNoteReason.ORDER_CHANGE
    returned = await give_back(session, snapshot, netting.owed, sources, SettlementCause(key, reason), now)
    charged, invoice = proration.charged(netting), None
    if charged:
        invoice = await _invoiced(session, snapshot, discounted, charged, key, now, effects, onto)
    await record(session, snapshot, proration, key, invoice, returned)
    return ProrationResult(proration, invoice, returned)


async def lock_for_settlement(
    session: AsyncSession, snapshot: SubscriptionSnapshot, changes: Sequence[ItemChange]
) -> FeeSources:
    """Lock what settling changes may change, before anything is made and numbered: the invoices that are credited, the
    drafts that are computed again, and the payer's wallets, in the order in which everybody locks."""
    sources = await find_fee_sources(session, snapshot, changes, lock=True)
    drafts = select(Invoice.id).where(Invoice.subscription_id == snapshot.id, *recomputable())
    await session.execute(drafts.order_by(Invoice.id).with_for_update())
    paid_in = {invoice.currency for invoice in sources.invoices.values()}
    await lock_wallets_in(session, snapshot.payer_id, {snapshot.currency, *paid_in})
    return sources


def settlement_key(subscription_id: str, changes: Sequence[ItemChange]) -> str:
    """Names a settlement by what was changed and when, so that a repeated request settles once."""
    parts = sorted(f"{change.key}@{instant(change.at)}" for change in changes)
    return f"proration-{hashlib.sha256('|'.join([subscription_id, *parts]).encode()).hexdigest()[:48]}"


async def record(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    proration: Proration,
    key: str,
    invoice: Invoice | None,
    returned: ReturnedCredit,
) -> None:
    """Write down what was credited and charged per line item. Raises AlreadyExists for a key that was settled."""
    nothing = (ZERO,) * len(proration.changes)
    rows = []
    paid_out = returned.paid_out or (None,) * len(proration.changes)
    parts = zip(proration.changes, returned.parts or nothing, returned.taxes or nothing, paid_out, strict=True)
    for change, given, tax, paid in parts:
        item = change.change.before or change.change.after
        assert item is not None
        rows.append(
            ProrationSettlement(
                id=new_id(Kind.SUBSCRIPTION_CHANGE),
                subscription_id=snapshot.id,
                subscription_line_item_id=item.id,
                customer_id=snapshot.payer_id,
                action=change.change.action.value,
                settlement_key=key,
                effective_at=change.change.at,
                window_start=change.window.start,
                window_end=change.window.end,
                currency=snapshot.currency,
                credit=change.credit,
                charge=change.charge,
                discount=change.discount,
                returned_discounts=stored_shares(change.returned),
                charged_seconds=seconds_of(change.charged_service),
                credited_to_payer=given,
                paid_out=paid,
                tax_credited=tax,
                invoice_id=invoice.id if invoice is not None else None,
                wallet_transaction_id=returned.wallet_transaction_id,
            )
        )
    async with unique(session, uq_proration_settlements_key=settled_before(key)):
        session.add_all(rows)


async def _invoiced(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    discounted: Discounted,
    charged: Sequence[tuple[SettledChange, Decimal]],
    key: str,
    now: datetime,
    effects: InvoiceHooks,
    onto: Invoice | None,
) -> Invoice:
    start = min(change.change.at for change in discounted.proration.changes)
    end = max(change.window.end for change in discounted.proration.changes)
    wanted = Invoice(
        id=new_id(Kind.INVOICE),
        customer_id=snapshot.payer_id,
        subscription_id=snapshot.id,
        subscription_customer_id=snapshot.customer_id if snapshot.customer_id != snapshot.payer_id else None,
        currency=snapshot.currency,
        invoice_type=InvoiceType.ONE_OFF,
        invoice_status=InvoiceStatus.DRAFT,
        billing_reason=BillingReason.SUBSCRIPTION_UPDATE,
        billing_period=snapshot.recurrence.period.value,
        idempotency_key=key,
        period_start=start,
        period_end=end,
        reference_date=start,
        derives_due_date=True,
        meta={},
    )
    if onto is not None:
        invoice = await drafts.refill(session, onto, wanted)
    else:
        invoice = await drafts.begin(session, wanted)
        if invoice is not wanted:
            raise AlreadyExists("This change was invoiced before", {"invoice_id": invoice.id})
    drafts.add_lines(session, invoice, [_line(change, amount) for change, amount in charged])
    invoice.coupon_terms = stored(discounted.coupons)
    invoice.tax_terms = stored(await _tax_terms(session, snapshot))
    await compute(session, invoice, now)
    await settle(session, invoice, now)
    await transitions.finalize(session, invoice, now, effects=effects)
    return invoice


def _line(change: SettledChange, amount: Decimal) -> InvoiceLineItem:
    """The charge of one item for the rest of its window."""
    item = change.change.after
    assert item is not None, "only what starts is charged"
    return InvoiceLineItem(
        subscription_id=item.subscription_id,
        subscription_line_item_id=item.id,
        entity_id=item.entity_id,
        entity_type=item.entity_type.value,
        plan_display_name=item.plan_display_name,
        display_name=item.display_name or item.plan_display_name,
        price_id=item.price_id,
        price_type=PriceType.FIXED,
        amount=amount,
        quantity=item.quantity,
        period_start=change.change.at,
        period_end=change.window.end,
        kind=LineKind.FIXED,
        **in_price_unit(item, amount, item.currency),
        proration_credit=EXACT.subtract(change.charge, amount),
        whole_seconds=seconds_of(change.charged_service),
        rating={
            "gross": plain(change.charge),
            **explained(explain(item.price, item.quantity), change.charged_share),
        },
        meta={"description": f"{item.display_name or item.plan_display_name} from {instant(change.change.at)}"},
    )
