"""Late usage on invoices: which of them charge it, once, through waves, drafts computed again, voids and edits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from farthing.events.tables import StoredEvent
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.metering.event import UsageEvent
from tests.billing.late_usage.lateness import WEEKLY, Body, charging, late, settled, watched
from tests.billing.office import ARREAR, Office
from tests.billing.proof.proving import prove_books
from tests.events.books import Books, opened
from tests.subscriptions.shop import fixed
from tests.waiting import until


async def test_two_waves_are_charged_one_after_the_other(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-01-08")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-01-15")
    await office.used("calls", customer, 4, "2026-01-04")
    await office.run("2026-01-22")
    await office.run("2026-01-29")
    first, second, third = await office.invoices(subscription)
    assert await office.totals(subscription) == ["1.00", "2.00", "4.00"]
    assert [await late(office, each) for each in (second, third)] == [
        [("01-01", "2", "2")],
        [("01-01", "4", "4")],
    ]
    assert await watched(office, first, "invoiced_usage") == ["7"]


async def test_after_35_days_it_is_reported_only(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-12")
    await office.used("calls", customer, 2, "2026-01-03")
    # periods end on the 8th, 15th, 22nd, 29th, on Feb 5, 12 and 19: the first is 42 days before the last
    await office.run("2026-02-19")
    assert await late(office, (await office.invoices(subscription))[-1]) == []
    first = (await office.invoices(subscription))[1]
    assert (await watched(office, first), await watched(office, first, "late_amount")) == (["2"], ["2"])


async def test_35_days_are_not_too_long(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-05")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-02-12")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("01-01", "2", "2")]


async def test_a_draft_computed_again_charges_it_once_on_the_same_line(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-01")
    await office.settings(finalization_delay_seconds=7200)
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-03-01")
    draft = (await office.invoices(subscription))[-1]
    (first,) = [row for row in await office.rows(draft) if row.shown_metadata.get("late_usage")]
    await office.account.post(f"/invoices/{draft.id}/compute", expect=200)
    assert await late(office, draft) == [("01-01", "2", "2")]
    await office.used("calls", customer, 4, "2026-01-04")
    await office.run("2026-03-01T02:01")
    claim = (await office.invoices(subscription))[-1]
    assert (claim.id, str(claim.invoice_status)) == (draft.id, "FINALIZED")
    (last,) = [row for row in await office.rows(claim) if row.shown_metadata.get("late_usage")]
    assert (last.id, last.amount, last.raw_usage) == (first.id, Decimal(6), Decimal(6))
    assert f"{claim.subtotal:.2f}" == "15.00"


async def test_two_drafts_of_one_batch_charge_it_once(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-01-08")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.settings(finalization_delay_seconds=7200)
    await office.run("2026-01-29")
    assert await office.totals(subscription) == ["9.00", "10.00", "11.00", "9.00", "9.00"]
    await office.used("calls", customer, 4, "2026-01-04")
    await office.run("2026-01-29T03:00")
    assert await office.totals(subscription) == ["9.00", "10.00", "15.00", "9.00", "9.00"]
    assert {str(invoice.invoice_status) for invoice in await office.invoices(subscription)} == {"FINALIZED"}


async def test_in_one_go_as_week_by_week(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    steady, one = await charging(office, plan, **WEEKLY)
    slow, two = await charging(office, plan, **WEEKLY)
    for customer in (one, two):
        await office.used("calls", customer, 3, "2026-01-02")
        await office.used("calls", customer, 4, "2026-01-20")
    await office.run("2026-01-08")
    for customer in (one, two):
        await office.used("calls", customer, 5, "2026-01-03")
    for day in ("15", "22", "29"):
        await office.run(f"2026-01-{day}")
    assert await office.totals(steady) == await office.totals(slow) == ["9.00", "12.00", "14.00", "13.00", "9.00"]


@pytest.mark.parametrize(
    ("terms", "price"),
    [
        pytest.param(
            {"commitment_amount": "5", "overage_factor": "2", "commitment_duration": "QUARTERLY"},
            {},
            id="the subscription's over several periods",
        ),
        pytest.param(
            {},
            {
                "commitment_amount": "5",
                "commitment_type": "amount",
                "overage_factor": "2",
                "commitment_duration": "QUARTERLY",
            },
            id="the line item's over several periods",
        ),
    ],
)
async def test_under_a_commitment_over_several_periods_it_is_charged(
    office: Office, terms: dict[str, Any], price: dict[str, Any]
) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    if price:
        terms = {"line_item_commitments": {plan["prices"][1]["id"]: price}}
    subscription, customer = await charging(office, plan, **terms)
    await office.used("calls", customer, 7, "2026-01-02")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    await office.used("calls", customer, 2, "2026-01-03")
    # seven of five: 5 + 2 x 2 = 9; nine of five: 5 + 4 x 2 = 13
    assert set(await watched(office, january, "not_charged")) == {None}
    assert set(await watched(office, january, "late_amount")) == {"4"}
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert (await late(office, february), f"{february.subtotal:.2f}") == ([("01-01", "2", "4")], "13.00")


async def test_under_a_commitment_of_the_item_s_own_it_is_charged(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    promise = {"commitment_amount": "5", "commitment_type": "amount", "overage_factor": "2"}
    subscription, customer = await charging(office, plan, line_item_commitments={plan["prices"][1]["id"]: promise})
    await office.used("calls", customer, 7, "2026-01-02")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    # seven of five: 5 + 2 x 2 = 9; nine of five: 5 + 4 x 2 = 13
    assert sorted(amount for _, _, amount in await office.lines(january)) == ["9", "9"]
    await office.used("calls", customer, 2, "2026-01-03")
    assert set(await watched(office, january, "late_amount")) == {"4"}
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert (await late(office, february), f"{february.subtotal:.2f}") == ([("01-01", "2", "4")], "13.00")


async def test_what_a_widened_meter_finds_is_reported_only(office: Office) -> None:
    calls = await office.account.post(
        "/features",
        {
            "name": "calls",
            "lookup_key": "calls",
            "type": "metered",
            "meter": {
                "name": "calls",
                "event_name": "calls",
                "aggregation": {"type": "COUNT"},
                "filters": [{"key": "model", "values": ["small"]}],
                "reset_usage": "BILLING_PERIOD",
            },
        },
    )
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02", model="small")
    await office.used("calls", customer, 2, "2026-01-02", model="large")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    wider = {"filters": [{"key": "model", "values": ["large"]}]}
    await office.account.put(f"/meters/{calls['meter_id']}", wider)
    await office.used("calls", customer, 4, "2026-01-03", model="small")
    for expected in ("4", "6"):
        assert await watched(office, january) == [expected]
        assert await watched(office, january, "not_charged") == ["meter_widened"]
        await settled(office)
    proof = await prove_books(office)
    assert (proof.differences, proof.unmeasured) == ([], 1)
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == []
    # invoices that were computed with the wider meter are charged for what comes late again
    await office.used("calls", customer, 5, "2026-02-10", model="large")
    await office.run("2026-04-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("02-01", "5", "5")]


async def test_a_line_that_was_edited_stays_as_it_was_edited(office: Office) -> None:
    await office.settings(finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 8, "2026-01-02")
    await office.run("2026-02-01")
    draft = (await office.invoices(subscription))[-1]
    (line,) = [row for row in await office.rows(draft) if row.meter_id]
    params = {"action": "update", "line_item_id": line.id, "update": {"amount": "5"}}
    await office.account.post(
        f"/invoices/{draft.id}/modify/execute", {"type": "line_item", "line_item_params": params}, expect=200
    )
    await office.run("2026-02-02")
    await office.used("calls", customer, 1, "2026-01-03")
    assert await watched(office, draft, "not_charged") == ["edited_by_hand"]
    await office.run("2026-03-02")
    assert await late(office, (await office.invoices(subscription))[-1]) == []


async def test_a_period_that_came_to_nothing_is_charged_for_what_comes_late(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(office.usage(calls, "1")))
    await office.run("2026-02-01")
    assert await office.invoices(subscription) == []
    await office.used("calls", customer, 3, "2026-01-20")
    await office.run("2026-03-01")
    (february,) = await office.invoices(subscription)
    assert await late(office, february) == [("01-01", "3", "3")]


async def test_voiding_the_invoice_with_the_late_line_gives_the_right_to_charge_it_again(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-01-08")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-01-15")
    carrying = (await office.invoices(subscription))[-1]
    assert await late(office, carrying) == [("01-01", "2", "2")]
    await office.account.post(f"/invoices/{carrying.id}/void", expect=200)
    await office.run("2026-01-22")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("01-01", "2", "2")]


async def test_a_period_billed_afresh_does_not_charge_again_what_was_charged_late(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-03-01")
    await office.used("calls", customer, 4, "2026-01-04")
    await office.account.post(f"/invoices/{january.id}/recalculate", expect=202)
    _, again, february = await office.invoices(subscription)
    assert again.id != january.id
    # 7 calls in all: 2 stand on February's invoice
    assert [amount for name, _, amount in await office.lines(again) if name == "calls"] == ["5"]
    assert await late(office, february) == [("01-01", "2", "2")]
    assert await watched(office, again) == ["0"]


@pytest.mark.parametrize(
    "amount",
    [
        pytest.param("5", id="when a dearer plan has followed"),
        pytest.param("1", id="when the charge was carried to a plan that bills alike"),
    ],
)
async def test_the_price_is_the_one_that_the_line_was_charged_at(office: Office, amount: str) -> None:
    calls = await office.feature("calls")
    old = await office.plan(fixed("9"), office.usage(calls, "1"), name="Old")
    new = await office.plan(fixed("9"), office.usage(calls, amount), name="New")
    subscription, customer = await charging(office, old)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-01")
    body = {"target_plan_id": new["id"], "proration_behavior": "none"}
    await office.account.post(f"/subscriptions/{subscription.id}/change/v2/execute", body, expect=200)
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == [("01-01", "2", "2")]
    (row,) = [row for row in await office.rows(february) if row.shown_metadata.get("late_usage")]
    assert row.price_id == old["prices"][1]["id"]


async def test_late_usage_of_a_grouped_child_is_charged_to_its_parent(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    child = await office.customer("child")
    children = [{"plan_id": plan["id"], "external_customer_id": "child"}]
    subscription, _ = await charging(office, plan, inheritance={"grouped_invoicing_children_to_create": children})
    await office.used("calls", child, 1, "2026-01-02")
    await office.run("2026-02-01")
    await office.used("calls", child, 2, "2026-01-03")
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    (row,) = [row for row in await office.rows(february) if row.shown_metadata.get("late_usage")]
    assert (row.amount, row.shown_metadata["child_customer_id"]) == (Decimal(2), child["id"])
    assert row.subscription_id != subscription.id


async def test_after_threshold_invoices_the_whole_period_is_looked_at(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    subscription, customer = await charging(office, plan, auto_invoice_threshold="10")
    await office.used("calls", customer, 10, "2026-01-02")
    clock = f"/environments/{office.account.environment_id}/clock"
    await office.account.post(clock, {"frozen_time": "2026-02-01T00:00:00Z"}, expect=200)
    await office.used("calls", customer, 3, "2026-01-05")
    january = (await office.invoices(subscription))[0]
    assert january.billing_reason == "AUTO_INVOICE_THRESHOLD"
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["10.00", "3.00"]


async def test_an_invoice_says_up_to_where_its_usage_was_read(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02")
    scope = office.account.scope
    async with opened(office.account.database) as books, opened(office.account.database) as rival:
        books.scope = scope
        async with rival.connection.transaction(force_rollback=True):
            # an event with the same id that is never committed: the append has its place in the order, and waits
            await rival.connection.execute(
                "SELECT set_config('farthing.tenant_id', %s, true), set_config('farthing.environment_id', %s, true)",
                (scope.tenant_id, scope.environment_id),
            )
            await rival.connection.execute(
                'INSERT INTO events SELECT (jsonb_populate_record(event, \'{"id": "in-flight"}\')).* '
                "FROM events AS event"
            )
            appending = asyncio.create_task(_append(books, customer))
            await until(lambda: _waits(rival, books))
            await office.run("2026-02-01")
        await appending
        opening, january = await office.invoices(subscription)
        async with office.account.transaction(read_only=True) as session:
            (in_flight,) = await session.scalars(select(StoredEvent.sequence).where(StoredEvent.id == "in-flight"))
    assert opening.usage_watermark is None
    assert january.usage_watermark is not None
    assert january.usage_watermark < in_flight
    assert f"{january.subtotal:.2f}" == "10.00"
    await office.run("2026-03-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("01-01", "1", "1")]


async def _waits(rival: Books, books: Books) -> bool:
    cursor = await rival.connection.execute(
        "SELECT cardinality(pg_blocking_pids(%s))", (books.connection.info.backend_pid,)
    )
    row = await cursor.fetchone()
    return row is not None and row[0] > 0


async def _append(books: Books, customer: Body) -> None:
    event = UsageEvent(
        id="in-flight",
        event_name="calls",
        external_customer_id=customer["external_id"],
        timestamp=datetime(2026, 1, 3, tzinfo=UTC),
        properties={},
    )
    await books.send([event])


async def test_an_invoice_of_before_there_were_watermarks_is_reported_only(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    async with office.transaction() as session:
        (await session.get_one(Invoice, january.id)).usage_watermark = None
    await office.used("calls", customer, 2, "2026-01-03")
    assert await watched(office, january, "not_charged") == ["no_watermark"]
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["9.00", "9.00", "9.00"]


async def test_the_usage_of_what_has_none(office: Office, stranger: Any) -> None:
    subscription = await office.subscribed(await office.plan(fixed("9"), fixed("3", **ARREAR)))
    await office.run("2026-02-01")
    for invoice in await office.invoices(subscription):
        view = await office.account.get(f"/invoices/{invoice.id}/usage")
        assert view == {
            "invoice_id": invoice.id,
            "currency": "usd",
            "late_usage_policy": "report",
            "lines": [],
        }
        await stranger.get(f"/invoices/{invoice.id}/usage", expect=404)


async def test_every_cent_of_late_usage_is_on_exactly_one_invoice(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "0.333", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    for week in range(1, 5):
        for past in range(week):
            await office.used("calls", customer, 1 + week * past, f"2026-01-{2 + 7 * past:02}")
        await office.run(f"2026-01-{1 + 7 * week:02}")
    await office.run("2026-02-05")
    async with office.account.transaction(read_only=True) as session:
        line = InvoiceLineItem
        charged = await session.execute(
            select(line.period_start, func.sum(line.amount), func.sum(line.quantity), func.sum(line.raw_usage))
            .where(line.subscription_id == subscription.id, line.meter_id.is_not(None), line.status == "published")
            .group_by(line.period_start)
            .order_by(line.period_start)
        )
        found = [(quantity, raw, amount) for _, amount, quantity, raw in charged]
    used = [sum(1 + week * past for week in range(past + 1, 5)) for past in range(4)] + [0]
    # each window, whatever came when, costs what it would have cost at once
    assert found == [(Decimal(count), Decimal(count), round(count * Decimal("0.333"), 2)) for count in used]
