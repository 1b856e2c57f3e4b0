"""Whether, when and how often a customer's failed charges are tried again, and what ends that.

Rule: docs/rules/dunning.md#settings
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.schemas import CustomerDunningRequest, CustomerDunningResponse, EffectiveDunning
from farthing.billing.dunning.tables import CustomerDunning, FinalAction
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import DunningConfig
from farthing.identity.settings.current import read
from farthing.storage.queries.rows import find, lock_row


@dataclass(frozen=True, slots=True)
class DunningTerms:
    """The terms in force for one customer. Days count from the first failure, and ascend."""

    is_enabled: bool
    retry_days: Sequence[int]
    final_action: FinalAction


async def terms_of(session: AsyncSession, customer_id: str) -> DunningTerms:
    """The environment's terms, overlaid with the customer's own."""
    config = await read(session, DunningConfig)
    own = await session.get(CustomerDunning, customer_id)
    if own is None:
        return DunningTerms(config.enabled, config.retry_days, FinalAction(config.final_action))
    return DunningTerms(
        config.enabled if own.is_enabled is None else own.is_enabled,
        config.retry_days if own.retry_days is None else own.retry_days,
        FinalAction(config.final_action) if own.final_action is None else own.final_action,
    )


async def customer_terms(session: AsyncSession, customer_id: str) -> CustomerDunningResponse:
    """What a customer has of its own, and what is in force. Raises NotFound for a customer that is not there."""
    customer = await find(session, Customer, customer_id)
    terms = await terms_of(session, customer.id)
    own = await session.get(CustomerDunning, customer.id)
    return CustomerDunningResponse(
        customer_id=customer.id,
        effective=EffectiveDunning(
            enabled=terms.is_enabled, retry_days=list(terms.retry_days), final_action=terms.final_action
        ),
        enabled=own.is_enabled if own else None,
        retry_days=own.retry_days if own else None,
        final_action=own.final_action if own else None,
    )


async def set_customer_terms(session: AsyncSession, customer_id: str, given: CustomerDunningRequest) -> None:
    """Give a customer terms of its own, in place of those it had. Cases that are open keep theirs. Raises NotFound."""
    customer = await lock_row(session, Customer, customer_id)
    own = await session.get(CustomerDunning, customer.id)
    if own is None:
        own = CustomerDunning(id=customer.id)
        session.add(own)
    own.is_enabled = given.enabled
    own.retry_days = given.retry_days
    own.final_action = given.final_action
    await session.flush()


async def drop_customer_terms(session: AsyncSession, customer_id: str) -> None:
    """A customer gets what the environment's setting says. Raises NotFound."""
    customer = await lock_row(session, Customer, customer_id)
    own = await session.get(CustomerDunning, customer.id)
    if own is not None:
        await session.delete(own)
