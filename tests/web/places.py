"""Every page of the dashboard and the portal, by name, on a stage."""

from __future__ import annotations

from dataclasses import dataclass

from tests.web.stage import Stage


@dataclass(frozen=True, slots=True)
class Place:
    """A page and where it is."""

    name: str
    path: str
    status: int = 200


async def places(stage: Stage) -> list[Place]:
    """All pages, in the order in which somebody would open them."""
    customer, invoice = stage.customers[0], stage.invoices[0]
    line = (await stage.account.get(f"/invoices/{invoice['id']}"))["line_items"][0]
    external_id = customer["external_id"]
    token = (await stage.account.get(f"/customers/portal/{external_id}"))["token"]
    unpaid = next(one for one in stage.unpaid() if one["customer_id"] == customer["id"])
    return [
        Place("overview", "/"),
        Place("customers", "/customers"),
        Place("customers-search", "/customers?q=ber&sort=owed-usd"),
        Place("customer", f"/customers/{customer['id']}"),
        Place("invoices", "/invoices"),
        Place("invoices-overdue", "/invoices?standing=overdue&sort=unpaid"),
        Place("invoice", f"/invoices/{invoice['id']}"),
        Place("line", f"/invoices/{invoice['id']}/lines/{line['id']}"),
        Place("subscriptions", "/subscriptions"),
        Place("subscription", f"/subscriptions/{stage.subscription_id}"),
        Place("catalogue", "/catalogue"),
        Place("plan", f"/catalogue/plans/{stage.plan['id']}"),
        Place("events", "/events"),
        Place("event", "/events/one?id=ev-0-4"),
        Place("keys", "/keys"),
        Place("settings", "/settings"),
        Place("setting-invoices", "/settings/invoice_config"),
        Place("setting-portal", "/settings/customer_portal_config"),
        Place("clock", "/clock"),
        Place("duties", "/duties"),
        Place("portal", f"/portal/{token}"),
        Place("portal-invoice", f"/portal/{token}/invoices/{unpaid['id']}"),
        Place("portal-expired", "/portal/not-a-token", status=401),
        Place("not-found", "/nowhere", status=404),
    ]
