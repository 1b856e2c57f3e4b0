"""Money that moved elsewhere: instalments, overpayment, repeats, changes and deletion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.account import Account
from tests.invoices.desk import fixed
from tests.payments.till import Till

START = datetime(2025, 3, 1, 12, tzinfo=UTC)


async def test_two_instalments_pay_an_invoice(till: Till) -> None:
    invoice = await till.invoice()
    first = await till.pay(invoice, "40")
    assert first["payment_status"] == "SUCCEEDED"
    assert await till.standing(invoice) == ("PENDING", "40", "60")
    await till.pay(invoice, "60")
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.desk.get(invoice))["paid_at"]
    assert first["succeeded_at"]
    assert first["invoice_number"] == invoice["invoice_number"]
    assert await till.events(first["id"]) == ["payment.created", "payment.success"]


async def test_more_than_is_owed_is_an_overpayment(till: Till) -> None:
    invoice = await till.invoice()
    await till.pay(invoice, "40")
    await till.pay(invoice, "80")
    assert await till.standing(invoice) == ("OVERPAID", "120", "0")
    assert (await till.desk.get(invoice))["overpaid_amount"] == "20"


async def test_an_equal_payment_soon_after_is_a_repeat_and_later_is_an_instalment(till: Till) -> None:
    invoice = await till.invoice()
    first = await till.pay(invoice, "50")
    await till.grow_older(first, 300)
    second = await till.pay(invoice, "50")
    assert second["id"] != first["id"]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await till.grow_older(second, 10)
    repeated = await till.account.http.post("/payments", json=till.order(invoice, "50"))
    assert (repeated.status_code, repeated.json()["id"]) == (201, second["id"])
    assert repeated.headers["idempotent-replayed"] == "true"
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


@pytest.mark.parametrize(("seconds", "same"), [(50, True), (61, False)], ids=["within a minute", "after a minute"])
async def test_the_window_of_repeats_is_one_minute(till: Till, seconds: int, same: bool) -> None:
    invoice = await till.invoice()
    first = await till.pay(invoice, "10")
    await till.grow_older(first, seconds)
    assert ((await till.pay(invoice, "10"))["id"] == first["id"]) is same


@pytest.mark.parametrize("days", [0, 40], ids=["a clock that stands still", "a clock that was moved on"])
async def test_the_minute_is_of_real_time_whatever_a_test_clock_says(till: Till, days: int) -> None:
    await till.account.freeze(START)
    invoice = await till.invoice()
    first = await till.pay(invoice, "10")
    await till.account.freeze(START + timedelta(days=days))
    assert (await till.pay(invoice, "10"))["id"] == first["id"]
    await till.grow_older(first, 61)
    assert (await till.pay(invoice, "10"))["id"] != first["id"]
    assert await till.standing(invoice) == ("PENDING", "20", "80")


async def test_an_equal_payment_after_anything_else_has_changed_the_invoice_is_a_new_one(till: Till) -> None:
    invoice = await till.invoice()
    first = await till.pay(invoice, "10")
    await till.pay(invoice, "5")
    assert (await till.pay(invoice, "10"))["id"] != first["id"]
    assert await till.standing(invoice) == ("PENDING", "25", "75")


async def test_an_equal_payment_of_an_invoice_voided_since_is_refused(till: Till) -> None:
    invoice = await till.invoice()
    await till.pay(invoice)
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    assert (await till.pay(invoice, expect=400))["details"] == {
        "destination_id": "the invoice is VOIDED and takes no payment"
    }


async def test_a_failed_payment_does_not_block_the_next_try(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    first = await till.charge(invoice, method="pm_test_declined", expect=400)
    second = await till.charge(invoice, method="pm_test_declined", expect=400)
    assert first["details"]["payment_id"] != second["details"]["payment_id"]


async def test_one_key_is_one_payment(till: Till) -> None:
    invoice = await till.invoice()
    first = await till.pay(invoice, "30", idempotency_key="k-1")
    assert first["idempotency_key"] == "k-1"
    assert (await till.pay(invoice, "30.00", idempotency_key="k-1"))["id"] == first["id"]
    assert await till.standing(invoice) == ("PENDING", "30", "70")
    answer = await till.pay(invoice, "31", 409, idempotency_key="k-1")
    assert answer["code"] == "already_exists"
    other = await till.invoice()
    await till.pay(other, "30", 409, idempotency_key="k-1")


async def test_a_deleted_payment_frees_its_key(till: Till) -> None:
    invoice = await till.invoice()
    given: dict[str, Any] = {"payment_method_type": "CARD", "process_payment": False, "idempotency_key": "k-2"}
    first = await till.pay(invoice, **given)
    await till.account.delete(f"/payments/{first['id']}", 200)
    assert (await till.pay(invoice, **given))["id"] != first["id"]


async def test_a_payment_of_a_draft_finalizes_it_first(till: Till) -> None:
    draft = await till.invoice(invoice_status="DRAFT")
    assert "invoice_number" not in draft or draft["invoice_number"] is None
    await till.pay(draft)
    after = await till.desk.get(draft)
    assert (after["invoice_status"], after["payment_status"]) == ("FINALIZED", "SUCCEEDED")
    assert after["invoice_number"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"amount": "0"}, "amount", id="an amount of zero"),
        pytest.param({"amount": "-1"}, "amount", id="a negative amount"),
        pytest.param({"amount": "NaN"}, "amount", id="an amount that is no number"),
        pytest.param({"amount": "1.001"}, "amount", id="an amount finer than a cent"),
        pytest.param({"amount": "1000000000000001"}, "amount", id="an amount no column holds"),
        pytest.param({"currency": "eur"}, "currency", id="another currency than the invoice's"),
        pytest.param({"currency": "dollars"}, "currency", id="no currency"),
        pytest.param({"payment_method_id": "pm_1"}, "payment_method_id", id="an offline payment with a method"),
        pytest.param({"payment_method_type": "ACH"}, "payment_method_id", id="ach without a method"),
        pytest.param({"payment_method_type": "UPI"}, "payment_method_id", id="upi without a method"),
        pytest.param({"payment_method_type": "CASH"}, "payment_method_type", id="an unknown method type"),
        pytest.param({"payment_method_type": "PAYMENT_LINK"}, "payment_gateway", id="a link without a gateway"),
        pytest.param({"payment_gateway": "paypal"}, "payment_gateway", id="an unknown gateway"),
        pytest.param({"destination_id": "inv_nowhere"}, "destination_id", id="an unknown invoice"),
        pytest.param({"destination_type": "PLAN"}, "destination_type", id="an unknown destination"),
        pytest.param({"idempotency_key": "k" * 51}, "idempotency_key", id="a key too long"),
        pytest.param({"metadata": {"a": 1}}, "metadata", id="metadata that is not text"),
        pytest.param({"success_url": "javascript:alert(1)"}, "success_url", id="a url that is a script"),
        pytest.param({"cancel_url": "http://[broken"}, "cancel_url", id="a url that is none"),
        pytest.param({"payment_method_type": "CARD", "amount": "100.01"}, "amount", id="a card beyond what remains"),
        pytest.param(
            {"gateway_options": {"stripe": {"tax_id_collection_enabled": True}}}, "gateway_options", id="tax id offline"
        ),
    ],
)
async def test_what_cannot_be_paid_so_is_refused_by_name(till: Till, change: dict[str, Any], field: str) -> None:
    invoice = await till.invoice()
    answer = await till.account.post("/payments", {**till.order(invoice), **change}, 400)
    assert answer["code"] == "validation_error"
    assert any(name.startswith(field) for name in answer["details"]), answer
    assert await till.standing(invoice) == ("PENDING", "0", "100")


@pytest.mark.parametrize("missing", ["destination_type", "destination_id", "payment_method_type", "amount", "currency"])
async def test_every_required_field_is_asked_for(till: Till, missing: str) -> None:
    body = {name: value for name, value in till.order(await till.invoice()).items() if name != missing}
    answer = await till.account.post("/payments", body, 400)
    assert answer["details"] == {missing: "is required"}


async def test_settled_and_voided_invoices_take_no_payment(till: Till) -> None:
    paid = await till.invoice()
    await till.pay(paid)
    voided = await till.invoice()
    await till.account.post(f"/invoices/{voided['id']}/void", {}, 200)
    overpaid = await till.invoice()
    await till.pay(overpaid, "101")
    for invoice in (paid, voided, overpaid):
        assert (await till.pay(invoice, "7", 400))["details"]["destination_id"]


async def test_a_payment_to_a_customer_needs_the_customer(till: Till) -> None:
    body = {"destination_type": "CUSTOMER", "payment_method_type": "OFFLINE", "amount": "5", "currency": "USD"}
    await till.account.post("/payments", {**body, "destination_id": "cust_nobody"}, 404)
    customer = await till.desk.customer()
    payment = await till.account.post("/payments", {**body, "destination_id": customer, "process_payment": True})
    assert (payment["payment_status"], payment["currency"]) == ("SUCCEEDED", "usd")


async def test_credits_without_a_wallet_are_not_found(till: Till) -> None:
    invoice = await till.invoice()
    answer = await till.pay(invoice, "10", 404, payment_method_type="CREDITS")
    assert answer["code"] == "not_found"


async def test_currencies_have_their_own_precision(till: Till) -> None:
    yen = await till.desk.invoice([fixed("1000")], currency="jpy")
    await till.pay(yen, "1.5", 400)
    await till.pay(yen, "1000")
    dinar = await till.desk.invoice([fixed("1.234")], currency="kwd")
    await till.pay(dinar, "1.234")
    assert await till.standing(dinar) == ("SUCCEEDED", "1.234", "0")


async def test_a_succeeded_payment_settles_whoever_says_so(till: Till) -> None:
    invoice = await till.invoice()
    payment = await till.pay(invoice, payment_method_type="CARD", process_payment=False)
    assert payment["payment_status"] == "INITIATED"
    updated = await till.account.put(
        f"/payments/{payment['id']}", {"payment_status": "SUCCEEDED", "gateway_payment_id": "pi_1"}
    )
    assert updated["succeeded_at"]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    voided = await till.account.put(f"/payments/{payment['id']}", {"payment_status": "VOIDED"})
    assert voided["voided_at"]
    assert await till.standing(invoice) == ("PENDING", "0", "100")


async def test_a_gateway_payment_id_belongs_to_one_payment(till: Till) -> None:
    one = await till.pay(await till.invoice(), payment_method_type="CARD", process_payment=False)
    two = await till.pay(await till.invoice(), payment_method_type="CARD", process_payment=False)
    moved = await till.account.put(f"/payments/{one['id']}", {"gateway_payment_id": "pi_9"})
    assert moved["payment_status"] == "PENDING"
    answer = await till.account.put(f"/payments/{two['id']}", {"gateway_payment_id": "pi_9"}, 409)
    assert answer["code"] == "already_exists"
    await till.account.put(f"/payments/{two['id']}", {"gateway_payment_id": "pi_9", "payment_gateway": "stripe"})


async def test_times_and_words_can_be_corrected(till: Till) -> None:
    payment = await till.pay(await till.invoice(), process_payment=False)
    given = {
        "payment_status": "SUCCEEDED",
        "succeeded_at": "2025-01-02T03:04:05+02:00",
        "metadata": {"cheque": "17"},
        "error_message": "late",
    }
    updated = await till.account.put(f"/payments/{payment['id']}", given)
    assert updated["succeeded_at"] == "2025-01-02T01:04:05Z"
    assert (updated["metadata"], updated["error_message"]) == ({"cheque": "17"}, "late")
    assert await till.events(payment["id"]) == ["payment.created", "payment.updated"]


async def test_only_a_payment_that_moved_nothing_can_be_deleted(till: Till) -> None:
    invoice = await till.invoice()
    done = await till.pay(invoice, "10")
    answer = await till.account.delete(f"/payments/{done['id']}", 400)
    assert answer["code"] == "invalid_operation"
    waiting = await till.pay(invoice, "11", payment_method_type="CARD", process_payment=False)
    assert await till.account.delete(f"/payments/{waiting['id']}", 200) == {"message": "payment deleted successfully"}
    assert (await till.read(waiting))["status"] == "archived"
    assert [row["id"] for row in (await till.account.get("/payments"))["items"]] == [done["id"]]
    await till.account.delete(f"/payments/{waiting['id']}", 400)
    await till.account.put(f"/payments/{waiting['id']}", {"payment_status": "SUCCEEDED"}, 400)
    await till.account.post(f"/payments/{waiting['id']}/process", None, 400)


async def test_processing_starts_from_pending_only(till: Till) -> None:
    payment = await till.pay(await till.invoice(), process_payment=False)
    assert payment["payment_status"] == "PENDING"
    done = await till.account.post(f"/payments/{payment['id']}/process", None, 200)
    assert done["payment_status"] == "SUCCEEDED"
    answer = await till.account.post(f"/payments/{payment['id']}/process", None, 400)
    assert answer["code"] == "invalid_operation"


async def test_lists_filter_page_and_refuse_what_they_do_not_know(till: Till) -> None:
    invoice = await till.invoice()
    for amount in ("1", "2", "3"):
        await till.pay(invoice, amount)
    card = await till.pay(invoice, "4", payment_method_type="CARD", process_payment=False)
    page = await till.account.get("/payments", limit=2)
    assert [row["amount"] for row in page["items"]] == ["4", "3"]
    assert page["pagination"] == {"total": 4, "limit": 2, "offset": 2}
    assert page["items"][1]["invoice_number"] == invoice["invoice_number"]
    for given in (
        {"payment_method_type": "CARD"},
        {"payment_status": "INITIATED"},
        {"payment_ids": card["id"]},
        {"destination_id": invoice["id"], "payment_status": "INITIATED", "currency": "USD"},
    ):
        assert [row["id"] for row in (await till.account.get("/payments", **given))["items"]] == [card["id"]]
    for bad in ({"payment_status": "LOST"}, {"payment_gateway": "paypal"}, {"limit": "-1"}, {"expand": "moon"}):
        assert (await till.account.get("/payments", 400, **bad))["code"] == "validation_error"


async def test_a_published_suite_goes_through(till: Till, account: Account) -> None:
    invoice = await till.invoice()
    async with account.sdk() as client:
        made = await client.payments.create_payment_async(
            amount="60",
            currency="USD",
            destination_id=invoice["id"],
            destination_type="INVOICE",
            payment_method_type="OFFLINE",
            process_payment=False,
            metadata={"source": "suite"},
        )
        assert (made.payment_status, made.amount) == ("PENDING", "60")
        assert made.id
        read = await client.payments.get_payment_async(id=made.id)
        assert read.invoice_number == invoice["invoice_number"]
        changed = await client.payments.update_payment_async(id=made.id, metadata={"source": "changed"})
        assert changed.metadata == {"source": "changed"}
        done = await client.payments.process_payment_async(id=made.id)
        assert done.payment_status == "SUCCEEDED"
        listed = await client.payments.list_payments_async(destination_id=invoice["id"])
        assert [row.id for row in listed.items or []] == [made.id]
        other = await client.payments.create_payment_async(
            amount="1",
            currency="usd",
            destination_id=invoice["id"],
            destination_type="INVOICE",
            payment_method_type="CARD",
            process_payment=False,
        )
        assert other.id
        gone = await client.payments.delete_payment_async(id=other.id)
        assert gone.message
        methods = await client.customers.list_customer_payment_methods_async(id=invoice["customer_id"])
        assert methods.providers == []
        await client.invoices.attempt_invoice_payment_async(id=invoice["id"])
