"""The proof of odd terms: shares, commitments, buckets, trials, progressive billing, lines edited by hand."""

from __future__ import annotations

import pytest

from farthing.invoices.lifecycle.edits import modify_lines
from farthing.invoices.requests import InvoiceModifyLineItemParams
from tests.billing.counter import do, modify, opened, seats
from tests.billing.late_usage.lateness import settled
from tests.billing.office import ARREAR, Office
from tests.billing.proof.proving import SLAB, find_faults, prove_books, tamper
from tests.subscriptions.shop import fixed, of_wire


async def test_a_larger_share_than_the_period_is(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("30", **ARREAR)))
    await office.on("2026-01-11")
    (item,) = (await office.account.get(f"/subscriptions/{subscription.id}"))["line_items"]
    await seats(office, {"id": subscription.id}, item, 2)
    await office.run("2026-02-01")
    (invoice,) = await office.invoices(subscription)
    first, _ = await office.rows(invoice)
    assert await find_faults(office) == []
    await tamper(
        office,
        "UPDATE invoice_line_items SET amount = 15, rating = jsonb_set(rating, '{share}', '\"1/2\"') WHERE id = :line",
        line=first.id,
    )
    assert await find_faults(office) == [(first.id, "share")]


@pytest.mark.parametrize("how", ["deleted", "moved in time", "moved to another customer"])
async def test_an_event_withdrawn_since_is_told_and_no_fault(office: Office, how: str) -> None:
    calls = await office.feature("calls")
    customer, other = await office.customer(), await office.customer()
    await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    event = {
        "event_id": "one",
        "event_name": "calls",
        "external_customer_id": customer["external_id"],
        "timestamp": "2026-01-10T00:00:00Z",
    }
    await office.account.post("/events", event, 202)
    await office.recorded("calls", customer, ("2026-01-12", 1))
    await settled(office)
    await office.run("2026-02-01")
    assert await find_faults(office) == []
    if how == "deleted":
        await office.account.delete("/events/one")
    else:
        moved = (
            {"timestamp": "2026-02-10T00:00:00Z"} if "time" in how else {"external_customer_id": other["external_id"]}
        )
        await office.account.post("/events", {**event, **moved}, 202)
    proof = await prove_books(office)
    assert (proof.differences, proof.late) == ([], 1)


async def test_a_commitment_cut_wrongly(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    subscription = await office.subscribed(
        await office.plan(office.usage(calls, "0.03")), customer, commitment_amount="10", overage_factor="2"
    )
    await office.recorded("calls", customer, ("2026-01-15", 500))
    await settled(office)
    await office.run("2026-02-01")
    assert await find_faults(office) == []
    (invoice,) = await office.invoices(subscription)
    within, over = await office.rows(invoice)
    await tamper(office, "UPDATE invoice_line_items SET amount = amount + 1 WHERE id = :line", line=over.id)
    assert await find_faults(office) == [(over.id, "overage x factor")]
    await tamper(
        office,
        "UPDATE invoice_line_items SET amount = amount - 1 WHERE id = :over",
        "UPDATE invoice_line_items SET amount = amount + 1, commitment_base = 10.99 WHERE id = :within",
        over=over.id,
        within=within.id,
    )
    assert await find_faults(office) == [(over.id, "within and over the commitment")]


async def test_a_true_up_of_more_than_was_left(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    plan = await office.plan(office.usage(calls, "0.02"))
    terms = {"commitment_amount": "100", "overage_factor": "1.5", "enable_true_up": True}
    subscription = await office.subscribed(plan, customer, **terms)
    await office.recorded("calls", customer, ("2026-01-15", 1000))
    await settled(office)
    await office.run("2026-02-01")
    assert await find_faults(office) == []
    (invoice,) = await office.invoices(subscription)
    _, true_up = await office.rows(invoice)
    await tamper(
        office,
        "UPDATE invoice_line_items SET amount = 90, commitment_utilized = 10 WHERE id = :line",
        line=true_up.id,
    )
    assert await find_faults(office) == [(true_up.id, "commitment used")]


async def test_buckets_are_priced_again(office: Office) -> None:
    data = await office.feature("data", type="SUM", field="n", bucket_size="DAY")
    plan = await office.plan(office.usage(data, "0", **SLAB))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded("data", customer, ("2026-01-04", {"n": 120}), ("2026-01-08", {"n": 30}))
    await settled(office)
    await office.run("2026-02-01")
    assert await office.totals(subscription) == ["9.10"]
    assert await find_faults(office) == []
    (invoice,) = await office.invoices(subscription)
    (line,) = await office.rows(invoice)
    # as if the 150 were of one day: every part is at the price's own amounts
    await tamper(
        office,
        """UPDATE invoice_line_items SET amount = 7.50,
            commitment_base = 7.50, rating = jsonb_set(rating, '{parts}',
            '[{"quantity": "100", "unit_amount": "0.05", "flat_amount": "1", "amount": "6", "tier": 0, "above": "0",
               "up_to": "100"},
              {"quantity": "50", "unit_amount": "0.03", "amount": "1.5", "tier": 1, "above": "100"}]')
            WHERE id = :line""",
        line=line.id,
    )
    assert await find_faults(office) == [(line.id, "buckets priced again")]


async def test_lines_edited_by_hand_are_somebodys_word(office: Office) -> None:
    await office.settings(finalization_delay_seconds=86400)
    subscription = await office.subscribed(await office.plan(fixed("10", **ARREAR)))
    await office.run("2026-02-01")
    (draft,) = await office.invoices(subscription)
    (line,) = await office.rows(draft)
    edit = {"action": "update", "line_item_id": line.id, "update": {"amount": "3"}}
    async with office.account.transaction() as session:
        await modify_lines(session, draft.id, of_wire(InvoiceModifyLineItemParams, edit), office.now)
    assert await office.totals(subscription) == ["3.00"]
    assert await find_faults(office) == []


async def test_a_customer_who_inherits_later_has_used_nothing_before(office: Office) -> None:
    calls = await office.feature("calls")
    owner, child = await office.customer(), await office.customer()
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), owner)
    await office.recorded("calls", child, ("2026-01-10", 5))
    await office.recorded("calls", owner, ("2026-01-10", 3))
    await settled(office)
    await office.run("2026-02-02")
    await office.on("2026-02-03")
    params = {"action": "add", "external_customer_ids_to_inherit_subscription": [child["external_id"]]}
    await do(office, {"id": subscription.id}, "modify/execute", {"type": "inheritance", "inheritance_params": params})
    await office.run("2026-03-01")
    proof = await prove_books(office)
    assert (proof.differences, proof.late, proof.unmeasured) == ([], 0, 0)


async def test_a_trial_that_ends_early_is_paid_for_from_then_on(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("50")), trial_period_days=14)
    await office.on("2026-01-05")
    await modify(office, made, "trial_end", action="immediate")
    await office.run("2026-02-05")
    assert await office.billed() == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-05..02-05", "50.00"),
        ("CYCLE", "01-05..02-05", "50.00"),
    ]
    assert await find_faults(office) == []
    (ended,) = [invoice for invoice in await office.invoices() if str(invoice.billing_reason).endswith("TRIAL_END")]
    await tamper(office, "DELETE FROM invoice_line_items WHERE invoice_id = :invoice", invoice=ended.id)
    assert await find_faults(office) == [(ended.id, "line")]


async def test_progressive_billing_is_clean(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    subscription = await office.subscribed(
        await office.plan(office.usage(calls, "0.01")), customer, auto_invoice_threshold="5"
    )
    await office.recorded("calls", customer, ("2026-01-10", 600))
    path = f"/environments/{office.account.environment_id}/clock"
    await office.account.post(path, {"frozen_time": "2026-01-15T00:00:00Z"}, expect=200)
    await office.recorded("calls", customer, ("2026-01-20", 99))
    await office.run("2026-02-01")
    assert [reason for reason, _, _ in await office.billed(subscription)] == ["AUTO_INVOICE_THRESHOLD", "CYCLE"]
    proof = await prove_books(office)
    assert (proof.differences, proof.late) == ([], 0)
