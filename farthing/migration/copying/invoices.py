"""Invoices as they were issued, with what was paid and credited since.

Rule: docs/rules/migration.md#invoices
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from farthing.catalogue.taxes.tables import TaxRateRow
from farthing.core import currency
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, ZERO, allocate, exact_sum, plain, round_to
from farthing.credits.notes.lifecycle.creation import create_note
from farthing.credits.notes.lifecycle.limits import creditable_lines
from farthing.credits.notes.schemas import CreateCreditNoteRequest
from farthing.credits.rules.notes import line_ceiling
from farthing.invoices.figures.settlement import give_up_remainder, record_settlement, settle
from farthing.invoices.lifecycle.numbering import continue_after
from farthing.invoices.lifecycle.takeover import Fidelity, TakenInvoice, TakenOverInvoice, take_over_invoice
from farthing.invoices.lifecycle.transitions import resettle
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.settlement_tables import SettlementKind
from farthing.invoices.tables import Invoice
from farthing.migration.copying.catalogue import ADDONS, COUPONS, METERS, PLANS, PRICES, SUBSCRIPTIONS, TAX_RATES
from farthing.migration.copying.customers import CUSTOMERS
from farthing.migration.copying.subscriptions import COUPON_ASSOCIATIONS, LINE_ITEMS
from farthing.migration.copying.target import LeftOut, MigrationTarget
from farthing.migration.source.fields import SourceRecord, decimal_of, fields_of, metadata_of, time_of
from farthing.payments.processing import creation, outcomes
from farthing.payments.refunds.sources import plan_source_refunds
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.tables import DestinationType, PaymentMethodType
from farthing.storage.postgres import ports_of

INVOICES, INVOICE_LINES, PAYMENTS = "invoices", "invoice lines", "payments"
_SAME = (
    "currency",
    "invoice_type",
    "billing_reason",
    "invoice_number",
    "finalized_at",
    "issue_date",
    "due_date",
    "period_start",
    "period_end",
    "billing_period",
    "description",
    "created_at",
)
_FIGURES = ("subtotal", "total_discount", "total_prepaid_credits_applied", "total_tax", "total")
_OPTIONAL = ("billing_reason", "description", "billing_period", "issue_date", "created_at", "invoice_type")
_LINE = (
    "display_name",
    "price_type",
    "plan_display_name",
    "meter_display_name",
    "entity_type",
    "period_start",
    "period_end",
)
_LINE_FIGURES = ("amount", "quantity", "line_item_discount", "invoice_level_discount", "prepaid_credits_applied")
_OWNERS = MappingProxyType({"plan": PLANS, "addon": ADDONS})
_PAID = frozenset({"SUCCEEDED", "PARTIALLY_REFUNDED", "REFUNDED", "OVERPAID"})
_CREDIT_REASON = "BILLING_ERROR"
_Window = tuple[datetime | None, datetime | None]
"""The service period of lines, as far as it is said."""
_MIGRATED = "source_id"
"""The metadata that names a record at the source."""


async def copy_invoice(target: MigrationTarget, record: SourceRecord) -> str:
    """An issued invoice with its payments. Raises LeftOut for one that is void, ValidationFailed for a draft."""
    number, status = record.get("invoice_number"), record.get("invoice_status")
    if status == "VOIDED" and number:
        await continue_after(target.session, number, target.now)
    if status in {"VOIDED", "SKIPPED"}:
        raise LeftOut(f"it is {str(status).lower()} at the source, so nothing is owed on it")
    if status != "FINALIZED":
        raise ValidationFailed.of("invoice_status", f"is {status}; finalize or delete it at the source and run again")
    terms = target.read(await _terms(target, record), TakenOverInvoice, _OPTIONAL)
    taken = await take_over_invoice(target.session, terms, target.now)
    for line in record.get("line_items") or ():
        if line.get("id") in taken.lines:
            target.note_part(INVOICE_LINES, line["id"], taken.lines[line["id"]])
    if taken.fidelity is not Fidelity.WHOLE:
        target.problems.append(f"its lines do not come to its total here; {taken.fidelity.value} were kept")
    conversion = record.get("fx_conversion")
    if conversion and taken.invoice.fx_rate is None:
        target.problems.append("how it was converted is not kept: check by hand what is given back of it")
    await _credit(target, taken.invoice, decimal_of(record, "adjustment_amount"))
    await _pay(target, taken, record)
    await _refund(target, taken.invoice, decimal_of(record, "refunded_amount"))
    await _write_off(target, taken.invoice, record)
    _compare(target, taken.invoice, record)
    return taken.invoice.id


async def _terms(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    body = fields_of(record, _SAME)
    body["currency"] = str(record.get("currency", "")).lower()
    body.setdefault("invoice_number", record["id"])
    body.setdefault("finalized_at", record.get("issue_date") or record.get("created_at"))
    body |= {name: decimal_of(record, name) for name in _FIGURES}
    body |= {
        "customer_id": await target.need(CUSTOMERS, record.get("customer_id"), "customer_id"),
        "subscription_id": await target.find_unless_failed(
            SUBSCRIPTIONS, record.get("subscription_id"), "subscription_id"
        ),
        "subscription_customer_id": await target.find(CUSTOMERS, record.get("subscription_customer_id")),
        "metadata": {**metadata_of(record, target.problems)},
        "line_items": [await _line(target, line) for line in record.get("line_items") or ()],
        "discounts": await _discounts(target, record),
        "taxes": [await _tax(target, tax) for tax in record.get("taxes") or ()],
        **_conversion(record),
    }
    if body["subscription_customer_id"] == body["customer_id"]:
        body["subscription_customer_id"] = None
    sold = body["metadata"].pop("wallet_transaction_id", None)
    body["metadata"].pop("auto_completed", None)
    if sold and decimal_of(record, "amount_remaining"):
        target.problems.append("it sells credits, which must be added by hand once it is paid")
    return body


def _conversion(record: SourceRecord) -> dict[str, Any]:
    """How an invoice was converted, where the source says so whole."""
    conversion = record.get("fx_conversion")
    if not isinstance(conversion, dict) or not isinstance(source := conversion.get("source"), dict):
        return {}
    body = fields_of(conversion, ("charge_currency", "rate_id", "scope", "converted_at"))
    if len(body) < 4:
        return {}
    return {"conversion": {**body, "rate": decimal_of(conversion, "rate"), "subtotal": decimal_of(source, "subtotal")}}


def _source_amount(record: SourceRecord) -> dict[str, Any]:
    conversion = record.get("fx_conversion")
    source = conversion.get("source") if isinstance(conversion, dict) else None
    return {"source_amount": decimal_of(source, "subtotal")} if isinstance(source, dict) else {}


async def _line(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    body = fields_of(record, _LINE)
    body |= {name: decimal_of(record, name) for name in _LINE_FIGURES}
    body |= {
        "source_id": str(record.get("id", "")),
        "price_id": await target.find(PRICES, record.get("price_id")),
        "meter_id": await target.find(METERS, record.get("meter_id")),
        "subscription_id": await target.find(SUBSCRIPTIONS, record.get("subscription_id")),
        "subscription_line_item_id": await target.find(LINE_ITEMS, record.get("subscription_line_item_id")),
        "entity_id": await target.find(
            _OWNERS.get(str(record.get("entity_type")).lower(), ""), record.get("entity_id")
        ),
        "metadata": metadata_of(record, target.problems),
        **_source_amount(record),
    }
    return body


async def _discounts(target: MigrationTarget, record: SourceRecord) -> list[dict[str, Any]]:
    """What coupons took. What was taken of the budget of a period is told with the period, because another invoice of
    it goes on with what is left."""
    lines = record.get("line_items") or ()
    windows = {str(line.get("id")): (time_of(line, "period_start"), time_of(line, "period_end")) for line in lines}
    taken_in: dict[_Window, Decimal] = {}
    for line in lines:
        window = windows[str(line.get("id"))]
        taken_in[window] = EXACT.add(taken_in.get(window, ZERO), decimal_of(line, "invoice_level_discount"))
    found = []
    for application in record.get("coupon_applications") or ():
        discount = await _discount(target, application)
        start, end = windows.get(str(discount["line"])) or _taken_window(taken_in, discount["discounted_amount"])
        if start is not None and end is not None and start < end:
            discount.update(period_start=start, period_end=end)
        found.append(discount)
    return _in_charge_currency(record, found)


def _in_charge_currency(record: SourceRecord, discounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the discounts of a converted invoice were before: shares of what was taken in all, by largest remainder."""
    conversion = record.get("fx_conversion")
    source = conversion.get("source") if isinstance(conversion, dict) else None
    if not isinstance(conversion, dict) or not isinstance(source, dict) or not discounts:
        return discounts
    digits = currency.digits(str(conversion.get("charge_currency", "")).lower())
    weights = [max(discount["discounted_amount"], ZERO) for discount in discounts]
    if not any(weights):
        return discounts
    taken = max(round_to(decimal_of(source, "total_discount"), digits), ZERO)
    parts = allocate(taken, weights, digits)
    return [{**discount, "source_amount": part} for discount, part in zip(discounts, parts, strict=True)]


def _taken_window(taken_in: dict[_Window, Decimal], amount: Decimal) -> _Window:
    """The service period in which a discount on several lines was taken, which has an application of its own: one in
    which as much was taken, else one in which more was. It is counted off."""
    enough = [window for window, left in taken_in.items() if left >= amount]
    fitting = sorted(enough, key=lambda window: taken_in[window] != amount)
    if not fitting:
        return None, None
    taken_in[fitting[0]] = EXACT.subtract(taken_in[fitting[0]], amount)
    return fitting[0]


async def _discount(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    coupon = record.get("coupon_snapshot") or record.get("coupon") or {}
    return {
        "coupon_id": await target.find(COUPONS, record.get("coupon_id")) or str(record.get("coupon_id", "coupon")),
        "coupon_association_id": await target.find(COUPON_ASSOCIATIONS, record.get("coupon_association_id")),
        "discounted_amount": decimal_of(record, "discounted_amount"),
        "name": str(coupon.get("name", "")),
        "line": record.get("invoice_line_item_id"),
    }


async def _tax(target: MigrationTarget, record: SourceRecord) -> dict[str, Any]:
    rate_id = await target.find(TAX_RATES, record.get("tax_rate_id"))
    rate = None if rate_id is None else await target.session.get(TaxRateRow, rate_id)
    return {
        "tax_rate_id": rate_id or str(record.get("tax_rate_id", "tax")),
        "tax_amount": decimal_of(record, "tax_amount"),
        "name": "" if rate is None else rate.name,
        "code": "" if rate is None else rate.code,
    }


async def _credit(target: MigrationTarget, invoice: Invoice, amount: Decimal) -> None:
    """What credit notes of the source took off what is due, as one note over the lines in their order."""
    if not amount:
        return
    items, left = await _over_lines(target, invoice, amount)
    if left or not items:
        target.problems.append(f"adjustments of {plain(amount)} are more than its lines")
        return
    await _issue_note(target, invoice, items, "Credit notes of the system that issued the invoice")


async def _issue_note(
    target: MigrationTarget, invoice: Invoice, items: list[dict[str, Any]], memo: str, **more: str
) -> None:
    body = {
        "invoice_id": invoice.id,
        "reason": _CREDIT_REASON,
        "line_items": items,
        "memo": memo,
        "process_credit_note": True,
        **more,
    }
    await create_note(target.session, target.read(body, CreateCreditNoteRequest), target.now)


async def _over_lines(
    target: MigrationTarget, invoice: Invoice, amount: Decimal
) -> tuple[list[dict[str, Any]], Decimal]:
    """What a note of `amount` takes of the lines, in their order, and what is left of it."""
    left, items = amount, []
    overpaid = EXACT.subtract(invoice.amount_paid, invoice.amount_due)
    for line_id, line in (await creditable_lines(target.session, invoice)).creditable.items():
        taken = min(left, EXACT.subtract(line_ceiling(line, overpaid), line.credited))
        if taken > 0:
            items.append({"invoice_line_item_id": line_id, "amount": taken})
            left = EXACT.subtract(left, taken)
    return items, left


async def _pay(target: MigrationTarget, taken: TakenInvoice, record: SourceRecord) -> None:
    """The payments that the source has of it, and what it counts as paid beside them."""
    paid = decimal_of(record, "amount_paid")
    payments = [
        payment
        for payment in record.get("payments") or ()
        if payment.get("payment_status") in _PAID and decimal_of(payment, "amount") > 0
    ]
    if exact_sum([decimal_of(payment, "amount") for payment in payments]) > paid:
        target.problems.append("its payments are more than what the source counts as paid; they became one amount")
        payments = []
    for payment in payments:
        await _copy_payment(target, taken.invoice, payment)
    rest = EXACT.subtract(paid, exact_sum([decimal_of(payment, "amount") for payment in payments]))
    if rest > 0:
        effects = ports_of(target.session, InvoicePorts).hooks
        total = await record_settlement(target.session, taken.invoice, SettlementKind.MANUAL, rest)
        when = time_of(record, "paid_at") or target.now
        await resettle(target.session, taken.invoice, when, effects=effects, paid=total)
    elif not payments and record.get("payment_status") == PaymentStatus.FAILED.value:
        taken.invoice.latest_attempt_failed = True
        await settle(target.session, taken.invoice, target.now)


async def _refund(target: MigrationTarget, invoice: Invoice, amount: Decimal) -> None:
    """What the source gave back, as one note whose money goes the way it came, so that nobody receives it again."""
    if not amount:
        return
    items, left = await _over_lines(target, invoice, amount)
    sources = await plan_source_refunds(target.session, invoice, amount)
    if left or exact_sum([part.amount for part in sources]) != amount:
        target.problems.append(f"refunds of {plain(amount)} were not carried")
        return
    memo = "Refunds of the system that issued the invoice"
    await _issue_note(target, invoice, items, memo, refund_target="BACK_TO_SOURCE")


async def _write_off(target: MigrationTarget, invoice: Invoice, record: SourceRecord) -> None:
    when = time_of(record, "written_off_at")
    if when is not None and invoice.amount_remaining > 0:
        give_up_remainder(target.session, invoice, str(record.get("write_off_reason") or "Taken over"), when)
        await settle(target.session, invoice, target.now)


async def _copy_payment(target: MigrationTarget, invoice: Invoice, record: SourceRecord) -> None:
    """Money that has moved: nobody is asked for it again, whatever way it came."""
    method = str(record.get("payment_method_type", "OFFLINE"))
    came = {"payment_method": method, "gateway_payment_id": str(record.get("gateway_payment_id", ""))}
    metadata = {**metadata_of(record, target.problems), _MIGRATED: str(record.get("id", ""))}
    metadata |= {name: value for name, value in came.items() if value}
    request = CreatePaymentRequest(
        destination_type=DestinationType.INVOICE,
        destination_id=invoice.id,
        payment_method_type=PaymentMethodType.OFFLINE,
        amount=decimal_of(record, "amount"),
        currency=invoice.currency,
        metadata=metadata,
        idempotency_key=f"taken-{record.get('id', invoice.id)}"[:50],
    )
    when = time_of(record, "succeeded_at") or time_of(record, "created_at") or target.now
    created = await creation.create(target.session, request, when)
    effects = ports_of(target.session, InvoicePorts).hooks
    await outcomes.record_success(target.session, effects, invoice, created.payment, when)
    target.note_part(PAYMENTS, record.get("id"), created.payment.id)


def _compare(target: MigrationTarget, invoice: Invoice, record: SourceRecord) -> None:
    """Refuse an invoice that asks for another amount here than at the source. Raises ValidationFailed."""
    expected = decimal_of(record, "amount_remaining") if "amount_remaining" in record else None
    if expected is not None and invoice.amount_remaining != expected:
        raise ValidationFailed.of(
            "amount_remaining", f"would be {plain(invoice.amount_remaining)}; at the source it is {plain(expected)}"
        )
    due = decimal_of(record, "amount_due") if "amount_due" in record else invoice.amount_due
    if (invoice.amount_due or ZERO) != due:
        target.problems.append(f"amount_due is {plain(invoice.amount_due)}; at the source it is {plain(due)}")
