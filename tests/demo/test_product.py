"""A small demo in a database of its own: what it loads, that it adds up, and that it is told only once."""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from rich.console import Console
from sqlalchemy import func, select

from farthing.core.caller import Caller
from farthing.core.clock import FixedClock
from farthing.core.enums import PriceType
from farthing.core.origin import VISITOR
from farthing.customers.tables import Customer
from farthing.demo.books import Ledger, load_customer
from farthing.demo.catalogue import (
    COMPLETION,
    ENTERPRISE,
    LARGE,
    REQUEST,
    SCALE,
    SMALL,
    STARTER,
    TEAM,
    CatalogueOffer,
    load_catalogue,
)
from farthing.demo.company import CURRENCIES, Habit, customers
from farthing.demo.product import load_product
from farthing.demo.subscriptions import METERED, Deal, deals
from farthing.demo.usage import BATCH, UsersOverTime, batches, events, load_events
from farthing.doctor.examination import audit
from farthing.events.analytics.debugger import debugged
from farthing.events.tables import StoredEvent
from farthing.identity.bootstrap import new_tenant
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.receivables.summary import summarise
from farthing.invoices.tables import Invoice
from farthing.metering.event import UsageEvent
from farthing.notifications.activity.reading import list_activity
from farthing.notifications.activity.schemas import MOST_LISTED, ListActivityRequest
from farthing.payments.tables import Payment
from farthing.reporting.line_explanation import explain_line
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.roll_forward import due
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.accounts.customers import latest_invoices
from farthing.web.rendering.words.differences import differences
from farthing.web.rendering.words.recorded_values import plain_text, shown_state, shown_value
from farthing.wiring import wire
from tests.conftest import settings_for

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
COUNT, EVENTS, SEED = 13, 5_000, 1


@dataclass
class Stage:
    """A database on which the story is told, up to a fixed instant."""

    settings: Settings
    database: Database
    ledger: Ledger
    printed: str = ""

    async def load(self, **other: int) -> str:
        """Load the product side; what was printed."""
        printed = io.StringIO()
        given = {"count": COUNT, "seed": SEED, "events": EVENTS, **other}
        await load_product(self.ledger, self.settings, Console(file=printed, width=200), **given)
        return printed.getvalue()

    async def rows(self) -> dict[str, int | None]:
        tables = (Customer, StoredEvent, Subscription, Invoice, InvoiceLineItem, Payment)
        async with self.database.transaction(self.ledger.scope, read_only=True) as session:
            return {
                table.__tablename__: await session.scalar(select(func.count()).select_from(table)) for table in tables
            }

    async def bills(self) -> list[tuple[str, str, datetime | None, Decimal, Decimal, str]]:
        """Every bill of every subscription, by what it says and not by its id."""
        query = (
            select(Subscription.lookup_key, Invoice)
            .join(Subscription, Subscription.id == Invoice.subscription_id)
            .order_by(Subscription.lookup_key, Invoice.period_start, Invoice.billing_reason)
        )
        async with self.database.transaction(self.ledger.scope, read_only=True) as session:
            return [
                (key, str(bill.billing_reason), bill.period_start, bill.total, bill.amount_paid, bill.payment_status)
                for key, bill in await session.execute(query)
            ]


async def _stage(url: str) -> Stage:
    database = Database(url, wire(), clock=FixedClock(NOW))
    settings = settings_for(url)
    async with database.transaction(SYSTEM) as session:
        tenant, owner, environment = await new_tenant(session, name="Demo", email="demo@example.com")
    ledger = Ledger(settings, database, Scope(tenant.id, environment.id, owner.id))
    for customer in customers(COUNT, SEED, NOW):
        await load_customer(ledger, customer)
    return Stage(settings, database, ledger)


@pytest.fixture(scope="module")
async def told(new_database: Callable[..., str]) -> AsyncIterator[Stage]:
    """The story, told once."""
    stage = await _stage(new_database())
    stage.printed = await stage.load()
    yield stage
    await stage.database.close()


def _story() -> tuple[list[Deal], CatalogueOffer]:
    story = CatalogueOffer(NOW, SEED, EVENTS)
    return deals(customers(COUNT, SEED, NOW), story), story


def _used() -> list[UsageEvent]:
    subscribed, story = _story()
    return [event for number, count in batches(EVENTS) for event in events(subscribed, number, count, story)]


def test_events_end_with_the_story_and_keep_to_its_last_five_months() -> None:
    used = _used()
    assert len({event.id for event in used}) == EVENTS
    assert min(event.timestamp for event in used).date().isoformat() == "2025-12-18"
    assert NOW.replace(hour=0) < max(event.timestamp for event in used) < NOW
    assert all(event.timestamp.microsecond % 1000 == 0 for event in used)


def test_the_story_has_every_plan_and_upgrades_and_cancellations() -> None:
    told = deals(customers(200, SEED, NOW), CatalogueOffer(NOW, SEED, EVENTS))
    assert len(told) == 120
    assert {deal.plan for deal in told} == {STARTER, TEAM, SCALE, ENTERPRISE}
    assert sum(deal.upgraded is not None for deal in told) >= 10
    assert sum(deal.cancelled is not None for deal in told) >= 5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whoever_owes_most_in_a_currency_owes_for_usage(seed: int) -> None:
    subscribed = deals(customers(200, seed, NOW), CatalogueOffer(NOW, seed, EVENTS))
    names, sums = UsersOverTime(subscribed).at(NOW - timedelta(days=40))
    shares = dict(zip(names, (after - before for before, after in zip([0, *sums], sums, strict=False)), strict=True))
    typical = sums[-1] / len(sums)
    for code in CURRENCIES:
        forgetful = [
            deal
            for deal in subscribed
            if deal.customer.habit is Habit.FORGETFUL and deal.customer.billing_currency == code
        ]
        assert all(deal.plan in METERED for deal in forgetful)
        assert any(shares.get(deal.customer.external_id, 0) > 1.5 * typical for deal in forgetful), code


def test_every_event_is_of_a_customer_who_pays_for_it() -> None:
    story = CatalogueOffer(NOW, SEED, BATCH * 3)
    subscribed = deals(customers(200, SEED, NOW), story)
    by_name = {deal.customer.external_id: deal for deal in subscribed}
    for number, count in batches(story.events):
        for event in events(subscribed, number, count, story):
            deal = by_name[event.external_customer_id]
            assert deal.plan in METERED
            assert deal.begins <= event.timestamp
            assert deal.cancelled is None or event.timestamp < deal.cancelled


async def test_the_newest_event_is_charged_for_and_ends_the_story(told: Stage) -> None:
    newest = max(_used(), key=lambda event: event.timestamp)
    assert NOW - newest.timestamp < timedelta(days=153) / EVENTS * 2
    async with told.database.transaction(told.ledger.scope, read_only=True) as session:
        found = await debugged(session, newest.id)
    assert found.status == "processed"
    assert all(processed.subscription_id for processed in found.processed_events or ())


async def test_three_clicks_from_a_debtor_end_at_a_price_its_tiers_and_its_events(told: Stage) -> None:
    """What a forgetful customer has owed longest is an invoice of its subscription, which its events explain."""
    (forgetful,) = [deal for deal in _story()[0] if deal.customer.habit is Habit.FORGETFUL]
    async with told.database.transaction(told.ledger.scope, read_only=True) as session:
        customer = (
            await session.scalars(select(Customer).where(Customer.external_id == forgetful.customer.external_id))
        ).one()
        first, *_ = await latest_invoices(session, customer.id)
        assert first.subscription_id is not None
        assert first.amount_remaining == first.total > 0
        lines = await session.scalars(select(InvoiceLineItem).where(InvoiceLineItem.invoice_id == first.id))
        (line,) = [line for line in lines if line.display_name == "Tokens, large model"]
        explained = await explain_line(session, first.id, line.id, sees_events=True)
    assert explained.breakdown is not None
    assert explained.breakdown.parts[0].tier == 0
    assert explained.usage_now is not None
    assert explained.usage_now.event_count > 0
    assert explained.usage_agrees


def test_progress_is_printed_where_there_is_no_terminal(told: Stage) -> None:
    lines = told.printed.splitlines()
    assert len(lines) < 10
    assert f"Demo: events: {EVENTS:,} of {EVENTS:,}" in lines
    assert any(line.startswith("Demo: subscriptions: ") for line in lines)


async def test_the_doctor_finds_no_difference(told: Stage) -> None:
    findings = await audit(told.database)
    assert findings.invoices > 40
    assert findings.differences == []


async def test_nothing_is_left_to_bill_when_the_story_is_told(told: Stage) -> None:
    async with told.database.transaction(told.ledger.scope, read_only=True) as session:
        assert await due(session, NOW, 100) == []
        statuses = Counter(await session.scalars(select(Subscription.subscription_status)))
    assert statuses[SubscriptionStatus.CANCELLED] == sum(
        deal.cancelled is not None and deal.cancelled < _month_of(NOW) for deal in _story()[0]
    )


def _month_of(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0)


async def test_loading_again_adds_nothing(told: Stage) -> None:
    before, bills = await told.rows(), await told.bills()
    assert before["events"] == EVENTS
    assert "are there already" in await told.load(events=EVENTS * 2, seed=SEED + 1)
    assert await told.rows() == before
    assert await told.bills() == bills


@pytest.mark.slow
async def test_the_same_seed_makes_the_same_bills_even_if_a_load_was_cut_off_and_finished_weeks_later(
    told: Stage, new_database: Callable[..., str]
) -> None:
    class CutOffError(Exception):
        pass

    def cut(_count: int) -> None:
        raise CutOffError

    stage = await _stage(new_database())
    subscribed, story = _story()
    await load_catalogue(stage.ledger, story)
    with pytest.raises(CutOffError):
        await load_events(stage.ledger, subscribed, story, cut)
    assert (await stage.rows())["events"] == BATCH
    stage.database.clock = FixedClock(NOW + timedelta(days=40))
    assert f"{EVENTS - BATCH} events" in await stage.load()
    assert await stage.bills() == await told.bills()
    assert await stage.rows() == await told.rows()
    await stage.database.close()


async def test_invoices_of_the_last_five_months_carry_the_usage_of_their_periods(told: Stage) -> None:
    used = _used()
    counted = 0
    query = (
        select(Subscription.lookup_key, InvoiceLineItem)
        .join(Subscription, Subscription.id == InvoiceLineItem.subscription_id)
        .where(InvoiceLineItem.price_type == PriceType.USAGE, InvoiceLineItem.meter_id.is_not(None))
    )
    async with told.database.transaction(told.ledger.scope, read_only=True) as session:
        lines = (await session.execute(query)).all()
    for key, line in lines:
        ours = [
            event
            for event in used
            if f"demo-{event.external_customer_id}" == key
            and (line.period_start or NOW) <= event.timestamp < (line.period_end or NOW)
        ]
        match line.display_name:
            case "Tokens, large model" | "Tokens, small model":
                model = LARGE if "large" in line.display_name else SMALL
                expected = sum(
                    event.properties["tokens"]
                    for event in ours
                    if event.event_name == COMPLETION and event.properties["model"] == model
                )
                assert line.quantity == expected
            case "API requests":
                # a thousand make a package
                count = sum(event.event_name == REQUEST for event in ours)
                assert line.quantity in {count, -(-count // 1000)}
                expected = count
            case _:
                continue
        counted += expected > 0
    assert counted >= 5


async def test_the_summary_says_what_invoices_and_payments_add_up_to(told: Stage) -> None:
    async with told.database.transaction(told.ledger.scope, read_only=True) as session:
        issued = (await session.scalars(select(Invoice).where(Invoice.invoice_status == InvoiceStatus.FINALIZED))).all()
        lines = (await session.scalars(select(InvoiceLineItem).where(InvoiceLineItem.status == "published"))).all()
        payments = (await session.scalars(select(Payment))).all()
    charged: dict[str, list[InvoiceLineItem]] = defaultdict(list)
    for line in lines:
        charged[line.invoice_id].append(line)
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for payment in payments:
        paid[payment.destination_id] += payment.amount
    looked_at, owing = 0, 0
    for customer_id in {invoice.customer_id for invoice in issued}:
        summary = await summarise(told.database, told.ledger.scope, customer_id, NOW)
        in_currency = {figures.currency: figures for figures in summary.summaries}
        ours_in = {invoice.currency for invoice in issued if invoice.customer_id == customer_id}
        assert in_currency.keys() >= ours_in
        for currency in ours_in:
            figures = in_currency[currency]
            ours = [invoice for invoice in issued if (invoice.customer_id, invoice.currency) == (customer_id, currency)]
            totals = {invoice.id: sum((line.amount for line in charged[invoice.id]), Decimal(0)) for invoice in ours}
            unpaid = [invoice for invoice in ours if totals[invoice.id] > paid[invoice.id]]
            left = {invoice.id: totals[invoice.id] - paid[invoice.id] for invoice in unpaid}
            assert Decimal(figures.total_revenue_amount) == sum(totals.values())
            assert figures.total_invoice_count == len(ours)
            assert Decimal(figures.total_unpaid_amount) == sum(left.values())
            assert figures.unpaid_invoice_count == len(unpaid)
            late = [left[invoice.id] for invoice in unpaid if invoice.due_date is not None and invoice.due_date < NOW]
            assert Decimal(figures.total_overdue_amount) == sum(late)
            if not any(paid[invoice.id] for invoice in unpaid):
                usage = sum(
                    line.amount
                    for invoice in unpaid
                    for line in charged[invoice.id]
                    if line.price_type == PriceType.USAGE
                )
                assert Decimal(figures.unpaid_usage_charges) == usage
                assert Decimal(figures.unpaid_fixed_charges) == sum(left.values()) - usage
            looked_at += 1
            owing += bool(unpaid)
    assert looked_at >= 5
    assert owing >= 1


async def test_every_recorded_change_reads_as_words(told: Stage) -> None:
    """Neither what it was before, nor what it became, nor the state then, shows how it is stored."""
    raw, seen, kinds = [], 0, set()
    query = ListActivityRequest(expand=["state"], limit=MOST_LISTED)
    account = told.ledger.scope.tenant_id, told.ledger.scope.environment_id
    reader = Caller(*account, "", "", VISITOR, roles=("super_admin",), is_person=True)
    async with told.database.transaction(told.ledger.scope, read_only=True) as session:
        while True:
            page = await list_activity(session, reader, query)
            for activity in page.items:
                kinds.add(activity.entity.type)
                shown = [
                    (difference, value)
                    for difference in [*differences(activity.changes), *shown_state(activity.state)]
                    for value in (difference.before, difference.after)
                ]
                for difference, value in shown:
                    text = plain_text(shown_value(difference.field, value, activity.currency))
                    seen += 1
                    if re.search(r"[{}]|\d{4}-\d\d-\d\d|\d\dT\d\d:", f"{difference.name} {text}"):
                        raw.append((activity.action, difference.name, text))
            query.cursor = page.pagination.next_cursor
            if query.cursor is None:
                break
    assert raw == []
    assert seen > 1000
    assert {"customer", "invoice", "payment", "plan", "price", "subscription"} <= kinds
