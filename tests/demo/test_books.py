"""The demo's books: every fate an invoice can have occurs, and loading again adds what is missing and nothing else."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime

import pytest
from rich.console import Console
from sqlalchemy import func, select

from farthing import demo
from farthing.demo.books import Ledger, key_of, load_bill, load_customer
from farthing.demo.catalogue import CatalogueOffer
from farthing.demo.company import DemoCustomer, customers
from farthing.demo.subscriptions import billed_by_hand, deals
from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from tests.account import Account

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def story_of(count: int, seed: int, now: datetime) -> list[DemoCustomer]:
    return billed_by_hand(customers(count, seed, now), CatalogueOffer(now, seed, events=0))


def test_the_story_is_the_same_for_the_same_seed_and_large_enough() -> None:
    story = story_of(demo.CUSTOMERS, 1, NOW)
    assert story == story_of(demo.CUSTOMERS, 1, NOW)
    assert story != story_of(demo.CUSTOMERS, 2, NOW)
    bills = [bill for customer in story for bill in customer.bills]
    assert len(bills) >= 1_500
    assert sum(len(bill.payments) for bill in bills) >= 1_400
    fates = Counter(
        fate
        for bill in bills
        for fate, holds in {
            "draft": bill.draft,
            "paid": sum(amount for _, amount in bill.payments) == bill.total,
            "part-paid": 0 < sum(amount for _, amount in bill.payments) < bill.total,
            "overpaid": sum(amount for _, amount in bill.payments) > bill.total,
            "overdue": not bill.draft and not bill.payments and bill.voided is None and bill.due < NOW,
            "failed": bill.failed is not None,
            "voided": bill.voided is not None and not bill.payments,
            "refunded": bill.voided is not None and bool(bill.payments),
        }.items()
        if holds
    )
    assert all(fates[fate] >= 5 for fate in ("draft", "paid", "part-paid", "overpaid", "overdue", "failed"))
    assert fates["voided"] >= 5
    assert fates["refunded"] >= 5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bills_are_written_by_hand_until_a_subscription_begins(seed: int) -> None:
    begins = {
        deal.customer.external_id: deal.begins
        for deal in deals(customers(demo.CUSTOMERS, seed, NOW), CatalogueOffer(NOW, seed, events=0))
    }
    for customer in story_of(demo.CUSTOMERS, seed, NOW):
        assert all(bill.issued < begins.get(customer.external_id, NOW) for bill in customer.bills)


async def test_progress_is_a_few_plain_lines_where_there_is_no_terminal(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CUSTOMERS", 2)
    total = sum(len(customer.bills) for customer in story_of(2, 1, account.database.clock.now()))
    printed = io.StringIO()
    await demo.load_books(account.settings, account.database, account.scope, Console(file=printed, width=200), seed=1)
    *progress, done = printed.getvalue().splitlines()
    assert 2 <= len(progress) <= 4
    assert progress[-1] == f"Demo: bills: {total} of {total}"
    assert done.startswith(f"Demo: 2 customers, {total} invoices")


async def test_loading_again_adds_what_is_missing_and_nothing_else(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(account.settings, account.database, account.scope)
    story = story_of(3, 1, account.database.clock.now())
    first = story[0]
    # an earlier load was cut off in the middle of its first customer
    customer_id = await load_customer(ledger, first)
    for bill in first.bills[:2]:
        await load_bill(ledger, customer_id, first, bill)
    monkeypatch.setattr(demo, "CUSTOMERS", 3)
    for _ in range(2):
        await demo.load_books(account.settings, account.database, account.scope, Console(quiet=True), seed=1)
        async with account.transaction(read_only=True) as session:
            invoices = list(await session.scalars(select(Invoice)))
            payments = await session.scalar(select(func.count()).select_from(Payment))
            assert await all_differences(session, invoices) == []
        assert {invoice.idempotency_key for invoice in invoices} == {
            key_of(customer, bill) for customer in story for bill in customer.bills
        }
        assert payments == sum(len(bill.payments) for customer in story for bill in customer.bills)
