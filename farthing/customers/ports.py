"""What customers need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.schemas import CreateCustomerRequest
from farthing.customers.tables import Customer

DeletionCheck = Callable[[AsyncSession, str], Awaitable[None]]
"""Given the id of a customer whose row is locked; raises InvalidOperation if something forbids its deletion."""

TaxLink = Callable[[AsyncSession, Customer, CreateCustomerRequest], Awaitable[None]]
"""Given a customer just inserted and what was asked; part of the same transaction, so raising undoes the creation."""


@dataclass(frozen=True, slots=True)
class CustomerPorts:
    """Who is asked before a customer is deleted, and what a new customer is given."""

    require_no_live_subscription: DeletionCheck
    require_no_open_wallet: DeletionCheck
    require_no_unapplied_money: DeletionCheck
    require_no_open_checkout: DeletionCheck
    require_invoices_settled: DeletionCheck
    """Asked only for callers who insist on settled invoices."""
    link_taxes: TaxLink
