"""When invoices of subscriptions are due: from their reference date, by their terms, never before they are issued."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from farthing.invoices.tables import Invoice
from tests.billing.counter import Body, cancel, open_items, opened, seats
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import at, fixed

NET_30: dict[str, Any] = {"payment_terms": "30 NET", "collection_method": "send_invoice"}


async def due_dates(office: Office, subscription: Body) -> list[tuple[str, str | None]]:
    """Reason, and due date as it is answered, of the invoices of a subscription, by reference date."""
    query = select(Invoice.id).where(Invoice.subscription_id == subscription["id"], Invoice.invoice_status != "VOIDED")
    async with office.account.transaction(read_only=True) as session:
        ids = (await session.scalars(query.order_by(Invoice.reference_date, Invoice.created_at))).all()
    answers = [await office.account.get(f"/invoices/{invoice_id}") for invoice_id in ids]
    return [(answer["billing_reason"].removeprefix("SUBSCRIPTION_"), answer.get("due_date")) for answer in answers]


async def newest(office: Office, subscription: Body) -> Invoice:
    async with office.account.transaction(read_only=True) as session:
        query = select(Invoice).where(Invoice.subscription_id == subscription["id"])
        row = await session.scalar(query.order_by(Invoice.created_at.desc(), Invoice.id.desc()).limit(1))
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("terms", "due"),
    [
        pytest.param(NET_30, "2026-01-31T00:00:00Z", id="thirty days from the start of the year that is paid"),
        pytest.param({}, "2026-01-02T00:00:00Z", id="one day without terms"),
        pytest.param({"payment_terms": "END_OF_MONTH"}, "2026-01-31T23:59:59.999999Z", id="the end of January"),
    ],
)
async def test_an_annual_fee_in_advance(office: Office, terms: Body, due: str) -> None:
    plan = await office.plan(fixed("1200", billing_period="ANNUAL"))
    year = await opened(office, plan, billing_period="ANNUAL", **terms)
    assert await due_dates(office, year) == [("CREATE", due)]


async def test_each_occasion_has_its_own_reference_date(office: Office) -> None:
    plan = await office.plan(fixed("100"), fixed("30", **ARREAR), name="Both")
    month = await opened(office, plan, **NET_30, trial_period_days=10)
    await office.run("2026-01-11")
    await office.on("2026-01-16")
    seat = next(item for item in await open_items(office, month) if item["invoice_cadence"] == "ADVANCE")
    await seats(office, month, seat, 2)
    await office.run("2026-02-11")
    await office.on("2026-02-20")
    await cancel(office, month, cancel_immediately_invoice_policy="generate_invoice")
    assert await due_dates(office, month) == [
        ("TRIAL_START", None),
        ("TRIAL_END", "2026-02-10T00:00:00Z"),
        ("UPDATE", "2026-02-15T00:00:00Z"),
        ("CYCLE", "2026-03-13T00:00:00Z"),
        ("PRORATION", "2026-03-22T00:00:00Z"),
    ]


async def test_a_start_in_the_past_is_due_from_its_issue(office: Office) -> None:
    await office.on("2026-06-10")
    plan = await office.plan(fixed("1200", billing_period="ANNUAL"))
    year = await opened(office, plan, billing_period="ANNUAL", start_date="2026-01-01T00:00:00Z", **NET_30)
    invoice = await newest(office, year)
    assert (invoice.reference_date, invoice.due_date) == (at("2026-01-01"), at("2026-07-10"))


async def test_a_draft_that_was_held_back_is_due_from_its_issue(office: Office) -> None:
    await office.settings(finalization_delay_seconds=10 * 86_400)
    month = await opened(office, await office.plan(fixed("100")), **NET_30)
    await office.run("2026-02-01")
    assert (await newest(office, month)).due_date == at("2026-03-03")
    await office.run("2026-02-11T00:00:01")
    invoice = await newest(office, month)
    assert invoice.invoice_status == "FINALIZED"
    assert (invoice.reference_date, invoice.due_date) == (at("2026-02-01"), at("2026-03-13T00:00:01"))


async def test_downtime_makes_nobody_overdue(office: Office) -> None:
    month = await opened(office, await office.plan(fixed("100")))
    await office.run("2026-03-20")
    assert await due_dates(office, month) == [
        ("CREATE", "2026-01-02T00:00:00Z"),
        ("CYCLE", "2026-03-21T00:00:00Z"),
        ("CYCLE", "2026-03-21T00:00:00Z"),
    ]


async def test_days_of_a_zone_keep_the_time_on_the_wall(office: Office) -> None:
    await office.on("2027-10-01T04:00")
    customer = await office.customer(timezone="America/New_York")
    month = await opened(office, await office.plan(fixed("100")), customer, **NET_30)
    await office.run("2027-11-01T04:00")
    assert await due_dates(office, month) == [
        ("CREATE", "2027-10-31T04:00:00Z"),
        ("CYCLE", "2027-12-01T05:00:00Z"),
    ]


async def test_a_date_that_a_caller_chose_stays(office: Office) -> None:
    await office.settings(finalization_delay_seconds=10 * 86_400)
    month = await opened(office, await office.plan(fixed("100")), **NET_30)
    await office.run("2026-02-01")
    draft = await newest(office, month)
    await office.account.put(f"/invoices/{draft.id}", {"due_date": "2026-02-20T00:00:00Z"})
    await office.account.post(f"/invoices/{draft.id}/compute", {}, expect=200)
    await office.run("2026-02-11T00:00:01")
    assert (await newest(office, month)).due_date == at("2026-02-20")


async def test_a_recalculated_invoice_keeps_the_reference_date(office: Office) -> None:
    month = await opened(office, await office.plan(fixed("100")), **NET_30)
    first = await newest(office, month)
    await office.on("2026-01-03")
    await office.account.post(f"/invoices/{first.id}/recalculate", {}, expect=202)
    again = await newest(office, month)
    assert again.id != first.id
    assert (again.reference_date, again.due_date) == (at("2026-01-01"), at("2026-01-31"))


async def test_a_one_off_without_a_date_has_none(office: Office) -> None:
    customer = await office.customer()
    amounts = {"amount_due": "10", "total": "10", "subtotal": "10", "currency": "usd"}
    made: dict[str, Any] = await office.account.post("/invoices", {"customer_id": customer["id"], **amounts})
    assert made.get("due_date") is None
    later = {"due_date": "2026-01-20T00:00:00Z"}
    made = await office.account.post("/invoices", {"customer_id": customer["id"], **amounts, **later})
    assert made["due_date"] == "2026-01-20T00:00:00Z"
