"""How a customer comes to be, changes and is archived. Each change locks the row first and tells what happened."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id, new_ulid
from farthing.customers import fields
from farthing.customers.buyer import buyer_terms
from farthing.customers.deletion import nothing_forbids
from farthing.customers.lookup import by_external_id
from farthing.customers.mappings import map_customer
from farthing.customers.ports import CustomerPorts
from farthing.customers.schemas import (
    CreateCustomerRequest,
    CustomerContactPerson,
    CustomerFields,
    UpdateCustomerRequest,
)
from farthing.customers.tables import Customer, TaxTreatment
from farthing.identity.parties.versions import keep_versions
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import CustomerOnboarding
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import insert_if_new, lock_row, unique
from farthing.storage.record.outbox import record_event


async def create(session: AsyncSession, request: CreateCustomerRequest, *, strict_ids: bool) -> Customer:
    """Insert a customer, link its taxes and mappings, tell. Raises ValidationFailed, AlreadyExists.

    `strict_ids` refuses external ids that are awkward in a URL.
    """
    if strict_ids:
        _demand_plain(request.external_id)
    if request.onboarding_workflow_name:
        await _demand_workflow(session, request.onboarding_workflow_name)
    customer = Customer(
        id=new_id(Kind.CUSTOMER),
        external_id=request.external_id,
        name=request.name,
        timezone=fields.DEFAULT_TIMEZONE,
        tax_treatment=TaxTreatment.TAXABLE,
        contact_persons=[],
        former_external_ids=[],
        meta={},
    )
    _apply(customer, request)
    if not await insert_if_new(session, customer):
        raise _duplicate(request.external_id)
    await map_customer(session, customer, request.integration_entity_mapping or ())
    await ports_of(session, CustomerPorts).link_taxes(session, customer, request)
    await _tell(session, "customer.created", customer)
    return customer


async def update(
    session: AsyncSession,
    request: UpdateCustomerRequest,
    *,
    customer_id: str | None = None,
    external_id: str | None = None,
    strict_ids: bool,
) -> Customer:
    """Change what `request` names, of the customer with this id or this external id, or both if they agree.

    Tells only if something changed. Raises NotFound, ValidationFailed, AlreadyExists, and InvalidOperation for an
    archived customer.
    """
    customer = await _identified(session, customer_id or None, external_id or None)
    if customer.status is not Status.PUBLISHED:
        raise InvalidOperation(
            "An archived customer cannot be changed", {"customer_id": customer.id, "status": customer.status.value}
        )
    wanted = request.external_id or customer.external_id
    if strict_ids and wanted != customer.external_id:
        _demand_plain(wanted)
    async with _refusing_duplicates(session, wanted):
        former = customer.external_id
        named_before = buyer_terms(customer)
        _apply(customer, request)
        if wanted != former:
            customer.external_id = wanted
            customer.former_external_ids = [*customer.former_external_ids, former]
        if request.name is not None:
            customer.name = request.name
        changed = session.is_modified(customer)
    await map_customer(session, customer, request.integration_entity_mapping or ())
    named = buyer_terms(customer)
    if named != named_before:
        await keep_versions(session, {customer.id: named})
    if changed:
        await _tell(session, "customer.updated", customer)
    return customer


async def _identified(session: AsyncSession, customer_id: str | None, external_id: str | None) -> Customer:
    if external_id is not None:
        customer = await by_external_id(session, external_id, lock=True)
        if customer_id not in {None, customer.id}:
            raise ValidationFailed.of("id", "and external_customer_id must name the same customer")
        return customer
    if customer_id is None:
        raise ValidationFailed.of("id", "or external_customer_id is required")
    return await lock_row(session, Customer, customer_id)


async def archive(session: AsyncSession, customer_id: str, *, require_settled: bool) -> None:
    """Archive a published customer unless something forbids it; its external id is free again. Tells.

    Raises NotFound, also for a customer already archived, and InvalidOperation naming the first obstacle.
    """
    try:
        customer = await lock_row(session, Customer, customer_id)
    except NotFound as error:
        raise _gone(customer_id) from error
    if customer.status is not Status.PUBLISHED:
        raise _gone(customer_id)
    await nothing_forbids(session, customer.id, require_settled=require_settled)
    customer.status = Status.ARCHIVED
    await session.flush()
    await _tell(session, "customer.deleted", customer)


def _gone(customer_id: str) -> NotFound:
    return NotFound("Customer does not exist", {"customer_id": customer_id})


_NAMED_ALIKE = (
    "email",
    "address_line1",
    "address_line2",
    "address_city",
    "address_state",
    "address_postal_code",
    "address_country",
    "timezone",
    "tax_treatment",
)
_EMPTY_CLEARS = ("contact", "billing_currency", "tax_id", "language")


def _apply(customer: Customer, request: CustomerFields) -> None:
    """Copy what creation and update have in common; None leaves the customer as it is."""
    for name in _NAMED_ALIKE:
        value = getattr(request, name)
        if value is not None:
            setattr(customer, name, value)
    for name in _EMPTY_CLEARS:
        value = getattr(request, name)
        if value is not None:
            setattr(customer, name, value or None)
    if request.metadata is not None:
        customer.meta = request.metadata
    if request.contact_persons is not None:
        customer.contact_persons = [_person(given) for given in request.contact_persons]


def _person(given: CustomerContactPerson) -> dict[str, Any]:
    """A contact person as stored: with an id, and without what was not said."""
    said = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}
    return {**said, "id": given.id or new_ulid(), "is_primary": bool(given.is_primary)}


async def _demand_workflow(session: AsyncSession, name: str) -> None:
    known = (await current.read(session, CustomerOnboarding)).custom_workflows
    if known is msgspec.UNSET or name not in known:
        raise ValidationFailed.of("onboarding_workflow_name", f"there is no custom workflow named '{name}'")


def _demand_plain(external_id: str) -> None:
    if any(c == "%" or c.isspace() or not c.isprintable() for c in external_id):
        raise ValidationFailed.of("external_id", "must not contain %, spaces or control characters")


def _refusing_duplicates(session: AsyncSession, external_id: str) -> AbstractAsyncContextManager[None]:
    """Write what the block changed; a second published customer of one external id becomes AlreadyExists."""
    return unique(session, uq_customers_external_id=_duplicate(external_id))


def _duplicate(external_id: str) -> AlreadyExists:
    return AlreadyExists("A customer with this identifier already exists", {"external_id": external_id})


_SNAPSHOT_FIELDS = ("id", "external_id", "environment_id", *_NAMED_ALIKE[:-1], "name")


async def _tell(session: AsyncSession, event_name: str, customer: Customer) -> None:
    snapshot: dict[str, Any] = {
        name: getattr(customer, name) for name in _SNAPSHOT_FIELDS if getattr(customer, name) != ""
    }
    snapshot["metadata"] = dict(customer.shown_metadata)
    await record_event(session, event_name, "customer", customer.id, {"customer": snapshot})
