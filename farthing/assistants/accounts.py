"""Tools about customers: who they are, what they owe and why, what they used, paid and have in credit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from farthing.assistants.api import ApiRefused, FarthingApi
from farthing.assistants.arguments import Currency, CustomerName, End, InvoiceId, Limit, Offset, Start, as_wire
from farthing.assistants.concise import concise, page_of, picked
from farthing.assistants.invoices import SUMMARY_FIELDS

_CUSTOMER_FIELDS = ("id", "external_id", "name", "email", "billing_currency", "address_country", "created_at")
_PAYMENT_FIELDS = (
    "id",
    "invoice_number",
    "destination_id",
    "amount",
    "currency",
    "payment_status",
    "payment_method_type",
    "payment_gateway",
    "succeeded_at",
    "failed_at",
    "error_message",
    "created_at",
)
_USAGE_FIELDS = (
    "feature_id",
    "name",
    "total_usage",
    "unit",
    "unit_plural",
    "event_count",
    "total_cost",
    "currency",
    "subscription_id",
    "source",
    "properties",
    "points",
)
_MOST_UNPAID = 20


async def find_customer(api: FarthingApi, name: str) -> dict[str, Any]:
    """The one customer that is meant. Raises ApiRefused where there is none, or more than one."""
    for path in (("customers", name), ("customers", "external", name)):
        try:
            found: dict[str, Any] = await api.get(*path)
        except ApiRefused as error:
            if error.status != 404:
                raise
        else:
            return found
    answer = await api.post("customers", "search", body={"filters": [_named(name)], "limit": 10})
    named = answer["items"]
    exact = [customer for customer in named if customer["name"].casefold() == name.casefold()]
    if len(named) == 1 or len(exact) == 1:
        only: dict[str, Any] = (exact or named)[0]
        return only
    if not named:
        raise ApiRefused(f"No customer has the id, the external id or the name {name!r}", 404)
    candidates = ", ".join(f"{customer['name']} ({customer['external_id']})" for customer in named)
    raise ApiRefused(f"{name!r} is a part of several names; give the id of one of: {candidates}")


def _named(part: str) -> dict[str, Any]:
    """The condition that a name has this part."""
    return {"field": "name", "operator": "contains", "data_type": "string", "value": {"string": part}}


class AccountTools:
    """Tools that read about customers."""

    def __init__(self, api: FarthingApi) -> None:
        self.api = api

    async def find_customers(
        self,
        name: Annotated[str | None, Field(max_length=255, description="A part of the name; without it, all")] = None,
        email: Annotated[str | None, Field(max_length=255, description="The whole email address")] = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """Find customers by a part of their name or by email address, newest first."""
        filters = [_named(name)] if name is not None else None
        body = {"email": email, "filters": filters, "limit": limit, "offset": offset}
        answer = await self.api.post("customers", "search", body=body)
        return page_of(answer, _CUSTOMER_FIELDS, offset)

    async def get_customer_summary(
        self,
        customer: CustomerName,
        scope: Annotated[
            Literal["billed", "incurred", "all"],
            Field(description="Invoices that the customer pays (billed), that are for its usage (incurred), or both"),
        ] = "billed",
    ) -> dict[str, Any]:
        """What a customer owes and why, per currency: billed, unpaid, overdue, how much of it is usage, how old it is
        and which invoices it stands on. Start here for "what does Acme owe and why"; then get_invoice for the lines
        and explain_invoice_line for a single number. Amounts of different currencies are never added.
        """
        found = await find_customer(self.api, customer)
        summary = await self.api.get("customers", found["id"], "invoices", "summary", scope=scope)
        aging = await self.api.get("customers", found["id"], "invoices", "aging")
        unpaid = await self.api.post(
            "invoices",
            "search",
            body={
                "customer_id": found["id"],
                "invoice_status": ["FINALIZED"],
                "amount_remaining_gt": "0",
                "skip_line_items": True,
                "sort": [{"field": "due_date", "direction": "asc"}],
                "limit": _MOST_UNPAID,
            },
        )
        return {
            "customer": picked(found, _CUSTOMER_FIELDS),
            "owes": [_without_customer(entry) for entry in summary["summaries"]],
            "by_age": [concise(entry) for entry in aging["items"]],
            "unpaid_invoices": page_of(unpaid, SUMMARY_FIELDS, 0),
        }

    async def get_statement(self, customer: CustomerName, currency: Currency, start: Start, end: End) -> dict[str, Any]:
        """The statement of a customer's account in one currency over a period: what it owed before, every invoice,
        credit note, payment, refund and write-off with the balance after it, and what it owed at the end.
        """
        found = await find_customer(self.api, customer)
        period = {"currency": currency, "start_time": as_wire(start), "end_time": as_wire(end)}
        statement: dict[str, Any] = concise(await self.api.get("customers", found["id"], "statement", **period))
        return statement

    async def get_usage(
        self,
        customer: CustomerName,
        start: Start | None = None,
        end: End | None = None,
        window: Annotated[
            Literal["HOUR", "DAY", "WEEK", "MONTH"] | None,
            Field(description="Also the usage of every hour, day, week or month; needs start"),
        ] = None,
        split_by: Annotated[
            list[str] | None,
            Field(max_length=5, description="Split by source, or by properties of events as properties.region"),
        ] = None,
    ) -> dict[str, Any]:
        """What a customer used of each feature. Without a start: in the feature's own current period, with its limit
        and how much of it is used. With one: in that time, with what it costs.
        """
        found = await find_customer(self.api, customer)
        if start is None:
            current = await self.api.get("customers", "usage", customer_id=found["id"])
            return {"period": concise(current.get("period")), "features": concise(current["features"])}
        answer = await self.api.post(
            "events",
            "analytics",
            body={
                "external_customer_id": found["external_id"],
                "start_time": as_wire(start),
                "end_time": as_wire(end),
                "window_size": window,
                "group_by": split_by,
            },
        )
        items = [picked(item, _USAGE_FIELDS) for item in answer.get("items") or ()]
        return {**picked(answer, ("total_cost", "total_discount", "subtotal", "currency")), "items": items}

    async def list_payments(
        self,
        invoice_id: Annotated[str | None, Field(max_length=50, description="Only payments of this invoice")] = None,
        payment_status: Annotated[
            Literal["PENDING", "PROCESSING", "SUCCEEDED", "FAILED", "REFUNDED", "PARTIALLY_REFUNDED", "VOIDED"] | None,
            Field(description="Only payments that stand so"),
        ] = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """List payments, newest first: all, or those of one invoice. What one customer paid is in get_statement."""
        about = {"destination_type": "INVOICE", "destination_id": invoice_id} if invoice_id is not None else {}
        answer = await self.api.get("payments", **about, payment_status=payment_status, limit=limit, offset=offset)
        return page_of(answer, _PAYMENT_FIELDS, offset)

    async def get_wallet_balances(self, customer: CustomerName) -> dict[str, Any]:
        """What a customer has in its wallets: the balance, and what of it is left once current usage and unpaid
        invoices are taken off.
        """
        found = await find_customer(self.api, customer)
        wallets = await self.api.get("customers", "wallets", id=found["id"], include_real_time_balance=True)
        return {"customer": picked(found, _CUSTOMER_FIELDS), "wallets": concise(wallets)}

    async def list_notes(
        self,
        customer: CustomerName | None = None,
        invoice_id: InvoiceId | None = None,
    ) -> dict[str, Any]:
        """The newest notes that the staff wrote about a customer or an invoice, which customers never see. Give one of
        the two.
        """
        return {"items": concise((await self.api.get(*await annotated_path(self.api, customer, invoice_id)))["items"])}


async def annotated_path(api: FarthingApi, customer: str | None, invoice_id: str | None) -> tuple[str, ...]:
    """The path of the notes about a customer or an invoice. Raises ApiRefused unless one of the two is given."""
    if (customer is None) == (invoice_id is None):
        raise ApiRefused("give either customer or invoice_id")
    if invoice_id is not None:
        return ("invoices", invoice_id, "notes")
    return ("customers", (await find_customer(api, str(customer)))["id"], "notes")


def _without_customer(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name != "customer_id"}
