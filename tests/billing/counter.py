"""What a caller does with subscriptions over HTTP, in the words of a billing office."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from sqlalchemy import select

from farthing.billing.tables import ProrationSettlement
from farthing.core.money import plain
from tests.billing.office import Office

Body = dict[str, Any]


async def opened(
    office: Office, plan: Mapping[str, Any], customer: Mapping[str, Any] | None = None, expect: int = 201, **more: Any
) -> Body:
    """A subscription made through the endpoint, its opening invoice issued and collected."""
    owner = customer or await office.customer()
    body = {
        "customer_id": owner["id"],
        "plan_id": plan["id"],
        "currency": "usd",
        "billing_period": "MONTHLY",
        **more,
    }
    made: Body = await office.account.post("/subscriptions", body, expect)
    return made


async def read(office: Office, subscription: Mapping[str, Any]) -> Body:
    found: Body = await office.account.get(f"/subscriptions/{subscription['id']}")
    return found


async def do(office: Office, subscription: Mapping[str, Any], what: str, body: Any = None, expect: int = 200) -> Body:
    """`cancel`, `pause`, `modify/execute`, ... of a subscription."""
    done: Body = await office.account.post(f"/subscriptions/{subscription['id']}/{what}", body or {}, expect)
    return done


async def cancel(office: Office, subscription: Mapping[str, Any], kind: str = "immediate", **more: Any) -> Body:
    return await do(office, subscription, "cancel", {"cancellation_type": kind, **more})


async def modify(office: Office, subscription: Mapping[str, Any], kind: str, expect: int = 200, **params: Any) -> Body:
    """A typed modification; `params` are those of its type."""
    return await do(office, subscription, "modify/execute", {"type": kind, f"{kind}_params": params}, expect)


async def seats(
    office: Office, subscription: Mapping[str, Any], item: Mapping[str, Any], quantity: int, expect: int = 200
) -> Body:
    """Another quantity of one line item from now on, settled."""
    wanted = [{"id": item["id"], "quantity": str(quantity)}]
    return await modify(office, subscription, "quantity_change", expect, line_items=wanted)


async def drop(office: Office, item: Mapping[str, Any], expect: int = 200, **more: Any) -> Body:
    """End a line item now, settled."""
    answer = await office.account.http.request(
        "DELETE", f"/subscriptions/lineitems/{item['id']}", json={"proration_behavior": "create_prorations", **more}
    )
    return _checked(answer, expect)


async def open_items(office: Office, subscription: Mapping[str, Any]) -> list[Body]:
    """The line items that have no end."""
    return [item for item in (await read(office, subscription))["line_items"] if item["end_date"] is None]


async def credited(office: Office, subscription: Mapping[str, Any] | None = None) -> list[str]:
    """What each settlement owed to the payer, in order."""
    entry = ProrationSettlement
    query = select(entry.credited_to_payer).order_by(entry.created_at, entry.id)
    if subscription is not None:
        query = query.where(entry.subscription_id == subscription["id"])
    async with office.account.transaction(read_only=True) as session:
        return [plain(amount) for amount in await session.scalars(query)]


async def coupon(office: Office, code: str, **terms: Any) -> Body:
    """A coupon, to be named by its code."""
    made: Body = await office.account.post("/coupons", {"name": code, "coupon_code": code, **terms})
    return made


async def percent(office: Office, code: str, off: str, **more: Any) -> Body:
    return await coupon(office, code, type="percentage", percentage_off=off, **{"cadence": "forever", **more})


async def has_card(office: Office, customer: Mapping[str, Any], method: str) -> None:
    """Let a customer save a payment method, the default one now, at the built-in provider, connected if it was not."""
    account = office.account
    if not (await account.get("/connections"))["connections"]:
        await account.post("/connections", {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}})
    setup = await account.post(
        f"/payments/customers/{customer['id']}/setup/intent", {"provider": "stripe", "set_default": True}
    )
    async with httpx.AsyncClient(base_url=account.base_url) as visitor:
        path = f"/v1/test/gateway/sessions/{setup['checkout_session_id']}/succeed"
        _checked(await visitor.post(path, json={"method": method}), 200)


async def owed(office: Office, customer: Mapping[str, Any], **params: Any) -> list[str]:
    """The customer's invoice summary, a row per currency: `usd revenue/unpaid/overdue/count`."""
    body = await office.account.get(f"/customers/{customer['id']}/invoices/summary", **params)
    return [
        "{currency} {total_revenue_amount}/{total_unpaid_amount}/{total_overdue_amount}/{total_invoice_count}".format(
            **row
        )
        for row in body["summaries"]
    ]


def _checked(answer: httpx.Response, expect: int) -> Body:
    assert answer.status_code == expect, f"{answer.request.url}: {answer.status_code} {answer.text}"
    body: Body = answer.json()
    return body
