"""The books stay true, whatever is done to invoices in whatever order.

Rule: docs/rules/invoices-and-payments.md#invariants
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.periods.finalize import BillingHooks
from farthing.core import currency
from farthing.core.enums import PriceType, Status
from farthing.core.errors import FarthingError
from farthing.core.ids import Kind, new_id
from farthing.invoices.figures.computation import compute, published_lines
from farthing.invoices.figures.derivation import differences, total_differences
from farthing.invoices.figures.settlement import settle
from farthing.invoices.lifecycle import edits, marking, one_off, transitions
from farthing.invoices.lifecycle.due_dates import notify_overdue
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.requests import (
    AddLineItemRequest,
    CreateInvoiceLineItemRequest,
    CreateInvoiceRequest,
    InvoiceModifyLineItemParams,
    UpdateInvoiceRequest,
    UpdateLineItemRequest,
)
from farthing.invoices.tables import Invoice, InvoiceSequence
from farthing.storage.queries.rows import lock_row
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.invoices.lifecycle.test_lifecycle import WalletHooks
from tests.thorough import examples

CURRENCIES = ("usd", "jpy", "kwd")
START = datetime(2025, 1, 1, tzinfo=UTC)
FROZEN = ("subtotal", "total_discount", "total_prepaid_credits_applied", "total_tax", "total", "invoice_number")


@dataclass(frozen=True)
class Step:
    """One thing done to one of the invoices (by index, round and round), with a size and a choice."""

    what: str
    which: int
    share: Decimal
    """From 0 to 1.5: how much of what is there."""
    choice: int


DEEDS = (
    *("create", "add", "change", "remove", "compute", "finalize", "finalize", "pay", "pay", "fail"),
    *("mark", "adjust", "refund", "void", "delegate", "due", "overdue", "archive"),
)


def step_of(what: st.SearchStrategy[str]) -> st.SearchStrategy[Step]:
    share = st.one_of(st.sampled_from([Decimal(0), Decimal(1)]), st.decimals(0, "1.5", places=2))
    return st.builds(Step, what=what, which=st.integers(0, 4), share=share, choice=st.integers(0, 7))


def sequences() -> st.SearchStrategy[list[Step]]:
    """Two invoices to begin with, and then anything."""
    begun = st.lists(step_of(st.just("create")), min_size=2, max_size=2)
    then = st.lists(step_of(st.sampled_from(DEEDS)), min_size=6, max_size=18)
    return st.builds(list.__add__, begun, then)


class Books:
    """Does steps in an account, each in a transaction of its own, and checks all of it after each."""

    def __init__(self, account: Account, customers: Sequence[str], coupons: Mapping[str, list[str]], taxes: list[str]):
        self.account = account
        self.customers = customers
        self.coupons = coupons
        self.taxes = taxes
        self.ids: list[str] = []
        self.now = START
        self.final: dict[str, tuple[Any, ...]] = {}
        self.refused = 0

    async def do(self, step: Step) -> None:
        self.now += timedelta(hours=1)
        try:
            async with self.account.transaction() as session:
                if step.what == "create":
                    await self._create(session, step)
                elif step.what == "overdue":
                    await notify_overdue(session, self.now, 10)
                elif self.ids:
                    invoice = await lock_row(session, Invoice, self.ids[step.which % len(self.ids)])
                    await getattr(self, f"_{step.what}")(session, invoice, step)
        except FarthingError:
            self.refused += 1

    async def _create(self, session: AsyncSession, step: Step) -> None:
        code = CURRENCIES[step.choice % 3]
        amounts = [Decimal(n) * step.share for n in (10, "33.333", "0.01")[: 1 + step.choice % 3]]
        kinds = (PriceType.USAGE, PriceType.FIXED, None)
        lines = [
            CreateInvoiceLineItemRequest(amount=amount, quantity=Decimal(n), price_type=kinds[(n + step.which) % 3])
            for n, amount in enumerate(amounts)
        ]
        total = sum(amounts, Decimal(0))
        asked = CreateInvoiceRequest(
            customer_id=self.customers[step.which % len(self.customers)],
            currency=code,
            subtotal=total,
            total=total,
            amount_due=total,
            line_items=lines,
            invoice_type=InvoiceType.CREDIT if step.choice == 7 else InvoiceType.ONE_OFF,
            invoice_status=InvoiceStatus.DRAFT if step.choice % 4 else None,
            coupons=self.coupons[code][: step.which % 3],
            tax_rates=self.taxes[: step.choice % 3],
            due_date=self.now + timedelta(hours=3) if step.which % 2 else None,
        )
        invoice = await one_off.create(session, asked, self.now, effects=WalletHooks(str(step.which)))
        self.ids.append(invoice.id)

    async def _modify(self, session: AsyncSession, invoice: Invoice, **params: Any) -> None:
        await edits.modify_lines(session, invoice.id, InvoiceModifyLineItemParams(**params), self.now)

    async def _add(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        line = AddLineItemRequest(display_name="more", amount=Decimal(7) * step.share, quantity=Decimal(1))
        await self._modify(session, invoice, action="add", items=[line])

    async def _change(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        for line in (await published_lines(session, invoice.id))[:1]:
            change = UpdateLineItemRequest(amount=Decimal(12) * step.share)
            await self._modify(session, invoice, action="update", line_item_id=line.id, update=change)

    async def _remove(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        for line in (await published_lines(session, invoice.id))[:1]:
            await self._modify(session, invoice, action="remove", line_item_ids=[line.id])

    async def _compute(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        await edits.update(session, invoice.id, UpdateInvoiceRequest(apply_discount=True), self.now)

    async def _finalize(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        hooks = WalletHooks(str(Decimal(20) * step.share))
        await transitions.finalize(session, invoice, self.now, effects=hooks)
        assert sum(hooks.debited) == invoice.total_prepaid_credits_applied

    def _part(self, invoice: Invoice, whole: Decimal, share: Decimal) -> Decimal:
        return round(whole * share, currency.digits(invoice.currency))

    async def _pay(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        amount = self._part(invoice, invoice.amount_due, step.share)
        await transitions.receive(
            session,
            invoice,
            new_id(Kind.PAYMENT),
            transitions.ReceivedMoney(amount, invoice.currency),
            self.now,
            effects=BillingHooks(),
        )

    async def _fail(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        await transitions.payment_failed(session, invoice, self.now)

    async def _mark(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        status = (PaymentStatus.PENDING, PaymentStatus.SUCCEEDED, PaymentStatus.FAILED)[step.choice % 3]
        amount = self._part(invoice, invoice.amount_due, step.share)
        await marking.mark(session, invoice.id, status, amount, self.now, effects=BillingHooks())

    async def _adjust(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        if invoice.invoice_status is InvoiceStatus.FINALIZED:
            room = max(invoice.total - invoice.amount_paid, Decimal(0))
            invoice.adjustment_amount = self._part(invoice, room, min(step.share, Decimal(1)))
            await settle(session, invoice, self.now)

    async def _refund(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        if invoice.invoice_status is InvoiceStatus.FINALIZED:
            room = invoice.amount_paid - invoice.refunded_amount
            invoice.refunded_amount += self._part(invoice, room, min(step.share, Decimal(1)))
            await settle(session, invoice, self.now)

    async def _void(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        await transitions.void(session, invoice, self.now, effects=BillingHooks())

    async def _delegate(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        owners = (*self.customers, None)
        invoice.subscription_customer_id = owners[step.choice % len(owners)]

    async def _due(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        due = self.now + timedelta(hours=step.choice)
        await edits.update(session, invoice.id, UpdateInvoiceRequest(due_date=due), self.now)

    async def _archive(self, session: AsyncSession, invoice: Invoice, step: Step) -> None:
        if step.choice == 0:
            invoice.status = Status.PUBLISHED if invoice.status is Status.ARCHIVED else Status.ARCHIVED

    async def check(self) -> None:
        async with self.account.transaction() as session:
            assert await total_differences(session) == []
            invoices = list(await session.scalars(select(Invoice).where(Invoice.id.in_(self.ids))))
            for invoice in invoices:
                assert await differences(session, invoice) == []
                self._check_standing(invoice)
                await self._check_history(session, invoice)
            numbered = {row.invoice_number for row in invoices if row.invoice_number}
            assert len(numbered) == sum(row.invoice_number is not None for row in invoices)

    def _check_standing(self, invoice: Invoice) -> None:
        owed = invoice.payment_status in {PaymentStatus.PENDING, PaymentStatus.FAILED}
        if invoice.invoice_status is InvoiceStatus.FINALIZED:
            returned = invoice.payment_status is PaymentStatus.PARTIALLY_REFUNDED
            assert owed or returned or invoice.payment_status is PaymentStatus.REFUNDED or not invoice.amount_remaining
            overpaid = invoice.amount_paid > invoice.amount_due and invoice.refunded_amount == 0
            assert (invoice.payment_status is PaymentStatus.OVERPAID) == overpaid
            assert invoice.invoice_number is not None
        if invoice.invoice_status is InvoiceStatus.DRAFT:
            assert owed
            assert invoice.invoice_number is None
            assert invoice.total_prepaid_credits_applied == 0

    async def _check_history(self, session: AsyncSession, invoice: Invoice) -> None:
        """A finalized invoice's figures and lines are the same for ever."""
        if invoice.finalized_at is None:
            return
        lines = await published_lines(session, invoice.id)
        charges = [(line.id, line.amount, line.line_item_discount, line.invoice_level_discount) for line in lines]
        now = (*(getattr(invoice, name) for name in FROZEN), charges)
        assert self.final.setdefault(invoice.id, now) == now


@pytest.fixture
async def open_books(account: Account) -> Callable[[], Books]:
    """Makes empty books; customers, coupons and tax rates are shared by all of a test's."""
    desk = Desk(account)
    coupons = {code: [await desk.coupon("12.5%"), await desk.coupon("3", code)] for code in CURRENCIES}
    customers = [await desk.customer() for _ in range(2)]
    taxes = [await desk.tax("8.25%"), await desk.tax("1")]
    return lambda: Books(account, customers, coupons, taxes)


@pytest.mark.slow
@settings(max_examples=examples(15, 60))
@given(sequence=sequences())
@example(
    sequence=[
        Step("create", 1, Decimal(1), 1),
        Step("mark", 0, Decimal("0.4"), 0),
        Step("change", 0, Decimal("0.1"), 0),
        Step("finalize", 0, Decimal(0), 0),
        Step("void", 0, Decimal(0), 0),
    ]
)
async def test_the_books_stay_true(account: Account, open_books: Callable[[], Books], sequence: list[Step]) -> None:
    books = open_books()
    for step in sequence:
        await books.do(step)
        await books.check()
    async with account.transaction() as session:
        given_out = await session.scalar(select(func.sum(InvoiceSequence.last_value)))
        numbered = await session.scalar(
            select(func.count()).select_from(Invoice).where(Invoice.invoice_number.is_not(None))
        )
    assert (given_out or 0) == numbered


TAMPERINGS = [
    *(
        f"UPDATE invoices SET {column} = {column} + 0.01"
        for column in ("subtotal", "total_discount", "total_tax", "total", "net_total", "net_usage", "amount_paid")
    ),
    "UPDATE invoices SET amount_due = amount_due + 1",
    "UPDATE invoices SET amount_remaining = amount_remaining - 1",
    "UPDATE invoices SET usage_remaining = usage_remaining - 0.01",
    "UPDATE invoices SET payment_status = 'SUCCEEDED'",
    "UPDATE invoices SET refunded_amount = 50",
    "UPDATE invoices SET adjustment_amount = 1",
    "UPDATE invoice_line_items SET amount = amount + 1 WHERE position = 0",
    "UPDATE invoice_line_items SET line_item_discount = 1 WHERE position = 0",
    "UPDATE invoice_line_items SET status = 'archived' WHERE position = 0",
    "UPDATE coupon_applications SET discounted_amount = discounted_amount + 1",
    "DELETE FROM coupon_applications",
    "UPDATE taxes_applied SET tax_amount = tax_amount - 0.01",
    "DELETE FROM taxes_applied",
    "UPDATE invoice_settlements SET amount = amount + 1",
    "DELETE FROM invoice_settlements",
]


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_a_figure_that_was_tampered_with_is_found(account: Account, tampering: str) -> None:
    desk = Desk(account)
    made = await desk.invoice(
        [usage("60"), fixed("40")],
        coupons=[await desk.coupon("10%")],
        tax_rates=[await desk.tax("10%")],
        amount_paid="30",
    )
    async with account.transaction() as session:
        assert await differences(session, await lock_row(session, Invoice, made["id"])) == []
        await session.execute(text(tampering))
        assert await differences(session, await lock_row(session, Invoice, made["id"])) != []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE invoice_totals SET revenue = revenue + 0.01",
        "UPDATE invoice_totals SET invoice_count = 2",
        "DELETE FROM invoice_totals",
        "UPDATE invoice_totals SET customer_id = 'cust_else'",
    ],
)
async def test_a_total_that_was_tampered_with_is_found(account: Account, tampering: str) -> None:
    await Desk(account).invoice([fixed("40")])
    async with account.transaction() as session:
        assert await total_differences(session) == []
        await session.execute(text(tampering))
        assert await total_differences(session) != []


async def test_computing_twice_changes_nothing(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([usage("60")], invoice_status="DRAFT", coupons=[await desk.coupon("10%")])
    async with account.transaction() as session:
        invoice = await lock_row(session, Invoice, draft["id"])
        await compute(session, invoice, START)
    again = await desk.get(draft)
    assert {**again, "last_computed_at": "", "coupon_applications": [], "updated_at": ""} == {
        **draft,
        "last_computed_at": "",
        "coupon_applications": [],
        "updated_at": "",
    }
    assert len(again["coupon_applications"]) == 1
