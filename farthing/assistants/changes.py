"""Tools that change something, offered only where the operator allowed it.

None of them makes money move at a provider, takes anything back or removes anything. Each sends a key with which a
repeat does nothing more.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from farthing.assistants.accounts import annotated_path, find_customer
from farthing.assistants.api import FarthingApi
from farthing.assistants.arguments import Amount, Currency, CustomerName, InvoiceId, as_wire
from farthing.assistants.arguments import End as DueDate
from farthing.assistants.concise import concise, picked
from farthing.assistants.invoices import SUMMARY_FIELDS
from farthing.core.money import exact_sum, parse, plain

IdempotencyKey = Annotated[
    str,
    Field(
        pattern="^[A-Za-z0-9_.:-]{8,50}$",
        description="A text of your own, new for each thing to be done: a repeat with the same one does nothing more",
    ),
]


class DraftInvoiceLine(BaseModel):
    """A line of an invoice to be made."""

    display_name: str = Field(min_length=1, max_length=255, description="What is charged, as the customer reads it")
    quantity: Amount = Field(default="1", description="How many, as an exact decimal")
    amount: Amount = Field(description="What the whole line comes to, as an exact decimal")


class ChangeTools:
    """Tools that change something."""

    def __init__(self, api: FarthingApi) -> None:
        self.api = api

    async def add_note(
        self,
        text: Annotated[str, Field(min_length=1, max_length=5000, description="The note")],
        idempotency_key: IdempotencyKey,
        customer: CustomerName | None = None,
        invoice_id: InvoiceId | None = None,
    ) -> dict[str, Any]:
        """Write a note for the staff about a customer or an invoice; customers never see it. Give one of the two."""
        path = await annotated_path(self.api, customer, invoice_id)
        note: dict[str, Any] = concise(await self.api.post(*path, body={"body": text}, idempotency_key=idempotency_key))
        return note

    async def create_draft_invoice(
        self,
        customer: CustomerName,
        currency: Currency,
        lines: Annotated[list[DraftInvoiceLine], Field(min_length=1, max_length=100, description="What is charged")],
        idempotency_key: IdempotencyKey,
        description: Annotated[str | None, Field(max_length=1000, description="What the invoice is for")] = None,
        due_date: DueDate | None = None,
    ) -> dict[str, Any]:
        """Make a one-off invoice that stays a draft: nobody owes it and nobody is written to until a person looked at
        it and finalizes it in Farthing.
        """
        found = await find_customer(self.api, customer)
        total = plain(exact_sum([parse(line.amount) for line in lines]))
        body = {
            "customer_id": found["id"],
            "currency": currency,
            "invoice_type": "ONE_OFF",
            "invoice_status": "DRAFT",
            "description": description,
            "due_date": as_wire(due_date),
            "line_items": [{**line.model_dump(), "price_type": "FIXED"} for line in lines],
            **dict.fromkeys(("subtotal", "total", "amount_due"), total),
        }
        invoice = await self.api.post("invoices", body=body, idempotency_key=idempotency_key)
        return picked(invoice, SUMMARY_FIELDS)

    async def send_invoice_email(self, invoice_id: InvoiceId, idempotency_key: IdempotencyKey) -> dict[str, Any]:
        """Send a final invoice to its payer by mail, once more if it was sent before. The answer says whether the mail
        is queued, or why not: mail may be off, or the payer have no address.
        """
        path = ("invoices", invoice_id, "comms", "trigger")
        sent: dict[str, Any] = concise(await self.api.post(*path, body={}, idempotency_key=idempotency_key))
        return sent

    async def record_payment(
        self,
        invoice_id: InvoiceId,
        amount: Amount,
        currency: Currency,
        idempotency_key: IdempotencyKey,
        confirmed: Annotated[
            bool, Field(description="True only once a person has agreed to this payment of this invoice")
        ] = False,
    ) -> dict[str, Any]:
        """Record that an invoice was paid outside of Farthing, such as by transfer. Nobody is charged. Without
        confirmed, nothing is recorded and the answer says what would be: show it to a person first.
        """
        invoice = await self.api.get("invoices", invoice_id)
        if not confirmed:
            return {
                "recorded": False,
                "would_pay": amount,
                "currency": currency,
                "invoice": picked(invoice, SUMMARY_FIELDS),
            }
        payment = await self.api.post(
            "payments",
            body={
                "destination_type": "INVOICE",
                "destination_id": invoice_id,
                "payment_method_type": "OFFLINE",
                "amount": amount,
                "currency": currency,
                "process_payment": True,
                "idempotency_key": idempotency_key,
            },
            idempotency_key=idempotency_key,
        )
        return {"recorded": True, "payment": picked(payment, ("id", "amount", "currency", "payment_status"))}
