"""Edits: details of an invoice, and the lines of a draft.

Rule: docs/rules/invoices-and-payments.md#changes
Rule: docs/rules/invoices-and-payments.md#line-edits
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import lock_row
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.invoices.lifecycle.test_create import told

CLOCK = datetime(2025, 3, 1, 12, tzinfo=UTC)


async def edit(account: Account, invoice: dict[str, Any], expect: int = 200, **params: Any) -> dict[str, Any]:
    body = {"type": "line_item", "line_item_params": params}
    answer = await account.post(f"/invoices/{invoice['id']}/modify/execute", body, expect)
    edited: dict[str, Any] = answer["invoice"] if expect == 200 else answer
    return edited


async def test_an_edit_works_discount_and_tax_out_anew(account: Account) -> None:
    """The worked example W38."""
    desk = Desk(account)
    draft = await desk.invoice(
        [fixed("100")],
        invoice_status="DRAFT",
        coupons=[await desk.coupon("20%")],
        tax_rates=[await desk.tax("10%")],
    )
    assert draft["total"] == "88"
    (line,) = draft["line_items"]
    edited = await edit(account, draft, action="update", line_item_id=line["id"], update={"amount": "50"})
    assert (edited["total_discount"], edited["total_tax"], edited["total"]) == ("10", "4", "44")
    assert (edited["taxes"][0]["taxable_amount"], edited["amount_remaining"]) == ("40", "44")
    assert edited["is_manually_edited"]
    assert edited["version"] == draft["version"] + 1
    (replaced,) = edited["line_items"]
    assert replaced["parent_line_item_id"] == line["id"] != replaced["id"]
    assert replaced["display_name"] == line["display_name"]
    assert await told(account, draft) == ["invoice.create.drafted", "invoice.update", "invoice.update"]

    await account.post(f"/invoices/{draft['id']}/finalize", expect=200)
    assert (await desk.get(draft))["total"] == "44"


async def test_lines_are_added_changed_and_taken_off(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([usage("10"), fixed("20")], invoice_status="DRAFT")
    items = [{"display_name": "Setup", "amount": "5", "quantity": "1", "description": "once"}]
    added = await edit(account, draft, action="add", items=items)
    assert [line["amount"] for line in added["line_items"]] == ["10", "20", "5"]
    assert (added["line_items"][2]["price_type"], added["total"]) == ("FIXED", "35")
    assert added["line_items"][2]["metadata"] == {"description": "once"}

    first = added["line_items"][0]["id"]
    more = await edit(account, draft, action="update", line_item_id=first, update={"quantity": "7"})
    assert [line["amount"] for line in more["line_items"]] == ["10", "20", "5"]
    assert (more["line_items"][0]["quantity"], more["line_items"][0]["price_type"]) == ("7", "USAGE")

    ids = [line["id"] for line in more["line_items"]]
    less = await edit(account, draft, action="remove", line_item_ids=ids[1:])
    assert [line["amount"] for line in less["line_items"]] == ["10"]
    gone = await edit(account, draft, 404, action="remove", line_item_ids=[ids[1]])
    assert gone["code"] == "not_found"


async def test_a_coupon_that_found_nothing_waits_for_its_line(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("0")], invoice_status="DRAFT", coupons=[await desk.coupon("20%")])
    assert "coupon_applications" not in draft or draft["coupon_applications"] == []
    edited = await edit(account, draft, action="add", items=[{"display_name": "More", "amount": "10", "quantity": "1"}])
    assert edited["total"] == "8"


BAD_EDITS = [
    pytest.param({"action": "add", "items": []}, "line_item_params.items", id="nothing to add"),
    pytest.param(
        {"action": "add", "items": [{"display_name": "x", "amount": "-1", "quantity": "1"}]},
        "line_item_params.items[0].amount",
        id="a negative amount",
    ),
    pytest.param(
        {"action": "add", "items": [{"display_name": "x", "amount": "1", "quantity": "1"}] * 101},
        "line_item_params.items",
        id="more than a hundred lines",
    ),
    pytest.param({"action": "remove"}, "line_item_params.line_item_ids", id="no lines named"),
    pytest.param({"action": "update", "line_item_id": "x"}, "line_item_params.update", id="no change named"),
    pytest.param(
        {"action": "update", "line_item_id": "x", "update": {}}, "line_item_params.update.update", id="an empty change"
    ),
    pytest.param({"action": "shred"}, "line_item_params.action", id="an action that is none"),
]


@pytest.mark.parametrize(("params", "field"), BAD_EDITS)
async def test_a_bad_edit_is_refused(account: Account, params: dict[str, Any], field: str) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    assert field in (await edit(account, draft, 400, **params))["details"]
    assert await desk.get(draft) == draft


async def test_only_a_draft_is_edited(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")])
    refused = await edit(account, made, 400, action="remove", line_item_ids=[made["line_items"][0]["id"]])
    assert refused["code"] == "invalid_operation"
    assert await desk.get(made) == made


async def test_a_line_of_another_invoice_is_not_found(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    other = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    await edit(account, draft, 404, action="remove", line_item_ids=[other["line_items"][0]["id"]])


async def test_details_are_updated_on_drafts_and_finalized_invoices(account: Account) -> None:
    desk = Desk(account)
    await account.freeze(CLOCK)
    for status in ("DRAFT", "FINALIZED"):
        made = await desk.invoice([fixed("10")], invoice_status=status, metadata={"a": "1"})
        change = {
            "metadata": {"b": "2"},
            "due_date": "2025-03-02T00:00:00Z",
            "invoice_pdf_url": "https://example.com/a.pdf",
        }
        changed = await account.put(f"/invoices/{made['id']}", change)
        assert {name: changed[name] for name in change} == change
        assert changed["version"] == made["version"] + 1
        kept = await account.put(f"/invoices/{made['id']}", {})
        assert {name: kept[name] for name in change} == change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"due_date": "2025-03-01T11:59:59Z"}, "due_date", id="a due date in the past"),
        pytest.param({"due_date": "2025-03-01T11:59:59"}, "due_date", id="a due date without a zone"),
        pytest.param({"invoice_pdf_url": "file:///etc/passwd"}, "invoice_pdf_url", id="a file as address"),
        pytest.param({"metadata": {"k": "v" * 501}}, "metadata.k", id="metadata that is too long"),
        pytest.param({"metadata": {"auto_completed": "false"}}, "metadata.auto_completed", id="a reserved key"),
    ],
)
async def test_a_bad_update_is_refused(account: Account, change: dict[str, Any], field: str) -> None:
    desk = Desk(account)
    await account.freeze(CLOCK)
    made = await desk.invoice([fixed("10")])
    answer = await account.put(f"/invoices/{made['id']}", change, 400)
    assert any(name.startswith(field.split(".", maxsplit=1)[0]) for name in answer["details"]), answer
    assert await desk.get(made) == made


async def test_reserved_metadata_survives_a_replacement_and_is_not_changed(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")])
    async with account.transaction() as session:
        row = await lock_row(session, Invoice, made["id"])
        row.wallet_transaction_id, row.auto_completed, row.meta = "wtxn_1", True, {"a": "1"}
    changed = await account.put(f"/invoices/{made['id']}", {"metadata": {"b": "2"}})
    assert changed["metadata"] == {"wallet_transaction_id": "wtxn_1", "auto_completed": "true", "b": "2"}
    same = {"wallet_transaction_id": "wtxn_1"}
    assert (await account.put(f"/invoices/{made['id']}", {"metadata": same}))["metadata"]["auto_completed"] == "true"
    await account.put(f"/invoices/{made['id']}", {"metadata": {"wallet_transaction_id": "wtxn_2"}}, 400)
    await account.post(f"/invoices/{made['id']}/void", {"metadata": {"auto_completed": "no"}}, 400)


async def test_discounts_are_applied_again_to_drafts_alone(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT", coupons=[await desk.coupon("10%")])
    again = await account.put(f"/invoices/{draft['id']}", {"apply_discount": True})
    assert again["total"] == "9"
    made = await desk.invoice([fixed("10")])
    refused = await account.put(f"/invoices/{made['id']}", {"apply_discount": True}, 400)
    assert refused["code"] == "invalid_operation"


async def test_a_draft_is_computed_from_new_charges(account: Account) -> None:
    desk = Desk(account)
    coupon, other = await desk.coupon("10%"), await desk.coupon("50%")
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT", coupons=[coupon])
    body = {"line_items": [usage("30"), fixed("10")], "subtotal": "40", "description": "April"}
    answer = await account.post(f"/invoices/{draft['id']}/compute", body, 200)
    assert answer["skipped"] is False
    assert (answer["invoice"]["total"], answer["invoice"]["description"]) == ("36", "April")
    coupons = {"invoice_coupons": [{"coupon_id": coupon}, {"coupon_id": other}]}
    answer = await account.post(f"/invoices/{draft['id']}/compute", coupons, 200)
    assert answer["invoice"]["total"] == "18"
    assert (await account.get(f"/coupons/{coupon}"))["total_redemptions"] == 1
    await edit(account, draft, action="remove", line_item_ids=[answer["invoice"]["line_items"][0]["id"]])
    refused = await account.post(f"/invoices/{draft['id']}/compute", {}, 400)
    assert refused["code"] == "invalid_operation"
