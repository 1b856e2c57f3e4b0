"""What a mail tells, read from the books right before it is handed in, and whether it is still true.

Rule: docs/rules/email.md#still-true-when-it-is-sent
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.run.renewal_notice import renews
from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.products.alerts import AlertState
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO
from farthing.credits.enums import TransactionStatus, WalletStatus
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.notes.tables import CreditNote, CreditNoteStatus
from farthing.customers.tables import Customer
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus, is_unpaid
from farthing.invoices.tables import Invoice
from farthing.notifications.alert_tables import AlertSetting
from farthing.notifications.email.collected import is_collected_automatically
from farthing.notifications.email.content.documents import (
    NO_DOCUMENTS,
    MailDocuments,
    invoice_documents,
    note_documents,
)
from farthing.notifications.email.content.letter import LetterFacts
from farthing.notifications.email.content.wording import CurrencyAmount, LetterValue
from farthing.notifications.email.tables import Email, EmailKind
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import find
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription


class NotToSend(Exception):
    """The mail is true no more, or nobody can be written to; the message says why."""


@dataclass(frozen=True, slots=True)
class MailContent:
    """The facts of a mail, the invoice that its button opens, and its documents."""

    facts: LetterFacts
    invoice_id: str | None = None
    documents: MailDocuments = NO_DOCUMENTS


async def content_of(session: AsyncSession, email: Email, customer: Customer, now: datetime) -> MailContent:
    """What the mail tells at `now`, the environment's time. Raises NotToSend."""
    content = await _READERS[email.kind](session, email, now)
    values = {"customer": customer.name, **content.facts.values}
    return replace(content, facts=replace(content.facts, values=values))


async def _invoice_issued(session: AsyncSession, email: Email, _: datetime) -> MailContent:
    invoice = await _issued_invoice(session, email)
    values = await _invoice_values(session, invoice)
    variant = "settled" if not is_unpaid(invoice) else "undated" if invoice.due_date is None else "due"
    rows = ("number", "total", *{"settled": (), "undated": ("remaining",), "due": ("remaining", "due_date")}[variant])
    facts = LetterFacts(kind=email.kind, values=values, rows=rows, variant=variant)
    return MailContent(facts, invoice.id, await invoice_documents(session, invoice))


@dataclass(frozen=True, slots=True)
class ConfirmedMoney:
    """What a receipt confirms: an amount in the invoice's currency or the payment's, and when it was received."""

    invoice: Invoice
    amount: CurrencyAmount
    received_at: datetime


async def _payment_receipt(session: AsyncSession, email: Email, _: datetime) -> MailContent:
    is_of_payment = email.entity_id != email.invoice_id
    money = await (_paid_money if is_of_payment else _money_without_payment)(session, email)
    invoice = money.invoice
    values = await _invoice_values(session, invoice)
    values["amount"] = money.amount
    values["paid_on"] = _day(money.received_at, await reading_zone(session, invoice))
    unpaid = is_unpaid(invoice)
    rows = ("number", "amount", "paid_on", *(("remaining",) if unpaid else ()))
    variant = "partial" if unpaid else "settled"
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=rows, variant=variant), invoice.id)


async def _paid_money(session: AsyncSession, email: Email) -> ConfirmedMoney:
    payment = await find(session, Payment, email.entity_id)
    if payment.payment_status not in {PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED}:
        raise NotToSend("the payment was taken back meanwhile")
    invoice = await find(session, Invoice, payment.destination_id)
    amount = CurrencyAmount(payment.amount, payment.currency)
    return ConfirmedMoney(invoice, amount, payment.succeeded_at or payment.created_at)


async def _money_without_payment(session: AsyncSession, email: Email) -> ConfirmedMoney:
    invoice = await _issued_invoice(session, email)
    if invoice.amount_paid < Decimal(email.details["paid"]):
        raise NotToSend("the invoice was marked as less paid meanwhile")
    amount = CurrencyAmount(Decimal(email.details["amount"]), invoice.currency)
    return ConfirmedMoney(invoice, amount, datetime.fromisoformat(email.details["received_at"]))


async def _payment_failed(session: AsyncSession, email: Email, _: datetime) -> MailContent:
    payment = await find(session, Payment, email.entity_id)
    if payment.payment_status is not PaymentStatus.FAILED:
        raise NotToSend("the payment did not stay failed")
    invoice = await _unpaid_invoice(session, email)
    if await _is_being_paid(session, invoice):
        raise NotToSend("another payment of the invoice is under way")
    values = await _invoice_values(session, invoice)
    values["amount"] = CurrencyAmount(payment.amount, payment.currency)
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=("number", "amount", "remaining")), invoice.id)


async def _reminder(session: AsyncSession, email: Email, now: datetime) -> MailContent:
    invoice = await _unpaid_invoice(session, email)
    if invoice.due_date is None or invoice.due_date != datetime.fromisoformat(email.details["due_date"]):
        raise NotToSend("the due date was changed meanwhile")
    if await _is_being_paid(session, invoice):
        raise NotToSend("a payment of the invoice is under way")
    if await is_collected_automatically(session, invoice.id):
        raise NotToSend("the invoice is collected automatically")
    facts = LetterFacts(
        kind=email.kind,
        values=await _invoice_values(session, invoice),
        rows=("number", "remaining", "due_date"),
        variant="after" if invoice.due_date < now else "before",
    )
    return MailContent(facts, invoice.id, await invoice_documents(session, invoice))


async def _credit_note(session: AsyncSession, email: Email, _: datetime) -> MailContent:
    note = await find(session, CreditNote, email.entity_id)
    if note.credit_note_status is not CreditNoteStatus.FINALIZED:
        raise NotToSend("the credit note was voided meanwhile")
    invoice = await find(session, Invoice, note.invoice_id)
    values: dict[str, LetterValue] = {
        "note": note.credit_note_number,
        "number": invoice.invoice_number or invoice.id,
        "amount": CurrencyAmount(note.total_amount, note.currency),
    }
    facts = LetterFacts(kind=email.kind, values=values, rows=("note", "number", "amount"))
    return MailContent(facts, invoice.id, await note_documents(session, note))


async def _low_balance(session: AsyncSession, email: Email, _: datetime) -> MailContent:
    wallet = await _open_wallet(session, email.entity_id)
    is_credit = email.details["event"] == "wallet.credit_balance.dropped"
    if (wallet.credit_alert_state if is_credit else wallet.alert_state) is AlertState.OK:
        raise NotToSend("the balance has recovered meanwhile")
    values: dict[str, LetterValue] = {
        "wallet": wallet.name,
        "balance": CurrencyAmount(wallet.balance, wallet.currency),
        "credits": wallet.credit_balance,
    }
    rows = ("wallet", "credits", "balance") if is_credit else ("wallet",)
    variant = "credit" if is_credit else "ongoing"
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=rows, variant=variant))


async def _credits_expiring(session: AsyncSession, email: Email, now: datetime) -> MailContent:
    wallet = await _open_wallet(session, email.entity_id)
    expires_at = datetime.fromisoformat(email.occasion)
    lots = (
        WalletTransaction.wallet_id == wallet.id,
        WalletTransaction.transaction_status == TransactionStatus.COMPLETED,
        WalletTransaction.expiry_date == expires_at,
    )
    credits_left = await session.scalar(select(func.sum(WalletTransaction.credits_available)).where(*lots)) or ZERO
    if credits_left <= ZERO:
        raise NotToSend("the credits were used meanwhile")
    if expires_at <= now:
        raise NotToSend("the credits have expired meanwhile")
    customer = await session.get_one(Customer, wallet.customer_id)
    values: dict[str, LetterValue] = {
        "wallet": wallet.name,
        "credits": credits_left,
        "value": CurrencyAmount(EXACT.multiply(credits_left, wallet.conversion_rate), wallet.currency),
        "expires_on": _day(expires_at, customer.timezone),
    }
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=("wallet", "credits", "value", "expires_on")))


async def _trial_ending(session: AsyncSession, email: Email, now: datetime) -> MailContent:
    subscription = await find(session, Subscription, email.entity_id)
    trial_end = subscription.trial_end
    if subscription.subscription_status is not SubscriptionStatus.TRIALING or trial_end is None or trial_end <= now:
        raise NotToSend("the trial has ended meanwhile")
    if trial_end != datetime.fromisoformat(email.occasion):
        raise NotToSend("the end of the trial was changed meanwhile")
    ends = (
        subscription.cancel_at_period_end
        or (subscription.cancel_at is not None and subscription.cancel_at <= trial_end)
        or (subscription.end_date is not None and subscription.end_date <= trial_end)
    )
    values: dict[str, LetterValue] = {
        "plan": await _plan_name(session, subscription),
        "ends_on": _day(trial_end, subscription.timezone),
    }
    variant = "ends" if ends else "continues"
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=("plan", "ends_on"), variant=variant))


async def _renewal_notice(session: AsyncSession, email: Email, now: datetime) -> MailContent:
    subscription = await find(session, Subscription, email.entity_id)
    renews_at = datetime.fromisoformat(email.occasion)
    if subscription.current_period_end != renews_at or renews_at <= now:
        raise NotToSend("the subscription has renewed, or its period was changed, meanwhile")
    if not await session.scalar(select(exists().where(Subscription.id == subscription.id, *renews()))):
        raise NotToSend("the subscription does not renew any more")
    values: dict[str, LetterValue] = {
        "plan": await _plan_name(session, subscription),
        "renews_on": _day(renews_at, subscription.timezone),
    }
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=("plan", "renews_on")))


async def _spend_alert(session: AsyncSession, email: Email, _: datetime) -> MailContent:
    setting = await find(session, AlertSetting, email.entity_id)
    if setting.status is not Status.PUBLISHED or not setting.enabled:
        raise NotToSend("the alert was removed meanwhile")
    subscription = await find(session, Subscription, email.details["subscription_id"])
    if subscription.full_period_start != datetime.fromisoformat(email.details["period_start"]):
        raise NotToSend("the period has ended meanwhile")
    values: dict[str, LetterValue] = {
        "plan": await _plan_name(session, subscription),
        "threshold": CurrencyAmount(Decimal(email.details["threshold"]), subscription.currency),
        "spend": CurrencyAmount(Decimal(email.details["spend"]), subscription.currency),
    }
    return MailContent(LetterFacts(kind=email.kind, values=values, rows=("plan", "threshold", "spend")))


async def _issued_invoice(session: AsyncSession, email: Email) -> Invoice:
    invoice = await find(session, Invoice, email.invoice_id or "")
    if invoice.invoice_status is InvoiceStatus.VOIDED:
        raise NotToSend("the invoice was voided meanwhile")
    if invoice.status is not Status.PUBLISHED or invoice.invoice_status is not InvoiceStatus.FINALIZED:
        raise NotToSend("the invoice is not issued")
    return invoice


async def _unpaid_invoice(session: AsyncSession, email: Email) -> Invoice:
    invoice = await _issued_invoice(session, email)
    if not is_unpaid(invoice):
        raise NotToSend("the invoice was paid meanwhile")
    return invoice


async def _is_being_paid(session: AsyncSession, invoice: Invoice) -> bool:
    under_way = exists().where(Payment.destination_id == invoice.id, Payment.payment_status == PaymentStatus.PROCESSING)
    return bool(await session.scalar(select(under_way)))


async def _open_wallet(session: AsyncSession, wallet_id: str) -> Wallet:
    wallet = await find(session, Wallet, wallet_id)
    if wallet.wallet_status is WalletStatus.CLOSED:
        raise NotToSend("the wallet was closed meanwhile")
    return wallet


async def _invoice_values(session: AsyncSession, invoice: Invoice) -> dict[str, LetterValue]:
    values: dict[str, LetterValue] = {
        "number": invoice.invoice_number or invoice.id,
        "total": CurrencyAmount(invoice.total, invoice.currency),
        "remaining": CurrencyAmount(invoice.amount_remaining, invoice.currency),
    }
    if invoice.due_date is not None:
        values["due_date"] = _day(invoice.due_date, await reading_zone(session, invoice))
    return values


async def _plan_name(session: AsyncSession, subscription: Subscription) -> str:
    return (await session.get_one(Plan, subscription.plan_id)).name


def _day(at: datetime, zone: str) -> date:
    return to_local(at, zone_or_abbreviation(zone)).date()


_READERS: Mapping[EmailKind, Callable[[AsyncSession, Email, datetime], Awaitable[MailContent]]] = MappingProxyType(
    {
        EmailKind.INVOICE_ISSUED: _invoice_issued,
        EmailKind.PAYMENT_RECEIPT: _payment_receipt,
        EmailKind.PAYMENT_FAILED: _payment_failed,
        EmailKind.REMINDER: _reminder,
        EmailKind.CREDIT_NOTE: _credit_note,
        EmailKind.LOW_BALANCE: _low_balance,
        EmailKind.CREDITS_EXPIRING: _credits_expiring,
        EmailKind.TRIAL_ENDING: _trial_ending,
        EmailKind.RENEWAL_NOTICE: _renewal_notice,
        EmailKind.SPEND_ALERT: _spend_alert,
    }
)
