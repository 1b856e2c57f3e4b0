"""Parents with children of their own, as tests make them."""

from __future__ import annotations

from typing import Any

from tests.billing.counter import (
    Body,
    opened,
)
from tests.billing.office import Office


def seat(plan: Body, customer: Body, **more: Any) -> dict[str, Any]:
    """A grouped child to be created with its parent."""
    return {"plan_id": plan["id"], "external_customer_id": customer["external_id"], **more}


async def grouped(office: Office, plan: Body, *children: dict[str, Any], **more: Any) -> tuple[Body, list[Body]]:
    """A parent with inline children, as they are stored."""
    inheritance = {"grouped_invoicing_children_to_create": list(children), **more.pop("inheritance", {})}
    parent = await opened(office, plan, inheritance=inheritance, **more)
    found = await office.account.post("/subscriptions/search", {"parent_subscription_ids": [parent["id"]]}, 200)
    return parent, sorted(found["items"], key=lambda one: str(one["id"]))
