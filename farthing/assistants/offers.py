"""Tools about what is sold and what it comes to: subscriptions, the prices of plans, and reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from farthing.assistants.accounts import find_customer
from farthing.assistants.api import ApiRefused, FarthingApi
from farthing.assistants.arguments import Currency, CustomerName, Limit, Offset
from farthing.assistants.concise import concise, page_of, picked
from farthing.assistants.invoices import PRICE_FIELDS

_SUBSCRIPTION_FIELDS = (
    "id",
    "customer_id",
    "plan_id",
    "subscription_status",
    "currency",
    "billing_period",
    "billing_period_count",
    "start_date",
    "end_date",
    "current_period_start",
    "current_period_end",
    "trial_end",
    "cancel_at",
    "cancelled_at",
    "pause_status",
    "parent_subscription_id",
)


class OfferTools:
    """Tools that read subscriptions, plans and reports."""

    def __init__(self, api: FarthingApi) -> None:
        self.api = api

    async def list_subscriptions(
        self,
        customer: CustomerName | None = None,
        subscription_status: Annotated[
            list[Literal["active", "trialing", "paused", "draft", "incomplete", "cancelled"]] | None,
            Field(description="Only subscriptions that stand so"),
        ] = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """List subscriptions with their plan and their current period: all, or those of one customer."""
        customer_id = (await find_customer(self.api, customer))["id"] if customer is not None else None
        answer = await self.api.post(
            "subscriptions",
            "search",
            body={
                "customer_id": customer_id,
                "subscription_status": subscription_status,
                "limit": limit,
                "offset": offset,
            },
        )
        page = page_of(answer, _SUBSCRIPTION_FIELDS, offset)
        for shown, record in zip(page["items"], answer["items"], strict=True):
            shown["plan"] = picked(record.get("plan") or {}, ("name", "lookup_key"))
        return page

    async def get_plan_prices(
        self,
        plan: Annotated[
            str, Field(min_length=1, max_length=255, description="Which plan: its id (plan_...), or its lookup key")
        ],
    ) -> dict[str, Any]:
        """A plan with its prices and their tiers, and what it includes of each feature."""
        try:
            found = await self.api.get("plans", plan)
        except ApiRefused as error:
            if error.status != 404:
                raise
            named = await self.api.get("plans", lookup_key=plan, limit=1)
            if not named["items"]:
                raise ApiRefused(f"No plan has the id or the lookup key {plan!r}", 404) from error
            found = await self.api.get("plans", named["items"][0]["id"])
        return {
            **picked(found, ("id", "name", "lookup_key", "description")),
            "prices": [picked(price, PRICE_FIELDS) for price in found.get("prices") or ()],
            "entitlements": concise(found.get("entitlements") or []),
            "credit_grants": concise(found.get("credit_grants") or []),
        }

    async def list_reports(self) -> dict[str, Any]:
        """The reports that run_report can run: of each its key, what it says, and what it can be split by."""
        return {"reports": concise(await self.api.get("analytics", "reports"))}

    async def run_report(
        self,
        key: Annotated[
            str,
            Field(pattern="^[a-z_]{1,60}$", description="The report, as list_reports names it, such as net_billing"),
        ],
        time_range: Annotated[
            str,
            Field(max_length=60, description="2027-01-01..2027-02-01 (the second day not included), last_30_days, ..."),
        ] = "this_year",
        grain: Annotated[
            Literal["day", "week", "month"] | None, Field(description="A row per day, week or month; else no series")
        ] = None,
        split_by: Annotated[
            list[str] | None, Field(max_length=3, description="Up to three dimensions, such as customer or plan")
        ] = None,
        currency: Currency | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """Run a report: what was invoiced, collected, is owed (total_receivables, receivables_aging), is recurring
        (mrr), is earned. Rows are split by currency, which are never added.
        """
        shape = "timeseries" if grain else "breakdown" if split_by else "scalar"
        body = {
            "range": time_range,
            "shape": shape,
            "grain": grain,
            "dimensions": split_by,
            "currency": currency,
            "limit": limit,
        }
        report: dict[str, Any] = concise(await self.api.post("analytics", "reports", key, "query", body=body))
        return report
