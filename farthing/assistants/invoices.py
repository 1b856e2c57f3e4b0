"""Tools about invoices: which there are, their lines, and where each number came from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from farthing.assistants.api import FarthingApi
from farthing.assistants.arguments import Currency, InvoiceId, Limit, LineId, Offset, SubscriptionId
from farthing.assistants.concise import concise, page_of, picked

SUMMARY_FIELDS = (
    "id",
    "invoice_number",
    "customer_id",
    "invoice_status",
    "payment_status",
    "currency",
    "total",
    "amount_due",
    "amount_paid",
    "amount_remaining",
    "due_date",
    "finalized_at",
    "period_start",
    "period_end",
    "billing_reason",
    "description",
)
_INVOICE_FIELDS = (
    *SUMMARY_FIELDS,
    "subscription_id",
    "subtotal",
    "total_discount",
    "total_prepaid_credits_applied",
    "total_tax",
    "adjustment_amount",
    "overpaid_amount",
    "refunded_amount",
    "written_off_amount",
    "fx_conversion",
    "coupon_applications",
    "taxes",
)
_LINE_FIELDS = (
    "id",
    "display_name",
    "plan_display_name",
    "price_type",
    "quantity",
    "adjusted_entitlement_quantity",
    "amount",
    "currency",
    "line_item_discount",
    "invoice_level_discount",
    "prepaid_credits_applied",
    "period_start",
    "period_end",
    "commitment_info",
    "fx_conversion",
)
PRICE_FIELDS = (
    "id",
    "display_name",
    "lookup_key",
    "type",
    "billing_model",
    "tier_mode",
    "amount",
    "currency",
    "price_unit",
    "price_unit_amount",
    "tiers",
    "transform_quantity",
    "billing_period",
    "billing_period_count",
    "invoice_cadence",
    "meter_id",
    "start_date",
    "end_date",
)


class InvoiceTools:
    """Tools that read about invoices."""

    def __init__(self, api: FarthingApi) -> None:
        self.api = api

    async def list_invoices(
        self,
        customer_id: Annotated[
            str | None, Field(max_length=50, description="Only invoices that this customer pays (cust_...)")
        ] = None,
        external_customer_id: Annotated[
            str | None, Field(max_length=255, description="The same, by your own id of the customer")
        ] = None,
        subscription_id: Annotated[str | None, Field(max_length=50, description="Only of this subscription")] = None,
        invoice_status: Annotated[
            list[Literal["DRAFT", "FINALIZED", "VOIDED", "SKIPPED"]] | None,
            Field(description="Only invoices that stand so; without it, all but skipped ones"),
        ] = None,
        only_unpaid: Annotated[bool, Field(description="Only final invoices on which something is still owed")] = False,
        currency: Currency | None = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """List invoices without their lines, newest first."""
        statuses = ["FINALIZED"] if only_unpaid else (invoice_status or ["DRAFT", "FINALIZED", "VOIDED"])
        answer = await self.api.post(
            "invoices",
            "search",
            body={
                "customer_id": customer_id,
                "external_customer_id": external_customer_id,
                "subscription_id": subscription_id,
                "invoice_status": statuses,
                "amount_remaining_gt": "0" if only_unpaid else None,
                "currency": currency,
                "skip_line_items": True,
                "limit": limit,
                "offset": offset,
            },
        )
        return page_of(answer, SUMMARY_FIELDS, offset)

    async def get_invoice(
        self,
        invoice_id: InvoiceId,
        line_limit: Annotated[int, Field(ge=1, le=100, description="How many lines to answer at most")] = 50,
        line_offset: Annotated[int, Field(ge=0, description="How many lines to skip")] = 0,
    ) -> dict[str, Any]:
        """An invoice with its lines: of each the quantity, the price with its tiers, the reductions and the amount.
        explain_invoice_line tells how the amount of one line comes about.
        """
        invoice = await self.api.get("invoices", invoice_id)
        lines = invoice.get("line_items") or []
        shown = lines[line_offset : line_offset + line_limit]
        prices = await self._prices({line["price_id"] for line in shown if line.get("price_id")})
        answer = {
            **picked(invoice, _INVOICE_FIELDS),
            "customer": picked(invoice.get("customer") or {}, ("id", "external_id", "name")),
            "lines": [_with_price(line, prices) for line in shown],
            "line_count": len(lines),
        }
        following = line_offset + len(shown)
        return {**answer, "next_line_offset": following} if shown and following < len(lines) else answer

    async def explain_invoice_line(self, invoice_id: InvoiceId, line_id: LineId) -> dict[str, Any]:
        """Where the number of one line came from: the cost of its quantity tier by tier, what was included, what
        discounts and credits took off, and what its events come to today (agrees says whether that is what was billed).
        """
        explanation: dict[str, Any] = concise(
            await self.api.get("invoices", invoice_id, "lines", line_id, "explanation")
        )
        return explanation

    async def preview_next_invoice(self, subscription_id: SubscriptionId) -> dict[str, Any]:
        """What the next invoice of a subscription would be as things stand now. Nothing is written."""
        invoice = await self.api.post("invoices", "preview", body={"subscription_id": subscription_id})
        lines = invoice.get("line_items") or []
        prices = await self._prices({line["price_id"] for line in lines[:100] if line.get("price_id")})
        unmade = {"id", "invoice_number", "payment_status", "invoice_status"}
        return {
            **{name: value for name, value in picked(invoice, _INVOICE_FIELDS).items() if name not in unmade},
            "lines": [_with_price(line, prices) for line in lines[:100]],
            "line_count": len(lines),
        }

    async def _prices(self, ids: Iterable[str]) -> dict[str, Any]:
        """Prices by id, ended ones too."""
        wanted = sorted(ids)
        if not wanted:
            return {}
        body = {"price_ids": wanted, "allow_expired_prices": True, "limit": len(wanted)}
        answer = await self.api.post("prices", "search", body=body)
        return {price["id"]: picked(price, PRICE_FIELDS) for price in answer["items"]}


def _with_price(line: dict[str, Any], prices: dict[str, Any]) -> dict[str, Any]:
    shown = picked(line, _LINE_FIELDS)
    price = prices.get(line.get("price_id") or "")
    return {**shown, "price": price} if price is not None else shown
