"""Credit notes over HTTP: what may be credited, what it does to the invoice, and what becomes of the money."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from tests.credits.notes.notebook import Notebook
from tests.invoices.desk import fixed, usage


async def test_adjustments_lower_what_is_due_until_nothing_remains(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    await notebook.till.pay(invoice, "40")
    note = await notebook.credit(invoice, "50")
    assert (note["credit_note_type"], note["credit_note_status"], note["total_amount"]) == (
        "ADJUSTMENT",
        "FINALIZED",
        "50",
    )
    assert note.get("refund_status") is None
    first = await notebook.figures(invoice)
    assert (first["amount_due"], first["amount_remaining"], first["payment_status"]) == ("50", "10", "PENDING")
    refusal = await notebook.credit(invoice, "15", expect=400)
    assert (refusal["details"]["requested_amount"], refusal["details"]["maximum_allowed"]) == ("15", "10")
    last = await notebook.credit(invoice, "10")
    assert await notebook.figures(invoice) == {
        "amount_due": "40",
        "amount_remaining": "0",
        "adjustment_amount": "60",
        "amount_paid": "40",
        "refunded_amount": "0",
        "payment_status": "SUCCEEDED",
    }
    voided = await notebook.account.post(f"/creditnotes/{last['id']}/void", None, 200)
    assert (voided["credit_note_status"], voided["message"]) == ("VOIDED", "Credit note voided successfully")
    after = await notebook.figures(invoice)
    assert (after["adjustment_amount"], after["amount_remaining"], after["payment_status"]) == ("50", "10", "PENDING")
    assert await notebook.faults() == []


async def test_a_refund_gives_back_what_was_paid_and_not_more(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("132", currency="EUR")
    await notebook.till.pay(invoice, "132")
    await notebook.credit(invoice, "30")
    refusal = await notebook.credit(invoice, "120", expect=400)
    assert refusal["details"]["maximum_allowed"] == "102"
    note = await notebook.credit(invoice, "102")
    assert (note["credit_note_type"], note["refund_status"]) == ("REFUND", "SUCCEEDED")
    after = await notebook.figures(invoice)
    assert (after["refunded_amount"], after["amount_paid"], after["payment_status"]) == ("132", "132", "REFUNDED")
    assert await notebook.wallet_value(invoice["customer_id"]) == 132
    assert [row["refund_destination"] for row in await notebook.refunds()] == ["WALLET", "WALLET"]
    await notebook.credit(invoice, "1", expect=400)
    assert await notebook.faults() == []


@pytest.mark.parametrize(
    ("paid", "amounts", "maximum"),
    [
        pytest.param(("40", "80"), "120", "120", id="an overpayment can be refunded on a single line"),
        pytest.param(("40", "80"), "120.01", "120", id="and nothing beyond it"),
        pytest.param(("40",), "60", "60", id="what is unpaid can be taken off"),
        pytest.param(("40",), "60.01", "60", id="and not what was paid"),
        pytest.param((), "100", "100", id="an unpaid invoice can be taken back whole"),
    ],
)
async def test_the_ceiling_of_a_note(notebook: Notebook, paid: tuple[str, ...], amounts: str, maximum: str) -> None:
    invoice = await notebook.till.invoice("100")
    for amount in paid:
        await notebook.till.pay(invoice, amount)
    within = Decimal(amounts) <= Decimal(maximum)
    answer = await notebook.credit(invoice, amounts, expect=201 if within else 400)
    if within:
        assert answer["total_amount"] == maximum
    else:
        assert answer["details"]["maximum_allowed"] == maximum
    assert await notebook.faults() == []


async def test_notes_take_the_tax_of_their_lines_back_and_never_more(notebook: Notebook) -> None:
    rate = await notebook.desk.tax("19%")
    invoice = await notebook.desk.invoice([fixed("100"), usage("50")], tax_rates=[rate])
    assert invoice["total"] == "178.5"
    note = await notebook.credit(invoice, "59.5", "")
    (line,) = note["line_items"]
    assert (line["net_amount"], line["tax_amount"]) == ("50", "9.5")
    assert [(tax["tax_rate_id"], tax["amount"]) for tax in line["taxes"]] == [(rate, "9.5")]
    assert (note["net_amount"], note["tax_amount"]) == ("50", "9.5")
    refusal = await notebook.credit(invoice, "59.51", expect=400)
    assert refusal["details"]["maximum_allowed"] == "59.5"
    last = await notebook.credit(invoice, "59.5", "59.5", memo="the rest")
    assert (last["net_amount"], last["tax_amount"]) == ("100", "19")
    assert (await notebook.figures(invoice))["payment_status"] == "SUCCEEDED"
    assert await notebook.faults() == []


async def test_many_notes_on_one_line_come_to_exactly_its_net_and_tax(notebook: Notebook) -> None:
    rates = [await notebook.desk.tax("19%"), await notebook.desk.tax("3.33%")]
    invoice = await notebook.desk.invoice([fixed("10")], tax_rates=rates)
    gross, parts = Decimal(invoice["total"]), 7
    piece = (gross / parts).quantize(Decimal("0.01"))
    amounts = [piece] * (parts - 1) + [gross - piece * (parts - 1)]
    notes = [
        await notebook.credit(invoice, str(amount), idempotency_key=f"piece {number}")
        for number, amount in enumerate(amounts)
    ]
    assert sum(Decimal(note["net_amount"]) for note in notes) == 10
    assert sum(Decimal(note["tax_amount"]) for note in notes) == gross - 10
    assert await notebook.faults() == []


async def test_a_preview_is_the_note_undone(notebook: Notebook) -> None:
    await notebook.till.connect()
    invoice = await notebook.till.invoice("100")
    card = await notebook.till.charge(invoice, "70")
    await notebook.till.pay(invoice, "30")
    body = notebook.order(invoice, "100", refund_target="BACK_TO_SOURCE")
    preview = await notebook.account.post("/creditnotes/preview", body, 200)
    assert preview["movements"] == [
        {"destination": "GATEWAY", "amount": "70", "payment_id": card["id"]},
        {"destination": "OUT_OF_BAND", "amount": "30", "payment_id": preview["movements"][1]["payment_id"]},
    ]
    assert preview["invoice"]["payment_status"] == "REFUNDED"
    assert (await notebook.account.get("/creditnotes"))["items"] == []
    assert await notebook.refunds() == []
    assert (await notebook.figures(invoice))["payment_status"] == "SUCCEEDED"


async def test_a_refund_goes_back_to_its_source_and_the_payments_say_so(notebook: Notebook) -> None:
    await notebook.till.connect()
    invoice = await notebook.till.invoice("100")
    cash = await notebook.till.pay(invoice, "20")
    older = await notebook.till.charge(invoice, "30")
    newer = await notebook.till.charge(invoice, "50")
    note = await notebook.credit(invoice, "70", refund_target="BACK_TO_SOURCE")
    assert note["refund_status"] == "SUCCEEDED"
    assert note["split"] == {"prepaid_wallet": "0", "back_to_source": "70", "next_invoice": "0"}
    by_payment = {row["payment_id"]: row for row in await notebook.refunds(credit_note_ids=note["id"])}
    assert {key: row["amount"] for key, row in by_payment.items()} == {newer["id"]: "50", older["id"]: "20"}
    assert all(row["gateway_refund_id"] for row in by_payment.values())
    states = [(await notebook.till.read(payment))["payment_status"] for payment in (newer, older, cash)]
    assert states == ["REFUNDED", "PARTIALLY_REFUNDED", "SUCCEEDED"]
    rest = await notebook.credit(invoice, "30", refund_target="BACK_TO_SOURCE")
    destinations = Counter(row["refund_destination"] for row in await notebook.refunds(credit_note_ids=rest["id"]))
    assert destinations == {"GATEWAY": 1, "OUT_OF_BAND": 1}
    assert (await notebook.till.read(cash))["payment_status"] == "REFUNDED"
    assert await notebook.wallet_value(invoice["customer_id"]) == 0
    assert await notebook.faults() == []


async def test_an_explicit_split_goes_to_wallet_source_and_next_invoice(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    invoice = await notebook.desk.invoice([fixed("100")], customer)
    await notebook.till.charge(invoice, "60")
    await notebook.till.pay(invoice, "40", payment_method_type="OFFLINE")
    split = {"prepaid_wallet": "20", "back_to_source": "50", "next_invoice": "30"}
    too_little = {**split, "next_invoice": "29"}
    assert "split" in (await notebook.credit(invoice, "100", split=too_little, expect=400))["details"]
    note = await notebook.credit(invoice, "100", split=split)
    assert note["split"] == split
    assert await notebook.wallet_value(customer) == 20
    assert await notebook.unapplied(customer) == {"usd": "30"}
    following = await notebook.desk.invoice([fixed("80")], customer)
    assert (following["amount_paid"], following["amount_remaining"]) == ("30", "50")
    assert await notebook.unapplied(customer) == {}
    assert await notebook.faults() == []


async def test_a_refund_that_fails_is_paid_into_the_wallet_by_a_retry(notebook: Notebook) -> None:
    await notebook.till.connect()
    invoice = await notebook.till.invoice("100")
    payment = await notebook.till.charge(invoice)
    await forget_charge(notebook, payment)
    note = await notebook.credit(invoice, "100", refund_target="BACK_TO_SOURCE")
    assert note["refund_status"] == "FAILED"
    (refund,) = await notebook.refunds(refund_statuses="FAILED")
    assert refund["failure_reason"]
    calls = (notebook.account.http.post(f"/refunds/{refund['id']}/retry") for _ in range(8))
    answers = await asyncio.gather(*calls)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 7}
    (after,) = await notebook.refunds(only_settled=True)
    assert (after["refund_destination"], after["attempt"], after["refund_status"]) == ("WALLET", 2, "SUCCEEDED")
    assert await notebook.wallet_value(invoice["customer_id"]) == 100
    assert (await notebook.till.read(payment))["payment_status"] == "SUCCEEDED"
    assert await notebook.faults() == []


async def forget_charge(notebook: Notebook, payment: dict[str, Any]) -> None:
    """Let the provider know of no captured charge any more."""
    from sqlalchemy import text

    async with notebook.account.transaction() as session:
        await session.execute(
            text("UPDATE test_gateway_charges SET state = 'failed' WHERE id = :id"),
            {"id": payment["gateway_payment_id"]},
        )


async def test_a_draft_takes_effect_when_it_is_finalized(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    draft = await notebook.credit(invoice, "60", process_credit_note=False)
    assert draft["credit_note_status"] == "DRAFT"
    assert (await notebook.figures(invoice))["adjustment_amount"] == "0"
    refusal = await notebook.credit(invoice, "41", expect=400)
    assert refusal["details"]["maximum_allowed"] == "40"
    done = await notebook.account.post(f"/creditnotes/{draft['id']}/finalize", None, 200)
    assert done["message"] == "Adjustment credit note processed successfully"
    assert (await notebook.figures(invoice))["amount_remaining"] == "40"
    await notebook.account.post(f"/creditnotes/{draft['id']}/finalize", None, 400)
    events = await notebook.till.events(draft["id"])
    assert events == ["credit_note.created", "credit_note.updated"]


async def test_a_draft_whose_invoice_was_paid_meanwhile_is_refused(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    draft = await notebook.credit(invoice, "60", process_credit_note=False)
    await notebook.till.pay(invoice, "100")
    refusal = await notebook.account.post(f"/creditnotes/{draft['id']}/finalize", None, 400)
    assert refusal["details"]["maximum_allowed"] == "0"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"line_items": [{"invoice_line_item_id": "inv_line_x", "amount": "1"}]}, 400, id="a foreign line"),
        pytest.param({"line_items": []}, 400, id="no line"),
        pytest.param({"invoice_id": "inv_x"}, 404, id="no such invoice"),
        pytest.param({"reason": "WHIM"}, 400, id="no such reason"),
        pytest.param({"split": {"prepaid_wallet": "10"}}, 400, id="a split of an adjustment"),
        pytest.param({"split": {"prepaid_wallet": "-1"}}, 400, id="a negative part"),
        pytest.param({"refund_target": "MOON"}, 400, id="no such target"),
    ],
)
async def test_what_makes_no_sense_is_refused(notebook: Notebook, change: dict[str, Any], status: int) -> None:
    invoice = await notebook.till.invoice("100")
    body = {**notebook.order(invoice, "10"), **change}
    await notebook.account.post("/creditnotes", body, status)


@pytest.mark.parametrize("amount", ["0", "-1", "0.001"], ids=["nothing", "less than nothing", "finer than a cent"])
async def test_amounts_are_whole_cents_above_nothing(notebook: Notebook, amount: str) -> None:
    invoice = await notebook.till.invoice("100")
    refusal = await notebook.credit(invoice, amount, expect=400)
    assert "line_items[0].amount" in str(refusal["details"])


async def test_void_and_draft_invoices_take_no_note(notebook: Notebook) -> None:
    draft = await notebook.till.invoice("100", invoice_status="DRAFT")
    await notebook.credit(draft, "10", expect=400)
    invoice = await notebook.till.invoice("100")
    waiting = await notebook.credit(invoice, "10", process_credit_note=False)
    await notebook.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await notebook.credit(invoice, "10", expect=400)
    note = await notebook.account.get(f"/creditnotes/{waiting['id']}")
    assert note["credit_note_status"] == "VOIDED"
    await notebook.account.post(f"/creditnotes/{waiting['id']}/finalize", None, 400)


async def test_refunds_are_not_voided_and_neither_are_adjustments_beneath_them(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    adjustment = await notebook.credit(invoice, "40")
    await notebook.till.pay(invoice, "60")
    refund = await notebook.credit(invoice, "10")
    assert refund["credit_note_type"] == "REFUND"
    for note in (refund, adjustment):
        await notebook.account.post(f"/creditnotes/{note['id']}/void", None, 400)
    assert await notebook.faults() == []


async def test_a_repeat_without_a_key_is_the_same_note_also_when_the_first_settled_the_invoice(
    notebook: Notebook,
) -> None:
    invoice = await notebook.till.invoice("100")
    await notebook.till.pay(invoice, "40")
    first = await notebook.credit(invoice, "60")
    assert (await notebook.credit(invoice, "60"))["id"] == first["id"]
    assert (await notebook.figures(invoice))["refunded_amount"] == "0"
    await notebook.account.post(f"/creditnotes/{first['id']}/void", None, 200)
    assert (await notebook.credit(invoice, "60"))["id"] != first["id"]


async def test_a_key_names_one_request(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    first = await notebook.credit(invoice, "10", idempotency_key="once")
    assert (await notebook.credit(invoice, "10", idempotency_key="once"))["id"] == first["id"]
    await notebook.credit(invoice, "11", idempotency_key="once", expect=409)
    own = await notebook.credit(invoice, "12", credit_note_number="MY-1")
    assert own["credit_note_number"] == "MY-1"
    await notebook.credit(invoice, "13", credit_note_number="MY-1", expect=409)
    assert len(first["credit_note_number"]) == 12
    assert first["credit_note_number"].startswith("CN-")


async def test_numbers_without_gaps(notebook: Notebook) -> None:
    await notebook.account.put("/settings/invoice_config", {"value": {"credit_note_numbers": "sequential"}})
    invoice = await notebook.till.invoice("100")
    bodies = [notebook.order(invoice, "10", idempotency_key=f"n{number}") for number in range(16)]
    answers = await asyncio.gather(*(notebook.account.http.post("/creditnotes", json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: 10, 400: 6}
    numbers = sorted(answer.json()["credit_note_number"] for answer in answers if answer.status_code == 201)
    assert [int(number.rsplit("-", 1)[1]) for number in numbers] == list(range(1, 11))
    assert (await notebook.figures(invoice))["payment_status"] == "SUCCEEDED"
    assert await notebook.faults() == []


@pytest.mark.parametrize(
    ("paid", "amount", "granted"),
    [
        pytest.param("100", "60", 1, id="of two halves too large, one refund"),
        pytest.param("100", "10", 10, id="refunds until nothing is left"),
        pytest.param("0", "30", 3, id="adjustments until less than one is left"),
    ],
)
async def test_notes_at_once_are_what_they_are_one_after_the_other(
    notebook: Notebook, paid: str, amount: str, granted: int
) -> None:
    invoice = await notebook.till.invoice("100")
    if paid != "0":
        await notebook.till.pay(invoice, paid)
    bodies = [notebook.order(invoice, amount, idempotency_key=f"k{number}") for number in range(16)]
    answers = await asyncio.gather(*(notebook.account.http.post("/creditnotes", json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: granted, 400: 16 - granted}
    assert await notebook.faults() == []


async def test_one_request_16_times_at_once_is_one_note_and_one_credit(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    await notebook.till.pay(invoice, "100")
    body = notebook.order(invoice, "25")
    answers = await asyncio.gather(*(notebook.account.http.post("/creditnotes", json=body) for _ in range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await notebook.wallet_value(invoice["customer_id"]) == 25
    assert await notebook.faults() == []


async def test_credited_and_voided_at_once_nothing_is_given_back_twice(notebook: Notebook) -> None:
    await notebook.till.connect()
    for _ in range(3):
        invoice = await notebook.till.invoice("100")
        await notebook.till.charge(invoice)
        body = notebook.order(invoice, "60", refund_target="BACK_TO_SOURCE")
        await asyncio.gather(
            notebook.account.http.post("/creditnotes", json=body),
            notebook.account.http.post(f"/invoices/{invoice['id']}/void", json={}),
        )
        after = await notebook.figures(invoice)
        assert (after["amount_paid"], after["refunded_amount"]) == ("100", "100")
    assert await notebook.faults() == []


async def test_the_summary_follows_the_notes(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    invoice = await notebook.desk.invoice([usage("60"), fixed("40")], customer)
    await notebook.credit(invoice, "30")
    path = f"/customers/{customer}/invoices/summary"
    (row,) = (await notebook.account.get(path))["summaries"]
    assert (row["total_revenue_amount"], row["total_unpaid_amount"], row["unpaid_usage_charges"]) == ("70", "70", "42")
    await notebook.till.pay(invoice, "70")
    await notebook.credit(invoice, "20")
    (row,) = (await notebook.account.get(path))["summaries"]
    assert (row["total_revenue_amount"], row["total_unpaid_amount"]) == ("50", "0")


async def test_a_note_has_a_document(notebook: Notebook) -> None:
    invoice = await notebook.desk.invoice([fixed("100")], tax_rates=[await notebook.desk.tax("19%")])
    note = await notebook.credit(invoice, "59.5", memo="Half of it was never delivered.")
    answer = await notebook.account.http.get(f"/creditnotes/{note['id']}/pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF")


async def test_the_list_is_narrowed_and_expanded(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    first = await notebook.credit(invoice, "10")
    await notebook.credit(invoice, "20", process_credit_note=False)
    page = await notebook.account.get("/creditnotes", invoice_id=invoice["id"], limit=1)
    assert page["pagination"] == {"total": 2, "limit": 1, "offset": 1}
    drafts = await notebook.account.get("/creditnotes", credit_note_status="DRAFT,VOIDED", expand="invoice,customer")
    (draft,) = drafts["items"]
    assert draft["invoice"]["id"] == invoice["id"]
    assert draft["customer"]["id"] == invoice["customer_id"]
    whole = await notebook.account.get(f"/creditnotes/{first['id']}")
    assert whole["invoice"]["adjustment_amount"] == "10"
    await notebook.account.get("/creditnotes", 400, credit_note_status="LOST")


async def test_a_void_sends_money_back_to_its_source_when_asked_and_the_duty_follows_it_up(notebook: Notebook) -> None:
    await notebook.till.connect()
    invoice = await notebook.till.invoice("100")
    payment = await notebook.till.charge(invoice, "60")
    await notebook.till.pay(invoice, "40")
    await notebook.credit(invoice, "30", refund_target="BACK_TO_SOURCE")
    path = f"/invoices/{invoice['id']}/void"
    await notebook.account.post(path, {"refund_target": "MOON"}, 400)
    await notebook.account.post(path, {"refund_target": "BACK_TO_SOURCE"}, 200)
    after = await notebook.figures(invoice)
    assert (after["refunded_amount"], after["payment_status"]) == ("100", "REFUNDED")
    (waiting,) = await notebook.refunds(refund_statuses="PENDING")
    assert (waiting["amount"], waiting["refund_destination"]) == ("30", "GATEWAY")
    assert "minutes" in (await notebook.account.post(f"/refunds/{waiting['id']}/retry", None, 400))["message"]
    await notebook.till.reconcile()
    settled = [Decimal(row["amount"]) for row in await notebook.refunds(only_settled=True)]
    assert sum(settled) == 100
    assert (await notebook.till.read(payment))["payment_status"] == "REFUNDED"
    assert await notebook.faults() == []
