"""Customers from a file: made, or changed where their external id is known.

Rule: docs/rules/imports-and-exports.md#customers
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists
from farthing.customers import lifecycle
from farthing.customers.schemas import CreateCustomerRequest, UpdateCustomerRequest
from farthing.customers.tables import Customer
from farthing.transfer.imports.files.columns import BadCell, ColumnSet
from farthing.transfer.imports.files.rows import SourceRow

COLUMNS = ColumnSet(
    required=("external_id",),
    optional=(
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
        "billing_currency",
        "tax_id",
        "tax_treatment",
    ),
    maps=("metadata",),
)


class CustomerImporter:
    """Writes the customers of one import."""

    columns = COLUMNS

    def __init__(self, *, strict_ids: bool) -> None:
        self._strict_ids = strict_ids

    async def write(self, session: AsyncSession, row: SourceRow) -> None:
        """Make the customer of a row, or change it: empty cells leave what is there, metadata is added to.

        Raises BadCell and what the life cycle of customers raises.
        """
        fields = COLUMNS.fields_of(row)
        external_id = fields.get("external_id")
        if external_id is None:
            raise BadCell("external_id", "is required")
        there = await self._find(session, str(external_id))
        if there is None:
            request = convert({"name": external_id, **fields}, CreateCustomerRequest)
            try:
                await lifecycle.create(session, request, strict_ids=self._strict_ids)
            except AlreadyExists:  # somebody was quicker
                there = await self._find(session, request.external_id)
                if there is None:
                    raise
            else:
                return
        if "metadata" in fields:
            fields["metadata"] = {**there.meta, **fields["metadata"]}
        del fields["external_id"]
        request_to_change = convert(fields, UpdateCustomerRequest)
        await lifecycle.update(session, request_to_change, customer_id=there.id, strict_ids=self._strict_ids)

    async def _find(self, session: AsyncSession, external_id: str) -> Customer | None:
        """The customer with this external id, locked, so that metadata added meanwhile is not lost."""
        query = select(Customer).where(Customer.external_id == external_id, Customer.status == Status.PUBLISHED)
        found: Customer | None = await session.scalar(query.with_for_update().execution_options(populate_existing=True))
        return found
