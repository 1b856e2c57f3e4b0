"""The published client against credit notes and refunds."""

from __future__ import annotations

import pytest
from flexprice.models import errors

from tests.credits.notes.notebook import Notebook


async def test_the_published_client_adjusts_refunds_and_follows_the_money(notebook: Notebook) -> None:
    await notebook.till.connect()
    unpaid = await notebook.till.invoice("100")
    paid = await notebook.till.invoice("100")
    await notebook.till.charge(paid)
    async with notebook.account.sdk() as client:
        lines = [{"invoice_line_item_id": unpaid["line_items"][0]["id"], "amount": "40"}]
        draft = await client.credit_notes.create_credit_note_async(
            invoice_id=unpaid["id"], reason="BILLING_ERROR", line_items=lines, process_credit_note=False
        )
        assert (draft.credit_note_status, draft.credit_note_type, draft.total_amount) == ("DRAFT", "ADJUSTMENT", "40")
        done = await client.credit_notes.process_credit_note_async(id=draft.id)
        assert done.credit_note_status == "FINALIZED"
        voided = await client.credit_notes.void_credit_note_async(id=draft.id)
        assert voided.credit_note_status == "VOIDED"
        assert voided.voided_at is not None

        lines = [{"invoice_line_item_id": paid["line_items"][0]["id"], "amount": "60"}]
        note = await client.credit_notes.create_credit_note_async(
            invoice_id=paid["id"], reason="SERVICE_ISSUE", line_items=lines, refund_target="BACK_TO_SOURCE"
        )
        got = await client.credit_notes.get_credit_note_async(id=note.id)
        assert (got.refund_status, got.invoice.refunded_amount, got.line_items[0].amount) == ("SUCCEEDED", "60", "60")
        page = await client.refunds.list_refunds_async(credit_note_ids=[note.id])
        (refund,) = page.items
        assert (refund.refund_destination, refund.refund_status, refund.amount) == ("GATEWAY", "SUCCEEDED", "60")
        assert (await client.refunds.get_refund_async(id=refund.id)).settled_amount == "60"
        with pytest.raises(errors.FlexpriceError):
            await client.refunds.retry_refund_async(id=refund.id)
