"""Finding customers: by id, by what the tenant calls them, and by search."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sqlalchemy import Select, String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, NotFound
from farthing.customers.schemas import CustomerQuery, CustomerResponse
from farthing.customers.shapes import CUSTOMER
from farthing.customers.tables import Customer, ExternalIdTenure
from farthing.storage.queries.kept import KeptRows, RowLock, answer_to, kept_rows
from farthing.storage.queries.listing import one_of, page_statements
from farthing.storage.queries.pages import PageShape, Read, read_answers, read_row
from farthing.storage.queries.rows import missing

SEARCHABLE = (
    "id",
    "external_id",
    "name",
    "email",
    "contact",
    "address_line1",
    "address_line2",
    "address_city",
    "address_state",
    "address_postal_code",
    "address_country",
    "timezone",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


_CUSTOMERS = PageShape(CUSTOMER)


async def by_external_id(session: AsyncSession, external_id: str, *, lock: bool = False) -> Customer:
    """The published customer that the tenant calls `external_id`. Raises NotFound.

    With `lock`, fresh from the database and locked until the transaction ends.
    """
    query = select(Customer).where(Customer.external_id == external_id, Customer.status == Status.PUBLISHED)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    customer = (await session.execute(query)).scalar_one_or_none()
    if customer is None:
        raise await _nobody_called(session, external_id)
    return customer


async def _nobody_called(session: AsyncSession, external_id: str) -> NotFound:
    """The error for an external id that no published customer has; it says whose the id was last."""
    details = {"external_customer_id": external_id}
    owner = select(ExternalIdTenure.customer_id).where(
        ExternalIdTenure.external_id == external_id, ExternalIdTenure.until_sequence.is_(None)
    )
    customer_id = (await session.execute(owner)).scalar_one_or_none()
    if customer_id is not None:
        details["former_customer_id"] = customer_id
    message = f"Customer with external ID {external_id} was not found"
    return NotFound(message + (f"; it was that of customer {customer_id}" if customer_id else ""), details)


async def lock_for_use(session: AsyncSession, customer_id: str) -> Customer:
    """A published customer that nobody can change or delete until the transaction ends.

    For whoever gives a customer what forbids its deletion (a subscription, a wallet). Holders do not wait for one
    another. Raises NotFound, or InvalidOperation for an archived customer.
    """
    found = await answer_to(session, _kept_for_use().asked(id=customer_id))
    if not found:
        raise await missing(session, Customer, customer_id)
    (customer,) = found
    if customer.status is not Status.PUBLISHED:
        raise InvalidOperation(
            "The customer is archived", {"customer_id": customer_id, "status": customer.status.value}
        )
    return customer


@cache
def _kept_for_use() -> KeptRows[Customer]:
    mine = Customer.id == bindparam("id", type_=String)
    return kept_rows(Customer, mine, Customer.status != Status.DELETED, lock=RowLock.SHARE)


async def customer_answer(read: Read, id: str) -> CustomerResponse | None:
    """The customer with this id, archived ones included; None for one that is not there."""
    return await read_row(read, CUSTOMER, id)


async def customers_page(
    read: Read, query: CustomerQuery, metadata: Mapping[str, str] | None = None
) -> tuple[list[CustomerResponse], int]:
    """One page of the customers that meet all of `query` and carry all of `metadata`, and how many there are."""
    statements = page_statements(Customer, query, SEARCHABLE, _narrowed(query, metadata))
    return await read_answers(read, _CUSTOMERS, statements)


def _narrowed(query: CustomerQuery, metadata: Mapping[str, str] | None) -> Select[Customer]:
    statement = select(Customer)
    if query.customer_ids:
        statement = statement.where(one_of(Customer.id, query.customer_ids))
    if query.external_ids:
        statement = statement.where(one_of(Customer.external_id, query.external_ids))
    if query.external_id:
        statement = statement.where(Customer.external_id == query.external_id)
    if query.email:
        statement = statement.where(Customer.email == query.email)
    if metadata:
        statement = statement.where(Customer.meta.contains(dict(metadata)))
    return statement
