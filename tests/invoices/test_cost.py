"""What writing costs: statements sent to the database for an invoice and for the money that pays it, held down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.customers.tables import Customer
from farthing.invoices.figures.derivation import all_differences, differences
from farthing.invoices.lifecycle import one_off
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.reads.presentation import shown, whole
from farthing.invoices.requests import CreateInvoiceRequest
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import execution
from farthing.payments.schemas import CreatePaymentRequest
from farthing.storage.postgres import Database, ports_of
from farthing.storage.queries.rows import find
from farthing.storage.record.outbox import SystemEvent, record_activity, record_event
from farthing.wiring import wire
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.statements import statements_sent

MOST_FOR_AN_INVOICE = 10
MOST_FOR_A_PAYMENT = 12


LINES = [usage("60"), fixed("40"), fixed("0.5")]


class Meter:
    """Does one account's work on a connection of its own, and counts the statements."""

    def __init__(self, account: Account, database: Database) -> None:
        self.account = account
        self.desk = Desk(account)
        self.database = database
        self.gateways = Gateways(database, account.settings, database.ports.part(InvoicePorts).hooks)
        self.statements: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        with statements_sent(self.database) as self.statements:
            yield

    async def invoice(self, customer: str, **more: Any) -> InvoiceResponse:
        asked = convert(self.desk.order(customer, LINES, **more), CreateInvoiceRequest, strict=False)
        with self.running():
            async with self.database.transaction(self.account.scope) as session:
                return whole(
                    *await one_off.create_whole(
                        session, asked, self.database.clock.now(), effects=ports_of(session, InvoicePorts).hooks
                    ),
                    conversion=None,
                )

    async def payment(self, invoice_id: str, amount: str) -> None:
        body = {"destination_type": "INVOICE", "destination_id": invoice_id, "payment_method_type": "OFFLINE"}
        asked = convert({**body, "amount": amount, "currency": "usd", "process_payment": True}, CreatePaymentRequest)
        with self.running():
            async with self.database.transaction(self.account.scope) as session:
                await execution.record_payment(session, self.gateways, asked, self.database.clock)


@pytest.fixture
async def meter(account: Account) -> AsyncIterator[Meter]:
    database = Database(account.database.url, wire(), pool_size=1)
    yield Meter(account, database)
    await database.close()


async def test_an_invoice_costs_a_fixed_number_of_statements(meter: Meter) -> None:
    customer = await meter.desk.customer()
    # the first keeps, once, what documents say of the payer
    await meter.invoice(customer)
    costs = []
    for number in range(12):
        await meter.invoice(customer, idempotency_key=f"k{number}" if number % 2 else "")
        costs.append(len(meter.statements))
    assert max(costs) <= MOST_FOR_AN_INVOICE, meter.statements
    assert costs[-2:] == costs[:2], "the cost grows with the invoices of the customer"


async def test_a_payment_costs_a_fixed_number_of_statements(meter: Meter) -> None:
    customer = await meter.desk.customer()
    invoice = await meter.invoice(customer)
    costs = []
    for number in range(1, 9):
        await meter.payment(invoice.id, f"{number}.5")
        costs.append(len(meter.statements))
    assert max(costs) <= MOST_FOR_A_PAYMENT, meter.statements
    assert len(set(costs)) == 1, "the cost grows with the payments of the invoice"


async def test_what_is_shown_without_reading_it_is_what_is_stored(meter: Meter) -> None:
    customer = await meter.desk.customer()
    terms = {
        "coupons": [await meter.desk.coupon("10%"), await meter.desk.coupon("3")],
        "tax_rates": [await meter.desk.tax("8.25%"), await meter.desk.tax("2")],
    }
    for more in (terms, {}, {"amount_paid": "5"}, {"invoice_status": "DRAFT", **terms}):
        answered = await meter.invoice(customer, **more)
        async with meter.account.transaction(read_only=True) as session:
            invoice = await find(session, Invoice, answered.id)
            stored = msgspec.to_builtins(await shown(session, invoice))
            assert await differences(session, invoice) == []
        given = msgspec.to_builtins(answered)
        for row in (given, *given["line_items"]):
            # written again after it was shown, with what the clock said then
            assert row.pop("updated_at") <= instant(meter.database.clock.now())
        for row in (stored, *stored["line_items"]):
            row.pop("updated_at")
        assert given == stored


async def test_the_books_of_a_page_cost_as_many_statements_as_those_of_one(meter: Meter) -> None:
    customer = await meter.desk.customer()
    costs = []
    for count in (1, 4):
        for _ in range(count):
            await meter.invoice(customer)
        with meter.running():
            async with meter.database.transaction(meter.account.scope, read_only=True) as session:
                page = list(await session.scalars(select(Invoice).where(Invoice.customer_id == customer)))
                assert await all_differences(session, page) == []
        costs.append(len(meter.statements))
    assert costs[0] == costs[1]


async def test_events_told_within_a_savepoint_that_was_undone_are_not_written(meter: Meter) -> None:
    async def told(session: AsyncSession, name: str) -> None:
        await record_event(session, name, "thing", "thing_1", {})

    async with meter.database.transaction(meter.account.scope) as session:
        await told(session, "before")
        with suppress(Undone):
            async with session.begin_nested():
                await told(session, "undone")
                async with session.begin_nested():
                    await told(session, "undone within")
                raise Undone
        async with session.begin_nested():
            await told(session, "kept")
    with suppress(Undone):
        async with meter.database.transaction(meter.account.scope) as session:
            await told(session, "undone with all")
            raise Undone
    async with meter.account.transaction(read_only=True) as session:
        names = select(SystemEvent.event_name).where(SystemEvent.entity_id == "thing_1").order_by(SystemEvent.id)
        assert list(await session.scalars(names)) == ["before", "kept"]


async def test_all_that_a_transaction_leaves_in_the_log_is_one_statement(meter: Meter) -> None:
    customer = await meter.desk.customer()
    with meter.running():
        async with meter.database.transaction(meter.account.scope) as session:
            await record_event(session, "first", "thing", "thing_2", {})
            (await find(session, Customer, customer)).name = "Renamed"
            await record_activity(session, "thing.seen", "thing", "thing_3", label="seen")
            await record_event(session, "second", "thing", "thing_4", {})
    assert len([statement for statement in meter.statements if "INTO system_events" in statement]) == 1
    async with meter.account.transaction(read_only=True) as session:
        ids = SystemEvent.entity_id.in_(["thing_2", "thing_3", "thing_4", customer])
        newest = select(SystemEvent).where(ids, SystemEvent.event_name != "customer.created").order_by(SystemEvent.id)
        rows = {row.event_name: row for row in await session.scalars(newest)}
    # only what is delivered has a place in the order of deliveries
    assert {name: row.position is not None for name, row in rows.items()} == {
        "first": True,
        "thing.seen": False,
        "second": True,
        "customer.updated": False,
    }
    assert (rows["first"].position or 0) < (rows["second"].position or 0)
    assert rows["customer.updated"].payload is None


class Undone(Exception):
    """Undoes what it leaves."""
