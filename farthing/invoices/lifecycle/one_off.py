"""One-off and credit invoices, as callers ask for them.

Rule: docs/rules/invoices-and-payments.md#creation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

import msgspec
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.redeeming import coupons_for
from farthing.catalogue.taxes.choosing import rates_by_code, rates_by_id
from farthing.core import currency
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO, exact_sum, round_to
from farthing.customers.lookup import lock_for_use
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.figures.computation import compute
from farthing.invoices.figures.settlement import record_settlement, settle
from farthing.invoices.figures.terms import CouponTerm, TaxTerm, stored
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import drafts
from farthing.invoices.lifecycle.references import check_coupon_references, check_references
from farthing.invoices.lifecycle.transitions import finalize, refuse_reserved, require_currency, resettle
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import InvoiceParts, parts_of
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.requests import (
    NEGATIVE,
    CreateInvoiceLineItemRequest,
    CreateInvoiceRequest,
    InvoiceCoupon,
    InvoiceLineItemCoupon,
)
from farthing.invoices.settlement_tables import SettlementKind
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import add_new
from farthing.storage.queries.rows import find
from farthing.storage.queries.writing import write_pending
from farthing.subscriptions.tables import Subscription

SYNTHETIC_LINE = "Invoice amount"


async def create(
    session: AsyncSession, asked: CreateInvoiceRequest, now: datetime, *, effects: InvoiceHooks
) -> Invoice:
    """Draft, compute and, unless DRAFT was asked for, finalize an invoice.

    A second call with the idempotency key of a draft returns that draft, unchanged. Raises NotFound for an unknown
    customer, coupon or tax rate, InvalidOperation for a coupon that cannot be redeemed, AlreadyExists for the key or
    the number of an invoice that was finalized, ValidationFailed for figures that do not agree.
    """
    return (await create_whole(session, asked, now, effects=effects))[0]


async def create_whole(
    session: AsyncSession, asked: CreateInvoiceRequest, now: datetime, *, effects: InvoiceHooks
) -> tuple[Invoice, InvoiceParts]:
    """As `create`, with the parts of the invoice, so that it can be shown without reading them. One that is to be paid
    by a checkout stays a draft, unless it comes to nothing."""
    refuse_reserved(asked.metadata or {})
    check_subtotal(asked.subtotal, asked.line_items, asked.currency, asked.kind)
    payer = await lock_for_use(session, asked.customer_id)
    await check_references(session, asked.line_items, asked.currency)
    wanted = _row(asked, now)
    if asked.subscription_id:
        subscription = await find(session, Subscription, asked.subscription_id)
        if asked.customer_id not in {subscription.customer_id, subscription.invoicing_customer_id}:
            raise ValidationFailed.of("subscription_id", "must be a subscription of this customer")
        wanted.subscription_id = subscription.id
        if subscription.customer_id != asked.customer_id:
            wanted.subscription_customer_id = subscription.customer_id
    if wanted.idempotency_key is None:
        add_new(session, [wanted])  # it is like no other, and is written when its figures stand
        invoice = wanted
    else:
        invoice = await drafts.begin(session, wanted)
    if invoice is not wanted:
        return invoice, await parts_of(session, invoice)

    parts = InvoiceParts(payer, lines_of(asked.line_items) or [synthetic_line(asked.subtotal)], paid=ZERO)
    drafts.add_lines(session, invoice, parts.lines)
    on_invoice = [InvoiceCoupon(coupon_id=coupon_id) for coupon_id in asked.coupons or ()]
    on_invoice += asked.invoice_coupons or []
    invoice.coupon_terms = stored(
        await redeemed_terms(session, invoice.currency, asked.line_item_coupons or [], on_invoice, now)
    )
    invoice.tax_terms = stored(await _tax_terms(session, asked))
    await compute(session, invoice, now, parts=parts)
    await settle(session, invoice, now, paid=parts.paid)
    paid = asked.amount_paid
    if paid and paid > invoice.total:
        raise ValidationFailed.of("amount_paid", "must not be more than the total")
    await events.record_invoice_event(session, InvoiceEvent.UPDATED, invoice, parts)

    if asked.invoice_status is InvoiceStatus.DRAFT or (asked.checkout is not None and invoice.total > 0):
        if invoice.subtotal > 0:
            await events.record_invoice_event(session, InvoiceEvent.DRAFTED, invoice, parts)
    else:
        await finalize(session, invoice, now, effects=effects, number=asked.invoice_number or None, parts=parts)
    if paid:
        require_currency(invoice, asked.currency)
        parts.paid = await record_settlement(session, invoice, SettlementKind.MANUAL, paid)
        await resettle(session, invoice, now, effects=effects, paid=parts.paid)
    await write_pending(session)
    return invoice, parts


def check_subtotal(
    subtotal: Decimal, lines: Sequence[CreateInvoiceLineItemRequest] | None, code: str, kind: InvoiceType
) -> None:
    """Raise ValidationFailed unless lines, if any, come to `subtotal` in the currency's precision.

    A negative subtotal of a credit invoice is not looked at; its lines are what counts.
    """
    if not lines:
        if subtotal < 0:
            raise ValidationFailed.of("subtotal", NEGATIVE)
        return
    if kind is InvoiceType.CREDIT and subtotal < 0:
        return
    digits = currency.digits(code)
    charged = round_to(exact_sum([line.amount for line in lines]), digits)
    if charged != round_to(subtotal, digits):
        raise ValidationFailed.of("subtotal", f"must be the sum of the line amounts, {charged}")


def _row(asked: CreateInvoiceRequest, now: datetime) -> Invoice:
    return Invoice(
        id=new_id(Kind.INVOICE),
        customer_id=asked.customer_id,
        currency=asked.currency,
        invoice_type=asked.kind,
        invoice_status=InvoiceStatus.DRAFT,
        billing_reason=asked.billing_reason or BillingReason.MANUAL,
        idempotency_key=asked.idempotency_key or None,
        description=asked.description or "",
        reference_date=now,
        due_date=asked.due_date,
        issue_date=asked.issue_date,
        period_start=asked.period_start,
        period_end=asked.period_end,
        billing_period=asked.billing_period or None,
        invoice_pdf_url=asked.invoice_pdf_url or None,
        meta=dict(asked.metadata or {}),
    )


def lines_of(asked: Sequence[CreateInvoiceLineItemRequest] | None) -> list[InvoiceLineItem]:
    """The rows of the lines a caller sent; discounts and credits in them are worked out anew."""
    return [
        InvoiceLineItem(
            amount=line.amount,
            quantity=line.quantity,
            display_name=line.display_name or None,
            price_type=line.price_type,
            price_id=line.price_id or None,
            meter_id=line.meter_id or None,
            meter_display_name=line.meter_display_name or None,
            entity_id=line.entity_id or line.plan_id or None,
            entity_type=line.entity_type or ("plan" if line.plan_id else None),
            plan_display_name=line.plan_display_name or None,
            price_unit=line.price_unit or None,
            price_unit_amount=line.price_unit_amount,
            subscription_line_item_id=line.subscription_line_item_id or None,
            period_start=line.period_start,
            period_end=line.period_end,
            commitment_info=msgspec.to_builtins(line.commitment_info),
            adjusted_entitlement_quantity=line.adjusted_entitlement_quantity,
            meta=dict(line.metadata or {}),
        )
        for line in asked or ()
    ]


def synthetic_line(subtotal: Decimal) -> InvoiceLineItem:
    """The one line of an invoice that was asked for without any."""
    return InvoiceLineItem(amount=subtotal, quantity=Decimal(1), display_name=SYNTHETIC_LINE)


async def redeemed_terms(
    session: AsyncSession,
    code: str,
    on_lines: Sequence[InvoiceLineItemCoupon],
    on_invoice: Sequence[InvoiceCoupon],
    now: datetime,
    *,
    had: Mapping[str, CouponTerm] = MappingProxyType({}),
) -> list[CouponTerm]:
    """The terms of the coupons a caller asked for: those of lines first, then those of the invoice in request order.

    Each is redeemed once per mention, unless the invoice had it already (`had`, by coupon).
    """
    await check_coupon_references(session, on_lines, on_invoice)
    wanted: list[tuple[str, str | None, str | None]] = [
        (place.coupon_id, _target(place), place.coupon_association_id) for place in on_lines
    ]
    wanted += [(place.coupon_id, None, place.coupon_association_id) for place in on_invoice]
    fresh = [coupon_id for coupon_id, _, _ in wanted if coupon_id not in had]
    coupons = {coupon.id: coupon for coupon in (await coupons_for(session, fresh, code, now) if fresh else [])}
    return [
        replace(had[coupon_id], target=target, coupon_association_id=association_id)
        if coupon_id in had
        else CouponTerm.of(coupons[coupon_id], target, association_id)
        for coupon_id, target, association_id in wanted
    ]


def _target(place: InvoiceLineItemCoupon) -> str:
    return place.subscription_line_item_id or place.line_item_id


async def _tax_terms(session: AsyncSession, asked: CreateInvoiceRequest) -> list[TaxTerm]:
    """Overrides by code, else rates by id, else none."""
    if asked.tax_rate_overrides:
        for index, override in enumerate(asked.tax_rate_overrides):
            if override.currency != asked.currency:
                raise ValidationFailed.of(f"tax_rate_overrides[{index}].currency", "must be the invoice's currency")
        rates = await rates_by_code(session, [rate.tax_rate_code for rate in asked.tax_rate_overrides], lock=True)
    else:
        rates = await rates_by_id(session, asked.tax_rates or (), lock=True) if asked.tax_rates else []
    return [TaxTerm.of(rate) for rate in rates]
