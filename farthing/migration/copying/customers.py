"""Customers."""

from __future__ import annotations

from farthing.customers import lifecycle
from farthing.customers.schemas import CreateCustomerRequest
from farthing.migration.copying.target import MigrationTarget
from farthing.migration.source.fields import SourceRecord, fields_of, metadata_of

CUSTOMERS = "customers"

_OPTIONAL = (
    "email",
    "contact",
    "address_line1",
    "address_line2",
    "address_city",
    "address_state",
    "address_postal_code",
    "address_country",
    "contact_persons",
)
_DECISIVE = ("external_id", "name", "timezone", "billing_currency", "tax_id", "tax_treatment")


async def copy_customer(target: MigrationTarget, record: SourceRecord) -> str:
    """A customer; its taxes follow with all associations of taxes."""
    body = fields_of(record, (*_OPTIONAL, *_DECISIVE))
    body.setdefault("external_id", record["id"])
    body.setdefault("name", body["external_id"])
    body["metadata"] = metadata_of(record, target.problems)
    if "external_id" not in record:
        target.problems.append("it has no external_id; its id at the source took the place")
    request = target.read({**body, "tax_rate_overrides": []}, CreateCustomerRequest, _OPTIONAL)
    return (await lifecycle.create(target.session, request, strict_ids=False)).id
