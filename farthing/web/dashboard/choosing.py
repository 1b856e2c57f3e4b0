"""Filters in which people say a name: what they typed becomes the id that a query takes.

An id is taken as it is, so that links keep working; so is the name, number, email or external id of one thing alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.products.tables import Feature
from farthing.core.caller import Caller
from farthing.core.errors import ValidationFailed
from farthing.credits.ledger.tables import Wallet
from farthing.credits.notes.tables import CreditNote
from farthing.customers.tables import Customer
from farthing.identity.credentials.api_keys import hidden_among
from farthing.identity.tables import Secret, User
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import scope_of

MOST_NAMED = 5
"""Of several things of one name, so many are looked for."""

_Column = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


async def customer_id_of(session: AsyncSession, typed: str, field: str) -> str:
    """The customer with this id, external id, email or name; "" for nothing. Raises ValidationFailed."""
    names = (Customer.external_id, Customer.email, Customer.name)
    return _chosen(field, typed, await _named(session, Customer.id, names, typed))


async def actor_id_of(session: AsyncSession, caller: Caller, typed: str, field: str) -> str:
    """The person, service account, key or customer in its portal with this id or name; a key only if the caller may
    see its name. Raises ValidationFailed."""
    tenant_id = scope_of(session).tenant_id
    people = await _named(session, User.id, (User.email, User.name), typed, User.tenant_id == tenant_id)
    keys = await _named(session, Secret.id, (Secret.name,), typed, Secret.tenant_id == tenant_id)
    keys = sorted(set(keys) - await hidden_among(session, caller, keys))
    customers = await _named(session, Customer.id, (Customer.name,), typed)
    return _chosen(field, typed, [*people, *keys, *customers])


async def entity_id_of(session: AsyncSession, typed: str, field: str) -> str:
    """The customer, document, wallet or part of the catalogue of this id, number or name. Raises ValidationFailed."""
    named = [
        entity_id
        for id_column, names in (
            (Invoice.id, (Invoice.invoice_number,)),
            (CreditNote.id, (CreditNote.credit_note_number,)),
            (Customer.id, (Customer.external_id, Customer.name)),
            (Plan.id, (Plan.name, Plan.lookup_key)),
            (Addon.id, (Addon.name, Addon.lookup_key)),
            (Feature.id, (Feature.name, Feature.lookup_key)),
            (Wallet.id, (Wallet.name,)),
        )
        for entity_id in await _named(session, id_column, names, typed)
    ]
    return _chosen(field, typed, named)


async def _named(
    session: AsyncSession,
    id_column: InstrumentedAttribute[str],
    names: Sequence[_Column],
    typed: str,
    *conditions: ColumnElement[bool],
) -> Sequence[str]:
    """The ids of the first rows with this id or one of these names, whatever its case; none for no name."""
    if not typed:
        return ()
    is_called = or_(id_column == typed, *(func.lower(name) == typed.lower() for name in names))
    query = select(id_column).where(is_called, *conditions).order_by(id_column.desc()).limit(MOST_NAMED)
    return (await session.scalars(query)).all()


def _chosen(field: str, typed: str, ids: Sequence[str]) -> str:
    """The one thing that is called so; what is typed like an id is one, also of what is gone."""
    if not typed or typed in ids:
        return typed
    if len(set(ids)) == 1:
        return ids[0]
    if ids:
        count = f"{MOST_NAMED} or more" if len(ids) >= MOST_NAMED else str(len(ids))
        raise ValidationFailed.of(field, f"{count} are called '{typed}'; say the id: {', '.join(ids)}")
    if "_" in typed and " " not in typed:
        return typed
    raise ValidationFailed.of(field, f"nothing is called '{typed}'")
