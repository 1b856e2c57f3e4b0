"""The doctor's proof of subscription invoices: sound books are clean, and whatever is tampered with is named."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from rich.console import Console
from sqlalchemy import select, text

from benchmarks.billing.run import BILLED, FINALIZED, company
from farthing.billing.proof.invoices import prove
from farthing.billing.run.passes import Run
from farthing.doctor.examination import audit, examine
from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import Database
from farthing.subscriptions.tables import Subscription
from farthing.wiring import wire
from tests.billing.counter import Body, cancel, do, open_items, opened, percent, seats
from tests.billing.late_usage.lateness import settled
from tests.billing.office import ARREAR, Office
from tests.billing.proof.proving import SLAB, find_faults, prove_books, tamper
from tests.billing.run.test_run import _life, _lived
from tests.conftest import settings_for
from tests.subscriptions.shop import at, fixed


async def _half_a_year(office: Office) -> tuple[Body, Body]:
    """Half a year of one subscription: fees both ways, an allowance, tiers, days, commitment, coupon, seats, a pause,
    another plan, an end."""
    calls, data = await office.feature("calls"), await office.feature("data", type="SUM", field="n", bucket_size="DAY")
    jobs = await office.feature("jobs")
    plan = await office.plan(
        fixed("50"),
        fixed("7", **ARREAR),
        office.usage(calls, "0", **SLAB),
        office.usage(data, "2"),
        office.usage(jobs, "1"),
    )
    await office.entitle(plan, calls, usage_limit=30, usage_reset_period="WEEKLY")
    await percent(office, "tenth", "10")
    customer = await office.customer()
    commitment = {"commitment_amount": "40", "overage_factor": "1.5", "enable_true_up": True}
    subscription = await opened(
        office,
        plan,
        customer,
        subscription_coupons=[{"coupon_code": "tenth"}],
        line_item_commitments={plan["prices"][4]["id"]: commitment},
        override_line_items=[{"price_id": plan["prices"][0]["id"], "quantity": "3"}],
    )
    for month in range(1, 7):
        await office.recorded("calls", customer, (f"2026-{month:02}-03", 70), (f"2026-{month:02}-17", 50 * month))
        await office.recorded(
            "data", customer, (f"2026-{month:02}-04", {"n": "2.5"}), (f"2026-{month:02}-08", {"n": 7})
        )
        await office.recorded("jobs", customer, (f"2026-{month:02}-12", 15 * month))
    await settled(office)
    await office.run("2026-02-11")
    fee = next(item for item in await open_items(office, subscription) if item["quantity"] == "3")
    await seats(office, subscription, fee, 5)
    await office.run("2026-03-07")
    await do(office, subscription, "pause", {"pause_mode": "immediate"})
    await office.on("2026-03-10")
    await do(office, subscription, "resume", {"resume_mode": "immediate"})
    await office.run("2026-04-16")
    other = await office.plan(fixed("90"), office.usage(calls, "0.04"), name="Other")
    await do(office, subscription, "change/v2/execute", {"target_plan_id": other["id"], "proration_behavior": "none"})
    await office.run("2026-06-02")
    await office.on("2026-06-20")
    await cancel(office, subscription, cancel_immediately_invoice_policy="generate_invoice")
    await office.run("2026-09-01")
    return subscription, customer


async def test_a_sound_life_is_clean(office: Office) -> None:
    await _half_a_year(office)
    proof = await prove_books(office)
    assert proof.differences == []
    assert (proof.late, proof.unmeasured) == (0, 0)
    assert proof.invoices >= 7
    assert proof.lines >= 20
    async with office.account.transaction(read_only=True) as session:
        assert await all_differences(session, list(await session.scalars(select(Invoice)))) == []


@pytest.mark.parametrize("seed", [3, 4])
async def test_random_lives_are_clean(office: Office, seed: int) -> None:
    at_random = random.Random(seed)
    await _lived(office, [_life(at_random) for _ in range(6)])
    await settled(office)
    for moment in ("2026-02-14", "2026-04-20"):
        assert (await office.run(moment)).failed == {}
    proof = await prove_books(office)
    assert (proof.differences, proof.late, proof.unmeasured) == ([], 0, 0)
    assert proof.lines > 20


@dataclass(frozen=True)
class Billed:
    """A subscription of three months at 50 in advance and 0.02 a call, with 100, 200 and 300 calls: its cycles, each
    with its usage line."""

    office: Office
    customer: Body
    subscription: Subscription
    cycles: Sequence[Invoice]
    usage: Sequence[str]


@pytest.fixture
async def billed(office: Office) -> Billed:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for month in (1, 2, 3):
        await office.recorded("calls", customer, (f"2026-{month:02}-15", 100 * month))
    await settled(office)
    await office.run("2026-04-02")
    cycles = [
        invoice for invoice in await office.invoices(subscription) if str(invoice.billing_reason).endswith("CYCLE")
    ]
    usage = [row.id for cycle in cycles for row in await office.rows(cycle) if row.meter_id is not None]
    assert (len(cycles), len(usage), await find_faults(office)) == (3, 3, [])
    return Billed(office, customer, subscription, cycles, usage)


_RAISE = """
    UPDATE invoice_line_items SET amount = amount + 5 WHERE id = :line
"""
_TOTALS = """
    UPDATE invoices SET subtotal = subtotal + 5, total = total + 5, amount_due = amount_due + 5,
        amount_remaining = amount_remaining + 5, net_total = net_total + 5, net_usage = net_usage + :usage,
        usage_remaining = usage_remaining + :usage
    WHERE id = :invoice
"""


@pytest.mark.parametrize("what", ["usage", "fee"])
async def test_an_amount_changed_together_with_the_totals(billed: Billed, what: str) -> None:
    office, invoice = billed.office, billed.cycles[1]
    (line,) = [row.id for row in await office.rows(invoice) if (row.meter_id is None) == (what == "fee")]
    more = 5 if what == "usage" else 0
    await tamper(office, _RAISE, _TOTALS, line=line, invoice=invoice.id, usage=more)
    async with office.account.transaction(read_only=True) as session:
        sums = await all_differences(session, list(await session.scalars(select(Invoice))))
    assert not [difference for difference in sums if difference.figure != "invoice_totals"]
    named = {"usage": "price x quantity", "fee": "price x quantity x share"}
    assert await find_faults(office) == [(line, named[what])]


async def test_a_fee_for_more_seats_than_there_are(billed: Billed) -> None:
    (fee,) = [row.id for row in await billed.office.rows(billed.cycles[0]) if row.meter_id is None]
    await tamper(
        billed.office,
        """UPDATE invoice_line_items SET quantity = 2, amount = 100,
            rating = jsonb_set(jsonb_set(jsonb_set(rating, '{quantity}', '"2"'), '{parts,0,quantity}', '"2"'),
                '{parts,0,amount}', '"100"') WHERE id = :line""",
        line=fee,
    )
    assert await find_faults(billed.office) == [(fee, "quantity")]


async def test_usage_that_was_not_measured(billed: Billed) -> None:
    await tamper(billed.office, "UPDATE invoice_line_items SET raw_usage = 90 WHERE id = :line", line=billed.usage[0])
    assert await find_faults(billed.office) == [(billed.usage[0], "usage measured again")]


async def test_usage_made_up_in_every_place_it_is_told(billed: Billed) -> None:
    # price, quantity, parts and totals agree with one another; only the meter knows better
    await tamper(
        billed.office,
        """UPDATE invoice_line_items SET raw_usage = 350, quantity = 350, amount = 7,
            commitment_base = 7, rating = jsonb_set(jsonb_set(jsonb_set(rating, '{quantity}', '"350"'),
                '{parts,0,quantity}', '"350"'), '{parts,0,amount}', '"7"')
            WHERE id = :line""",
        line=billed.usage[0],
    )
    assert await find_faults(billed.office) == [(billed.usage[0], "usage measured again")]


async def test_usage_rows_removed(billed: Billed) -> None:
    await tamper(
        billed.office,
        "DELETE FROM meter_usage WHERE environment_id = :here AND external_customer_id = :customer "
        "AND timestamp BETWEEN :first AND :last",
        here=billed.office.account.environment_id,
        customer=billed.customer["external_id"],
        first=at("2026-02-01"),
        last=at("2026-02-28"),
    )
    proof = await prove_books(billed.office)
    assert [
        (difference.where, difference.figure, difference.stored, difference.derived) for difference in proof.differences
    ] == [(billed.usage[1], "usage measured again", "200", "0")]


async def test_late_usage_is_told_and_is_no_difference(billed: Billed) -> None:
    await billed.office.recorded("calls", billed.customer, ("2026-02-20", 7))
    proof = await prove_books(billed.office)
    assert (proof.differences, proof.late) == ([], 1)


async def test_a_line_moved_to_another_period(billed: Billed) -> None:
    await tamper(
        billed.office,
        "UPDATE invoice_line_items SET period_start = period_start - interval '1 month', "
        "period_end = period_end - interval '1 month' WHERE id = :line",
        line=billed.usage[2],
    )
    found = await find_faults(billed.office)
    assert (billed.usage[2], "period") in found
    assert (billed.cycles[2].id, "line") in found
    assert any(figure == "charged once" for _, figure in found)


async def test_a_line_removed(billed: Billed) -> None:
    invoice = billed.cycles[1]
    await tamper(
        billed.office,
        "DELETE FROM invoice_line_items WHERE id = :line",
        line=billed.usage[1],
    )
    found = await find_faults(billed.office)
    assert (invoice.id, "line") in found
    assert (invoice.id, "places of its lines") in found


async def test_an_explanation_changed(billed: Billed) -> None:
    await tamper(
        billed.office,
        "UPDATE invoice_line_items SET rating = jsonb_set(rating, '{parts,0,unit_amount}', '\"0.01\"') "
        "WHERE id = :line",
        line=billed.usage[0],
    )
    assert await find_faults(billed.office) == [(billed.usage[0], "rating")]


async def test_an_invoice_deleted(billed: Billed) -> None:
    await tamper(
        billed.office,
        "DELETE FROM invoice_line_items WHERE invoice_id = :invoice",
        "DELETE FROM invoices WHERE id = :invoice",
        invoice=billed.cycles[1].id,
    )
    assert await find_faults(billed.office) == [
        (billed.subscription.id, "billed without a gap"),
        (billed.subscription.id, "invoices begun"),
    ]


async def test_the_opening_deleted(billed: Billed) -> None:
    cycles = {cycle.id for cycle in billed.cycles}
    (opening,) = [
        invoice.id for invoice in await billed.office.invoices(billed.subscription) if invoice.id not in cycles
    ]
    await tamper(
        billed.office,
        "DELETE FROM invoice_line_items WHERE invoice_id = :invoice",
        "DELETE FROM invoices WHERE id = :invoice",
        invoice=opening,
    )
    assert await find_faults(billed.office) == [(billed.subscription.id, "invoices begun")]


async def test_the_newest_invoice_deleted(billed: Billed) -> None:
    await tamper(
        billed.office,
        "DELETE FROM invoice_line_items WHERE invoice_id = :invoice",
        "DELETE FROM invoices WHERE id = :invoice",
        invoice=billed.cycles[2].id,
    )
    assert (billed.subscription.id, "billed without a gap") in await find_faults(billed.office)


_COPY = """
    INSERT INTO invoices ({names}) SELECT {names} FROM (
        SELECT (jsonb_populate_record(one, jsonb_build_object('id', 'inv_copy', 'idempotency_key', 'copy',
            'invoice_number', 'COPY-1', 'period_start', one.period_start + interval '1 second'))).*
        FROM invoices AS one WHERE one.id = :invoice
    ) AS made
"""


async def test_a_period_doubled(billed: Billed) -> None:
    names = ", ".join(column.name for column in Invoice.__table__.columns if column.computed is None)
    await tamper(billed.office, _COPY.format(names=names), invoice=billed.cycles[1].id)
    found = await find_faults(billed.office)
    assert ("inv_copy", "period") in found
    assert (billed.subscription.id, "invoices begun") in found


async def test_a_line_charged_again_on_another_invoice(billed: Billed) -> None:
    await tamper(
        billed.office,
        "UPDATE invoice_line_items SET subscription_line_item_id = (SELECT subscription_line_item_id "
        "FROM invoice_line_items WHERE id = :usage) WHERE invoice_id = :invoice AND meter_id IS NULL",
        usage=billed.usage[0],
        invoice=billed.cycles[0].id,
    )
    assert any(figure == "charged once" for _, figure in await find_faults(billed.office))


async def test_void_and_recalculated_invoices_leave_no_gap(billed: Billed) -> None:
    office = billed.office
    await office.account.post(f"/invoices/{billed.cycles[0].id}/void", {}, expect=200)
    await office.account.post(f"/invoices/{billed.cycles[1].id}/recalculate", expect=202)
    assert await find_faults(office) == []


async def test_a_customer_renamed_is_measured_as_before(billed: Billed) -> None:
    await billed.office.account.put(f"/customers/{billed.customer['id']}", {"external_id": "renamed"})
    proof = await prove_books(billed.office)
    assert (proof.differences, proof.unmeasured) == ([], 0)


async def test_events_past_retention_are_not_measured(billed: Billed) -> None:
    await tamper(billed.office, "DELETE FROM meter_usage WHERE timestamp < :before", before=at("2026-02-01"))
    async with billed.office.account.transaction(read_only=True) as session:
        proof = await prove(session, list(billed.cycles), at("2026-02-01"))
    assert (proof.differences, proof.unmeasured) == ([], 1)
    # what such a line says of itself is proved all the same
    await tamper(
        billed.office,
        "UPDATE invoice_line_items SET amount = amount + 1 WHERE id = :id",
        id=billed.usage[0],
    )
    async with billed.office.account.transaction(read_only=True) as session:
        proof = await prove(session, list(billed.cycles), at("2026-02-01"))
    assert (billed.usage[0], proof.unmeasured) in {(each.where, 1) for each in proof.differences}


async def test_the_doctor_says_what_it_proved(new_database: Callable[..., str]) -> None:
    url = new_database()
    database = Database(url, wire())
    try:
        scope = await company(database, 20)
        for moment in (BILLED, FINALIZED):
            await Run(database, scope, moment).all()
        printed = io.StringIO()
        console = Console(file=printed, width=200)
        settings = settings_for(url)
        assert await examine(settings, database, console) == 0
        for line in ("configuration   ok", "engine          ok", "schema          ok", "differences     0"):
            assert line in printed.getvalue()
        assert "charges         80 lines of 20 subscription invoices, rated and measured again" in printed.getvalue()
        async with database.transaction(scope) as session:
            await session.execute(text("UPDATE invoice_line_items SET raw_usage = raw_usage + 1 WHERE position = 1"))
        reader = Database(f"{url}&options=-c%20default_transaction_read_only%3Don", wire())
        assert await examine(settings, reader, console) == 1, "it writes nothing, or PostgreSQL would refuse that"
        await reader.close()
        assert "usage - billable: stored 0, derived 1" in printed.getvalue()
        figures = {difference.figure for difference in (await audit(database)).differences}
        assert figures == {"usage - billable", "usage measured again"}
    finally:
        await database.close()
