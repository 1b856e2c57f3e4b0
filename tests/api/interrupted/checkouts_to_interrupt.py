"""Requests about checkouts that are killed at their commits, as those of requests_to_interrupt.py are."""

from __future__ import annotations

from typing import Any

from tests.api.interrupted.deployment import Deployment, Request
from tests.api.interrupted.requests_to_interrupt import Kind, a_plan_change_in_place, an_addon, more_seats

BY_CHECKOUT = {"checkout": {"payment_provider": "stripe"}}


async def a_subscription_by_checkout(deployment: Deployment) -> Request:
    return Request("/v1/subscriptions", {**await deployment.opening(None), **BY_CHECKOUT})


async def more_seats_by_checkout(deployment: Deployment) -> Request:
    wanted = await more_seats(deployment)
    return Request(wanted.path, {**wanted.body, **BY_CHECKOUT})


async def a_plan_change_by_checkout(deployment: Deployment) -> Request:
    wanted = await a_plan_change_in_place(deployment)
    return Request(wanted.path, {**wanted.body, **BY_CHECKOUT})


async def an_addon_by_checkout(deployment: Deployment) -> Request:
    wanted = await an_addon(deployment)
    return Request(wanted.path, {**wanted.body, **BY_CHECKOUT})


async def credits_by_checkout(deployment: Deployment) -> Request:
    customer = await deployment.customer(None)
    opened = {"customer_id": customer, "currency": "usd", "name": "Wallet"}
    wallet = await deployment.account.post("/wallets", opened, expect=200)
    wanted = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "credits_to_add": "10", **BY_CHECKOUT}
    return Request(f"/v1/wallets/{wallet['id']}/top-up", wanted)


async def an_invoice_by_checkout(deployment: Deployment) -> Request:
    customer = await deployment.customer(None)
    amounts = dict.fromkeys(("amount_due", "subtotal", "total"), "100")
    return Request("/v1/invoices", {"customer_id": customer, "currency": "usd", **amounts, **BY_CHECKOUT})


async def a_checkout_of_an_invoice(deployment: Deployment) -> Request:
    invoice = await deployment.account.get(f"/invoices/{await deployment.invoice(None)}")
    customer = await deployment.account.get(f"/customers/{invoice['customer_id']}")
    wanted = {
        "customer_external_id": customer["external_id"],
        "action": "pay_invoice",
        "payment_provider": "stripe",
        "configuration": {"pay_invoice_params": {"invoice_id": invoice["id"]}},
    }
    return Request("/v1/checkout/sessions", wanted)


async def a_checkout_that_is_cancelled(deployment: Deployment) -> Request:
    opened = await _opened(deployment)
    return Request(f"/v1/checkout/sessions/{opened['id']}/cancel")


async def a_checkout_that_is_paid(deployment: Deployment) -> Request:
    """The provider has the money, and reports it until it is answered."""
    page = (await _opened(deployment))["provider_result"]["provider_session_id"]
    await deployment.post(f"/test/gateway/sessions/{page}/succeed", {"delivery": "late"})
    return Request(f"/v1/test/gateway/sessions/{page}/deliver", {}, keyed=False)


async def _opened(deployment: Deployment) -> dict[str, Any]:
    wanted = await a_subscription_by_checkout(deployment)
    opened: dict[str, Any] = (await deployment.post("/subscriptions", wanted.body))["checkout_session"]
    return opened


CHECKOUTS: list[Kind] = [
    a_subscription_by_checkout,
    more_seats_by_checkout,
    a_plan_change_by_checkout,
    an_addon_by_checkout,
    credits_by_checkout,
    an_invoice_by_checkout,
    a_checkout_of_an_invoice,
    a_checkout_that_is_cancelled,
    a_checkout_that_is_paid,
]
