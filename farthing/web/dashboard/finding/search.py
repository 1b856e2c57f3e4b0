"""Looking for a thing by what a person remembers of it, each kind of thing by its own index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.products.tables import Feature
from farthing.core.enums import Status
from farthing.credits.ledger.tables import Wallet
from farthing.credits.notes.tables import CreditNote
from farthing.customers.tables import Customer, CustomerSearchTerm
from farthing.invoices.tables import Invoice
from farthing.payments.tables import DestinationType, Payment
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.finding.typed import TypedAmount, TypedText

MOST_SHOWN = 10
"""Of each kind of thing."""
MOST_WORDS = 5
_LAST = "\U0010ffff"
"""What comes after every text that goes on."""


@dataclass(frozen=True, slots=True)
class FoundCustomer:
    """A customer, with what it is known by."""

    customer: Customer
    is_archived: bool


@dataclass(frozen=True, slots=True)
class FoundInvoice:
    """An invoice, with who pays it."""

    invoice: Invoice
    customer_name: str


@dataclass(frozen=True, slots=True)
class FoundPayment:
    """A payment, with what it pays; `address` is where it can be seen."""

    payment: Payment
    paid_for: str
    address: str


@dataclass(frozen=True, slots=True)
class FoundSubscription:
    """A subscription, who has it, and to what plan."""

    subscription: Subscription
    customer_name: str
    plan_name: str


@dataclass(frozen=True, slots=True)
class FoundThing:
    """Something else that has an id and a page."""

    kind: str
    name: str
    address: str


async def find_customers(session: AsyncSession, typed: TypedText) -> Sequence[FoundCustomer]:
    """Customers with this id, or each of whose typed words begins a word of its name, its address or an external id."""
    chosen = [typed.text]
    given = select(func.search_words(typed.text))
    words = sorted(await session.scalars(given), key=len, reverse=True)[:MOST_WORDS]
    if words:
        chosen += await session.scalars(_customers_with(words))
    rows = await session.scalars(
        select(Customer)
        .where(in_array(Customer.id, chosen), Customer.status != Status.DELETED)
        .order_by(Customer.status.desc(), func.lower(Customer.name), Customer.id)
    )
    return [FoundCustomer(customer, customer.status is Status.ARCHIVED) for customer in rows.all()[:MOST_SHOWN]]


def _customers_with(words: Sequence[str]) -> Select[str]:
    """The ids of customers that have a word beginning with each of these, the longest first."""
    first, *others = words
    term = CustomerSearchTerm
    ids = select(term.customer_id).where(term.term >= first, term.term < first + _LAST)
    for other in others:
        others_of = select(term.customer_id).where(term.term >= other, term.term < other + _LAST)
        ids = ids.where(term.customer_id.in_(others_of))
    return ids.order_by(term.term, term.customer_id).limit(MOST_SHOWN * 3)


async def find_invoices(session: AsyncSession, typed: TypedText) -> Sequence[FoundInvoice]:
    """Invoices with this id, a number that begins so, or that ask or asked for this amount; the newest first."""
    conditions: list[ColumnElement[bool]] = [Invoice.id == typed.text]
    conditions += [_begins(Invoice.invoice_number, start) for start in _spellings(typed.text)]
    ids = {
        invoice_id
        for condition in conditions
        for invoice_id in await session.scalars(
            select(Invoice.id)
            .where(condition, Invoice.status == Status.PUBLISHED)
            .order_by(Invoice.invoice_number.desc())
            .limit(MOST_SHOWN)
        )
    }
    if typed.amount is not None:
        ids |= set(await session.scalars(_invoices_of(typed.amount)))
    rows = await session.execute(
        select(Invoice, Customer.name)
        .join(Customer, Customer.id == Invoice.customer_id)
        .where(in_array(Invoice.id, ids), Invoice.status == Status.PUBLISHED)
        .order_by(Invoice.created_at.desc(), Invoice.id.desc())
    )
    return [FoundInvoice(invoice, name) for invoice, name in rows.all()[:MOST_SHOWN]]


def _invoices_of(typed: TypedAmount) -> Select[str]:
    statement = select(Invoice.id).where(
        or_(Invoice.total == typed.amount, Invoice.amount_remaining == typed.amount), Invoice.total != 0
    )
    if typed.currency is not None:
        statement = statement.where(Invoice.currency == typed.currency)
    return statement.order_by(Invoice.id.desc()).limit(MOST_SHOWN)


async def find_payments(session: AsyncSession, typed: TypedText) -> Sequence[FoundPayment]:
    """Payments with this id or idempotency key, a reference of the provider that begins so, or of this amount."""
    conditions = [
        Payment.id == typed.text,
        Payment.idempotency_key == typed.text,
        Payment.gateway_tracking_id == typed.text,
        _begins(Payment.gateway_payment_id, typed.text),
    ]
    if typed.amount is not None:
        of_amount = Payment.amount == typed.amount.amount
        code = typed.amount.currency
        conditions.append(of_amount if code is None else of_amount & (Payment.currency == code))
    ids = {
        payment_id
        for condition in conditions
        for payment_id in await session.scalars(
            select(Payment.id).where(condition).order_by(Payment.id.desc()).limit(MOST_SHOWN)
        )
    }
    rows = await session.execute(
        select(Payment, Invoice.invoice_number, Customer.name)
        .outerjoin(Invoice, Invoice.id == Payment.destination_id)
        .outerjoin(Customer, Customer.id == func.coalesce(Invoice.customer_id, Payment.destination_id))
        .where(in_array(Payment.id, ids), Payment.status == Status.PUBLISHED)
        .order_by(Payment.created_at.desc(), Payment.id.desc())
    )
    return [_payment(*row) for row in rows.all()[:MOST_SHOWN]]


def _payment(payment: Payment, number: str | None, customer_name: str | None) -> FoundPayment:
    of_invoice = payment.destination_type is DestinationType.INVOICE
    address = f"/{'invoices' if of_invoice else 'customers'}/{payment.destination_id}"
    paid_for = ", ".join(part for part in (number, customer_name) if part)
    return FoundPayment(payment, paid_for or payment.destination_id, address)


async def find_subscriptions(
    session: AsyncSession, typed: TypedText, customer_ids: Sequence[str]
) -> Sequence[FoundSubscription]:
    """Subscriptions with this id or look-up key, and those of customers that were found."""
    rows = await session.execute(
        select(Subscription, Customer.name, Plan.name)
        .join(Customer, Customer.id == Subscription.customer_id)
        .outerjoin(Plan, Plan.id == Subscription.plan_id)
        .where(
            or_(
                Subscription.id == typed.text,
                (Subscription.lookup_key == typed.text) & (Subscription.lookup_key != ""),
                in_array(Subscription.customer_id, customer_ids),
            ),
            Subscription.status == Status.PUBLISHED,
        )
        .order_by(Subscription.created_at.desc(), Subscription.id.desc())
        .limit(MOST_SHOWN)
    )
    return [FoundSubscription(subscription, name, plan or subscription.plan_id) for subscription, name, plan in rows]


def _spellings(text: str) -> set[str]:
    """A number as it was typed, and in capital letters, in which most are written."""
    return {text, text.upper()} - {""}


def _begins(column: InstrumentedAttribute[Any], start: str) -> ColumnElement[bool]:
    """Whether a text begins so, in the order of its characters alone, which an index can answer beneath a policy."""
    return column.op("~>=~", is_comparison=True)(start) & column.op("~<~", is_comparison=True)(start + _LAST)


# things that are found by their id or their number alone: what they are called, by which column, and where they are


def _live_first(table: type[Plan] | type[Feature]) -> tuple[ColumnElement[Any], ...]:
    """The order in which one is taken of those that had the same key, one after another."""
    return (table.status == Status.PUBLISHED).desc(), table.created_at.desc(), table.id.desc()


async def _plan(session: AsyncSession, typed: str) -> FoundThing | None:
    known = or_(Plan.id == typed, Plan.lookup_key == typed)
    row = await session.scalar(select(Plan).where(known).order_by(*_live_first(Plan)).limit(1))
    return None if row is None else FoundThing("Plan", row.name, f"/catalogue/plans/{row.id}")


async def _feature(session: AsyncSession, typed: str) -> FoundThing | None:
    known = or_(Feature.id == typed, Feature.lookup_key == typed)
    row = await session.scalar(select(Feature).where(known).order_by(*_live_first(Feature)).limit(1))
    return None if row is None else FoundThing("Feature", row.name, f"/catalogue/features/{row.id}")


async def _wallet(session: AsyncSession, typed: str) -> FoundThing | None:
    row = await session.get(Wallet, typed)
    return None if row is None else FoundThing("Wallet", row.name or row.id, f"/wallets/{row.id}")


async def _credit_note(session: AsyncSession, typed: str) -> FoundThing | None:
    known = or_(CreditNote.id == typed, CreditNote.credit_note_number == typed)
    row = await session.scalar(select(CreditNote).where(known).limit(1))
    return None if row is None else FoundThing("Credit note", row.credit_note_number, f"/credit-notes/{row.id}")


LookUp = Callable[[AsyncSession, str], Awaitable[FoundThing | None]]
LOOK_UPS: tuple[tuple[str, LookUp], ...] = (
    ("plan", _plan),
    ("feature", _feature),
    ("wallet", _wallet),
    ("creditnote", _credit_note),
)
"""What else is looked for, each with the entity that a role must be able to read."""
