"""A customer as documents name it."""

from __future__ import annotations

from farthing.customers.tables import Customer

_COLUMNS = (
    "name",
    "email",
    "address_line1",
    "address_line2",
    "address_city",
    "address_state",
    "address_postal_code",
    "address_country",
    "timezone",
)
_METADATA = (
    "buyer_reference",
    "order_reference",
    "registration_number",
    "mandate_reference",
    "debited_account",
    "electronic_address_scheme",
    "electronic_address_id",
)


def buyer_terms(customer: Customer) -> dict[str, str]:
    """The customer's details by field; its tax number is the field of that name, else the metadata's.

    What stands in metadata that was written before it was checked is left out where no document can show it.
    """
    meta = customer.meta
    terms = {name: getattr(customer, name) for name in _COLUMNS}
    terms["tax_id"] = customer.tax_id or meta.get("tax_id", "")
    terms |= {name: meta.get(name, "") for name in _METADATA}
    return {name: text for name, text in terms.items() if text}
