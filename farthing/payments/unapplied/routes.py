"""Endpoints of unapplied money."""

from __future__ import annotations

from litestar import Controller, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.invoices.reads.presentation import shown
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.payments.shared_by_routes import READ, WRITE
from farthing.payments.unapplied import reads
from farthing.payments.unapplied.allocation import Allocation, allocate_by_hand, allocate_oldest_first
from farthing.payments.unapplied.money import move_overpayment
from farthing.payments.unapplied.schemas import (
    AllocatedMoneyResponse,
    AllocateMoneyRequest,
    AllocationResponse,
    MoveOverpaymentRequest,
    UnappliedBalancesResponse,
)
from farthing.storage.queries.rows import find


class CustomerUnappliedMoney(Controller):
    """What a customer paid that stands on no invoice yet."""

    path = "/customers/{id:str}/unapplied-money"
    tags = ("Payments",)

    @get("/", operation_id="getUnappliedMoney", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> UnappliedBalancesResponse:
        """Get the unapplied money of a customer."""
        customer = await find(session, Customer, id)
        return UnappliedBalancesResponse(customer_id=customer.id, balances=await reads.balances(session, customer.id))

    @post("/allocate", operation_id="allocateUnappliedMoney", guards=[WRITE], status_code=200)
    async def allocate(
        self, id: str, data: AllocateMoneyRequest, session: AsyncSession, clock: Clock
    ) -> AllocatedMoneyResponse:
        """Let invoices have unapplied money: those named, or those due first."""
        if data.allocations is None:
            done = await allocate_oldest_first(session, id, data.currency, data.amount, clock.now())
        else:
            wanted = [Allocation(part.invoice_id, part.amount) for part in data.allocations]
            done = await allocate_by_hand(session, id, data.currency, wanted, clock.now())
        return AllocatedMoneyResponse(
            allocations=[AllocationResponse(invoice_id=part.invoice_id, amount=plain(part.amount)) for part in done],
            balances=await reads.balances(session, id),
        )


class InvoiceOverpayments(Controller):
    """What was paid beyond an invoice."""

    path = "/invoices/{id:str}/overpayment"
    tags = ("Invoices",)

    @post("/move", operation_id="moveInvoiceOverpayment", guards=[WRITE], status_code=200)
    async def move(
        self, id: str, session: AsyncSession, clock: Clock, data: MoveOverpaymentRequest | None = None
    ) -> InvoiceResponse:
        """Move what was paid too much to the customer's unapplied money."""
        await move_overpayment(session, id, data.amount if data else None, clock.now())
        return await shown(session, await find(session, Invoice, id))
