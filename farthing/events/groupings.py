"""What usage may be split by, as requests name it: the source, the customer's external id, or a property."""

from __future__ import annotations

SOURCE = "source"
CUSTOMER = "external_customer_id"
PROPERTY = "properties."
"""What the name of a property is put behind."""
