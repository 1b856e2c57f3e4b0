"""The published client against invoices, in the order its own suite uses them."""

from __future__ import annotations

import pytest
from flexprice.models import errors

from tests.account import Account
from tests.invoices.desk import Desk


async def test_the_published_client_takes_an_invoice_through_its_life(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer(external_id="acme")
    async with account.sdk() as client:
        made = await client.invoices.create_invoice_async(
            customer_id=customer,
            currency="USD",
            amount_due="100.00",
            subtotal="100.00",
            total="100.00",
            invoice_type="ONE_OFF",
            invoice_status="DRAFT",
            billing_reason="MANUAL",
            line_items=[{"display_name": "Setup", "amount": "100.00", "quantity": "1"}],
            tax_rates=[await desk.tax("10%")],
            coupons=[await desk.coupon("50%")],
            metadata={"source": "sdk"},
        )
        assert (made.invoice_status, made.currency, made.total, made.metadata) == (
            "DRAFT",
            "usd",
            "55",
            {"source": "sdk"},
        )
        got = await client.invoices.get_invoice_async(id=made.id, expand="tax_applied.tax_rate")
        assert (got.taxes[0].tax_rate.code, got.taxes[0].taxable_amount, got.taxes[0].tax_amount) == ("T1", "50", "5")
        assert got.coupon_applications[0].discounted_amount == "50"

        changed = await client.invoices.update_invoice_async(id=made.id, metadata={"source": "sdk", "more": "yes"})
        assert changed.metadata == {"source": "sdk", "more": "yes"}
        edited = await client.invoices.execute_invoice_modify_async(
            id=made.id,
            type_="line_item",
            line_item_params={
                "action": "add",
                "items": [{"display_name": "More", "amount": "20", "quantity": "1"}],
            },
        )
        assert edited.invoice is not None
        assert edited.invoice.total == "66"

        finalized = await client.invoices.finalize_invoice_async(id=made.id)
        assert finalized.message == "invoice finalized successfully"
        paid = await client.invoices.update_invoice_payment_status_async(
            id=made.id, payment_status="SUCCEEDED", amount="66.00"
        )
        assert (paid.payment_status, paid.amount_remaining) == ("SUCCEEDED", "0")

        found = await client.invoices.query_invoice_async(
            external_customer_id="acme",
            limit=10,
            amount_due_gt=1.5,
            sort=[{"field": "created_at", "direction": "desc"}],
        )
        assert [invoice.id for invoice in found.items] == [made.id]
        assert found.pagination.total == 1

        document = await client.invoices.get_invoice_pdf_async(id=made.id)
        assert (await document.aread()).startswith(b"%PDF")
        told = await client.invoices.trigger_invoice_comms_webhook_async(id=made.id)
        assert told.message == "communication triggered successfully"
        voided = await client.invoices.void_invoice_async(id=made.id)
        assert voided.message == "invoice voided successfully"
        assert (await client.invoices.get_invoice_async(id=made.id)).payment_status == "REFUNDED"


async def test_the_published_client_understands_a_refusal(account: Account) -> None:
    async with account.sdk() as client:
        with pytest.raises(errors.ErrorResponse) as refused:
            await client.invoices.get_invoice_async(id="inv_nobody")
    assert refused.value.status_code == 404
    assert refused.value.data.code == "not_found"
