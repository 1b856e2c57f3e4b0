"""Customers in the form in which they travel, straight from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer, former_ids_entry
from farthing.storage.queries.shapes import RowShape, merged


def _with_former_ids(values: dict[str, Any], extras: Sequence[str | None]) -> None:
    (former_external_ids,) = extras
    values["metadata"] = merged(values["metadata"], former_ids_entry(msgspec.json.decode(former_external_ids or "[]")))


CUSTOMER = RowShape(
    CustomerResponse,
    Customer,
    documents={"metadata": "meta"},
    extras=("nullif(r.former_external_ids, '[]')::text",),
    complete=_with_former_ids,
)
