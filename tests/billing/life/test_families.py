"""Parents, children and payers: who is invoiced for what, and who follows whom."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from tests.billing.counter import (
    Body,
    cancel,
    credited,
    do,
    modify,
    open_items,
    opened,
    owed,
    percent,
    read,
    seats,
)
from tests.billing.life.families import grouped, seat
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def lines(office: Office, invoice: Invoice) -> list[tuple[str, str, str]]:
    """Whose subscription, which child customer, and how much, by amount."""
    async with office.account.transaction(read_only=True) as session:
        rows = await session.scalars(
            select(InvoiceLineItem).where(
                InvoiceLineItem.invoice_id == invoice.id, InvoiceLineItem.status == "published"
            )
        )
        found = [
            (row.subscription_id or "", row.shown_metadata.get("child_customer_id", ""), row.amount) for row in rows
        ]
    return [(whose, child, f"{amount:.2f}") for whose, child, amount in sorted(found, key=lambda one: one[2])]


async def newest(office: Office) -> Invoice:
    return (await office.invoices())[-1]


async def test_what_cannot_be_said_together(office: Office) -> None:
    plan, parent = await office.plan(fixed("10")), await opened(office, await office.plan(fixed("1")))
    child, payer = await office.customer("child"), await office.customer("payer")
    inherit = {"external_customer_ids_to_inherit_subscription": [child["external_id"]]}
    existing = {"subscriptions_ids_for_grouped_invoicing": [parent["id"]]}
    inline = {"grouped_invoicing_children_to_create": [seat(plan, child)]}
    under = {"parent_subscription_id": parent["id"]}
    paid = {"invoicing_customer_external_id": payer["external_id"]}
    for together in (
        under | inherit,
        under | existing,
        under | inline,
        paid | inherit,
        paid | existing,
        existing | inherit,
        existing | inline,
    ):
        refused = await opened(office, plan, expect=400, inheritance=together)
        assert refused["code"] == "validation_error", together
    made = await opened(office, plan, inheritance=paid | inline)
    assert (made["subscription_type"], made["invoicing_customer_id"]) == ("parent", payer["id"])
    assert made["latest_invoice"]["customer_id"] == payer["id"]
    assert made["latest_invoice"]["total"] == "20"


async def test_each_type_arrives_in_its_way(office: Office) -> None:
    plan, other = await office.plan(fixed("10")), await office.customer("other")
    payer, heir = await office.customer("payer"), await office.customer("heir")
    alone = await opened(office, plan)
    paid_for = await opened(office, plan, inheritance={"invoicing_customer_external_id": "payer"})
    parent = await opened(office, plan, inheritance={"external_customer_ids_to_inherit_subscription": ["heir"]})
    joined = await opened(office, plan, other, inheritance={"parent_subscription_id": parent["id"]})
    (inherited,) = (await office.account.get("/customers/external/heir/subscriptions"))["items"]
    assert [subscription["subscription_type"] for subscription in (alone, paid_for, parent, joined, inherited)] == [
        "standalone", "delegated_invoicing", "parent", "inherited", "inherited",
    ]  # fmt: skip
    for child in (joined, inherited):
        assert child["parent_subscription_id"] == parent["id"]
        assert not (await read(office, child)).get("line_items")
    assert paid_for["latest_invoice"]["customer_id"] == payer["id"]
    assert heir["id"] == inherited["customer_id"]
    await office.run("2026-03-01")
    # three that are invoiced, three times each; the inherited ones never
    assert {invoice.subscription_id for invoice in await office.invoices()} == {
        alone["id"], paid_for["id"], parent["id"],
    }  # fmt: skip
    assert len(await office.totals()) == 9


async def test_a_delegated_subscription_is_billed_to_its_payer_each_period(office: Office) -> None:
    calls, user, payer = await office.feature("calls"), await office.customer("user"), await office.customer("payer")
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    made = await opened(office, plan, user, inheritance={"invoicing_customer_external_id": "payer"})
    await office.used("calls", user, 4, "2026-01-05")
    await office.used("calls", payer, 99, "2026-01-05")
    assert (await office.run("2026-02-01")).failed == {}
    assert await office.totals() == ["10.00", "14.00"]
    for invoice in await office.invoices():
        assert (invoice.customer_id, invoice.subscription_customer_id) == (payer["id"], user["id"])
    (item,) = [open_item for open_item in await open_items(office, made) if open_item["price_type"] == "FIXED"]
    await office.on("2026-02-15")
    await seats(office, made, item, 3)
    settled = await newest(office)
    assert (settled.customer_id, settled.subscription_customer_id) == (payer["id"], user["id"])
    figures = ["usd 34/34/24/3"]
    assert await owed(office, payer) == await owed(office, payer, scope="billed") == figures
    assert await owed(office, user) == await owed(office, user, scope="incurred") == figures
    assert await owed(office, user, scope="billed") == []
    assert await owed(office, payer, scope="incurred") == []


async def test_an_invoice_of_a_family_names_each_child(office: Office) -> None:
    await percent(office, "half", "50")
    calls, one, two = await office.feature("calls"), await office.customer("one"), await office.customer("two")
    small, large = await office.plan(fixed("10"), office.usage(calls, "1")), await office.plan(fixed("20"))
    parent, children = await grouped(
        office,
        await office.plan(fixed("100")),
        seat(small, one, subscription_coupons=[{"coupon_code": "half"}]),
        seat(large, two),
    )
    first, second = (next(child["id"] for child in children if child["customer_id"] == who["id"]) for who in (one, two))
    opening = await newest(office)
    assert await lines(office, opening) == [
        (first, one["id"], "10.00"),
        (second, two["id"], "20.00"),
        (parent["id"], "", "100.00"),
    ]
    assert f"{opening.subtotal:.2f} {opening.total:.2f}" == "130.00 125.00"
    await office.used("calls", one, 8, "2026-01-20")
    assert (await office.run("2026-02-01")).failed == {}
    cycle = await newest(office)
    assert f"{cycle.subtotal:.2f} {cycle.total:.2f}" == "138.00 129.00"
    assert {invoice.subscription_id for invoice in await office.invoices()} == {parent["id"]}
    for child in children:
        after = await read(office, child)
        assert (after["current_period_start"], after["current_period_end"]) == (
            "2026-02-01T00:00:00Z",
            "2026-03-01T00:00:00Z",
        )
    # the whole family is one debtor
    assert await owed(office, {"id": parent["customer_id"]}) == ["usd 254/254/125/2"]
    assert await owed(office, one) == ["usd 0/0/0/0"]


async def test_changes_of_a_child_are_settled_with_who_pays_for_the_family(office: Office) -> None:
    one = await office.customer("one")
    parent, (child,) = await grouped(office, await office.plan(fixed("100")), seat(await office.plan(fixed("10")), one))
    await office.on("2026-01-16T12:00")
    (item,) = await open_items(office, child)
    await seats(office, child, item, 3)
    settled = await newest(office)
    assert f"{settled.total:.2f}" == "10.00"
    assert settled.customer_id == parent["customer_id"]
    await cancel(office, child, proration_behavior="create_prorations")
    assert await credited(office) == ["0", "15"]
    assert await office.totals() == ["110.00", "10.00"]
    await office.run("2026-02-01")
    assert await office.totals() == ["110.00", "10.00", "100.00"]


async def test_children_that_change_share_the_familys_budget(office: Office) -> None:
    """10 a month off 200: each seat of 50 is worth 47.50, half a month of it 23.75, and 1.25 returns to the budget."""
    await office.on("2026-04-01")
    await office.account.post(
        "/coupons",
        {"name": "C", "coupon_code": "C", "type": "fixed", "amount_off": "10", "currency": "usd", "cadence": "forever"},
    )
    seats_plan, twins = await office.plan(fixed("50")), [await office.customer("one"), await office.customer("two")]
    _, children = await grouped(
        office,
        await office.plan(fixed("100")),
        *(seat(seats_plan, customer) for customer in twins),
        subscription_coupons=[{"coupon_code": "C"}],
    )
    await office.on("2026-04-16")
    for child in children:
        (item,) = await open_items(office, child)
        await seats(office, child, item, 2)
    assert [f"{invoice.total:.2f}" for invoice in await office.invoices()] == ["190.00", "25.00", "25.00"]


async def test_a_child_that_leaves_has_its_last_usage_on_the_familys_invoice(office: Office) -> None:
    calls, one = await office.feature("calls"), await office.customer("one")
    seats_plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    _, (child,) = await grouped(office, await office.plan(fixed("100")), seat(seats_plan, one))
    await office.used("calls", one, 3, "2026-01-05")
    await office.used("calls", one, 50, "2026-01-25")
    await office.on("2026-01-11")
    await cancel(office, child, cancel_immediately_invoice_policy="generate_invoice")
    assert await office.totals() == ["110.00"]
    await office.run("2026-02-01")
    assert await office.totals() == ["110.00", "103.00"]


@pytest.mark.parametrize(
    ("kind", "more", "ends", "usage"),
    [
        pytest.param("end_of_period", {}, "2026-02-01T00:00:00Z", "153.00", id="with its period"),
        pytest.param(
            "scheduled_date", {"cancel_at": "2026-01-20T00:00:00Z"}, "2026-01-20T00:00:00Z", "103.00", id="on a date"
        ),
    ],
)
async def test_a_child_may_end_before_its_family(
    office: Office, kind: str, more: dict[str, str], ends: str, usage: str
) -> None:
    calls, one = await office.feature("calls"), await office.customer("one")
    seats_plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    parent, (child,) = await grouped(office, await office.plan(fixed("100")), seat(seats_plan, one))
    await office.used("calls", one, 3, "2026-01-05")
    await office.used("calls", one, 50, "2026-01-25")
    await cancel(office, child, kind, **more)
    await office.run("2026-02-01")
    assert await office.totals() == ["110.00", usage]
    after = await read(office, child)
    assert (after["subscription_status"], after["cancelled_at"]) == ("cancelled", ends)
    assert (await read(office, parent))["subscription_status"] == "active"
    await office.run("2026-03-01")
    assert await office.totals() == ["110.00", usage, "100.00"]


async def test_a_family_pauses_together(office: Office) -> None:
    calls, one, heir = await office.feature("calls"), await office.customer("one"), await office.customer("heir")
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    parent, (child,) = await grouped(office, plan, seat(plan, one))
    await modify(office, parent, "inheritance", action="add", external_customer_ids_to_inherit_subscription=["heir"])
    (inherited,) = (await office.account.get("/customers/external/heir/subscriptions"))["items"]
    for who in (one, heir):
        for day, count in (("2026-01-05", 1), ("2026-01-12", 50), ("2026-01-20", 2)):
            await office.used("calls", who, count, day)
    await office.on("2026-01-10")
    for member in (child, inherited):
        refused = await do(office, member, "pause", expect=400)
        assert refused["code"] == "invalid_operation"
    await do(office, parent, "pause")
    for member in (child, inherited):
        after = await read(office, member)
        assert (after["subscription_status"], after["pause_status"]) == ("paused", "active")
        await do(office, member, "resume", expect=400)
    await office.on("2026-01-15")
    await do(office, parent, "resume")
    for member in (child, inherited):
        after = await read(office, member)
        assert (after["subscription_status"], after["current_period_end"]) == ("active", "2026-02-06T00:00:00Z")
    await office.run("2026-02-06")
    # 3 calls of the heir and 3 of the child; none of the 100 of the pause
    assert await office.totals() == ["20.00", "26.00"]


async def test_children_outlive_a_parent_that_is_cancelled_while_paused(office: Office) -> None:
    calls, one = await office.feature("calls"), await office.customer("one")
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    parent, (child,) = await grouped(office, plan, seat(plan, one))
    await office.used("calls", one, 50, "2026-01-12")
    await office.on("2026-01-10")
    await do(office, parent, "pause")
    await office.on("2026-01-13")
    await cancel(office, parent)
    after = await read(office, child)
    assert (after["subscription_type"], after["subscription_status"]) == ("standalone", "paused")
    assert "parent_subscription_id" not in after
    await office.on("2026-01-15")
    await do(office, child, "resume")
    await office.run("2026-02-06")
    assert await office.totals() == ["20.00", "10.00"]
    await cancel(office, child)


async def test_a_child_taken_out_of_a_paused_family_is_paused_by_itself(office: Office) -> None:
    one, plan = await office.customer("one"), await office.plan(fixed("10"))
    parent, (child,) = await grouped(office, plan, seat(plan, one))
    await office.on("2026-01-10")
    await do(office, parent, "pause")
    await modify(office, parent, "grouped_invoicing", action="remove", child_subscription_ids=[child["id"]])
    await office.on("2026-01-15")
    await do(office, child, "resume")
    assert (await read(office, child))["subscription_status"] == "active"
    assert (await read(office, parent))["subscription_status"] == "paused"
    await do(office, parent, "resume")
    assert (await read(office, parent))["subscription_status"] == "active"


@pytest.mark.parametrize("kind", ["immediate", "end_of_period"])
async def test_a_family_ends_with_its_parent(office: Office, kind: str) -> None:
    one, plan = await office.customer("one"), await office.plan(fixed("10"))
    await office.customer("heir")
    parent, (child,) = await grouped(office, plan, seat(plan, one))
    await modify(office, parent, "inheritance", action="add", external_customer_ids_to_inherit_subscription=["heir"])
    (heir,) = (await office.account.get("/customers/external/heir/subscriptions"))["items"]
    await office.on("2026-01-10")
    await cancel(office, parent, kind)
    mirrored = ("cancel_at", "cancel_at_period_end", "cancelled_at", "subscription_status")
    first, second = await read(office, parent), await read(office, heir)
    assert [first.get(name) for name in mirrored] == [second.get(name) for name in mirrored]
    if kind == "end_of_period":
        (schedule,) = (await office.account.get(f"/subscriptions/{parent['id']}/schedules"))["schedules"]
        await office.account.post(f"/subscriptions/schedules/{schedule['id']}/cancel", expect=200)
        assert (await read(office, heir)).get("cancel_at") is None
        await cancel(office, parent, kind)
    await office.run("2026-02-01")
    assert (await read(office, parent))["subscription_status"] == "cancelled"
    assert (await read(office, heir))["subscription_status"] == "cancelled"
    # the grouped child stands alone, and is invoiced by itself from then on
    after = await read(office, child)
    assert (after["subscription_type"], after["subscription_status"]) == ("standalone", "active")
    await office.run("2026-03-01")
    assert {invoice.subscription_id for invoice in await office.invoices()} == {parent["id"], child["id"]}
    assert [total for _, period, total in await office.billed() if period.startswith("02")] == ["10.00"]


async def test_whoever_shall_be_a_child_must_be_free(office: Office) -> None:
    plan, busy, taken = await office.plan(fixed("10")), await office.customer("busy"), await office.customer("taken")
    owner = await office.customer("owner")
    await opened(office, plan, busy)
    await opened(office, plan, inheritance={"external_customer_ids_to_inherit_subscription": ["taken"]})
    for name in ("busy", "taken"):
        inherit = {"external_customer_ids_to_inherit_subscription": [name]}
        assert (await opened(office, plan, expect=400, inheritance=inherit))["code"] == "invalid_operation"
        inline = {"grouped_invoicing_children_to_create": [seat(plan, {"external_id": name})]}
        assert (await opened(office, plan, expect=400, inheritance=inline))["code"] == "invalid_operation"
    for family in (
        {"external_customer_ids_to_inherit_subscription": ["owner"]},
        {"grouped_invoicing_children_to_create": [seat(plan, owner)]},
    ):
        refused = await opened(office, plan, owner, expect=400, inheritance=family)
        assert refused["code"] == "validation_error"
    # who inherits has no subscription of their own beside
    assert (await opened(office, plan, taken, expect=400))["code"] == "invalid_operation"
    gone = await office.customer("gone")
    await office.account.delete(f"/customers/{gone['id']}")
    inherit = {"external_customer_ids_to_inherit_subscription": ["gone"]}
    assert (await opened(office, plan, expect=404, inheritance=inherit))["code"] == "not_found"


async def test_conversion_takes_effect_at_the_next_boundary_and_so_does_release(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    parent, child = await opened(office, plan), await opened(office, plan)
    await office.on("2026-01-10")
    await modify(office, parent, "grouped_invoicing", action="add", child_subscription_ids=[child["id"]])
    for subscription, kind in ((parent, "parent"), (child, "grouped_invoicing")):
        assert (await read(office, subscription))["subscription_type"] == kind
    await office.run("2026-02-01")
    assert await office.totals() == ["10.00", "10.00", "20.00"]
    await office.on("2026-02-10")
    await modify(office, parent, "grouped_invoicing", action="remove", child_subscription_ids=[child["id"]])
    assert (await read(office, child))["subscription_type"] == "standalone"
    await office.run("2026-03-01")
    assert await office.totals() == ["10.00", "10.00", "20.00", "10.00", "10.00"]


@pytest.mark.parametrize(
    ("parent_is", "child_is", "says"),
    [
        pytest.param({}, {"currency": "eur"}, "currency", id="another currency"),
        pytest.param({}, {"start_date": "2025-12-01T00:00:00Z"}, "start_date", id="a child older than its parent"),
        pytest.param({}, {"billing_anchor": "2026-01-15T00:00:00Z"}, "billing_anchor", id="another day"),
        pytest.param({}, {"subscription_status": "draft"}, "draft", id="a child that is a draft"),
        pytest.param({"subscription_status": "draft"}, {}, "draft", id="a parent that is a draft"),
        pytest.param({"auto_invoice_threshold": "5"}, {}, "threshold", id="a parent with a threshold"),
        pytest.param(
            {"billing_period": "QUARTERLY"},
            {"billing_period": "QUARTERLY", "start_date": "2026-02-01T00:00:00Z"},
            "current_period_end",
            id="quarters that end in other months",
        ),
    ],
)
async def test_what_cannot_join(office: Office, parent_is: Body, child_is: Body, says: str) -> None:
    calls = await office.feature("calls")
    usage = [office.usage(calls, "1", billing_period=period) for period in ("MONTHLY", "QUARTERLY")]
    euros = office.usage(calls, "1", currency="eur")
    plan = await office.plan(*usage, euros)
    parent, child = await opened(office, plan, **parent_is), await opened(office, plan, **child_is)
    await office.on("2026-02-02") if "QUARTERLY" in str(parent_is) else None
    refused = await modify(office, parent, "grouped_invoicing", 400, action="add", child_subscription_ids=[child["id"]])
    assert refused["code"] == "invalid_operation"
    assert says in str(refused), refused


async def test_a_threshold_and_children_exclude_each_other(office: Office) -> None:
    await office.customer("heir")
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    family = {"external_customer_ids_to_inherit_subscription": ["heir"]}
    refused = await opened(office, plan, expect=400, auto_invoice_threshold="5", inheritance=family)
    assert "auto_invoice_threshold" in refused["details"]
    made = await opened(office, plan, auto_invoice_threshold="5")
    refused = await modify(
        office, made, "inheritance", 400, action="add", external_customer_ids_to_inherit_subscription=["heir"]
    )
    assert refused["code"] == "invalid_operation"
    other = await office.customer("other")
    await opened(office, plan, other, expect=400, inheritance={"parent_subscription_id": made["id"]})


async def test_a_trial_of_the_family_ends_for_all(office: Office) -> None:
    plan, one = await office.plan(fixed("10")), await office.customer("one")
    parent, (child,) = await grouped(office, plan, seat(plan, one), trial_period_days=14)
    for member in (parent, child):
        assert (await read(office, member))["subscription_status"] == "trialing"
    await office.run("2026-01-15")
    assert await office.billed() == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-15..02-15", "20.00"),
    ]
    for member in (parent, child):
        after = await read(office, member)
        assert (after["subscription_status"], after["current_period_end"]) == ("active", "2026-02-15T00:00:00Z")


async def test_a_family_that_waits_for_its_payment_wakes_together(office: Office) -> None:
    plan, one = await office.plan(fixed("10")), await office.customer("one")
    waiting = {"payment_behavior": "default_incomplete", "collection_method": "send_invoice"}
    parent, (child,) = await grouped(office, plan, seat(plan, one), **waiting)
    assert (await read(office, child))["subscription_status"] == "incomplete"
    opening = parent["latest_invoice"]["id"]
    await office.account.put(f"/invoices/{opening}/payment", {"payment_status": "SUCCEEDED"})
    for member in (parent, child):
        assert (await read(office, member))["subscription_status"] == "active"


async def test_a_draft_family_begins_together(office: Office) -> None:
    plan, one = await office.plan(fixed("10")), await office.customer("one")
    await office.on("2026-01-20")
    parent, (child,) = await grouped(office, plan, seat(plan, one), subscription_status="draft")
    await do(office, parent, "activate", {"start_date": "2026-01-10T00:00:00Z"})
    for member in (parent, child):
        after = await read(office, member)
        assert (after["subscription_status"], after["start_date"]) == ("active", "2026-01-10T00:00:00Z")
        assert [item["start_date"] for item in after["line_items"]] == ["2026-01-10T00:00:00Z"]
    assert await office.billed() == [("CREATE", "01-10..02-10", "20.00")]


async def test_a_child_that_joins_on_trial_is_charged_for_nothing_of_it(office: Office) -> None:
    calls, one = await office.feature("calls"), await office.customer("one")
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    parent, child = await opened(office, plan), await opened(office, plan, one, trial_period_days=14)
    await office.used("calls", one, 50, "2026-01-05")
    await office.used("calls", one, 2, "2026-01-20")
    await modify(office, parent, "grouped_invoicing", action="add", child_subscription_ids=[child["id"]])
    await office.run("2026-02-01")
    assert await office.billed() == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("CREATE", "01-01..02-01", "10.00"),
        ("CYCLE", "01-01..02-01", "22.00"),
    ]
    after = await read(office, child)
    assert (after["subscription_status"], after["current_period_end"]) == ("active", "2026-03-01T00:00:00Z")


async def test_nobody_inherits_from_what_is_over_or_is_itself_a_child(office: Office) -> None:
    plan, one = await office.plan(fixed("10")), await office.customer("one")
    await office.customer("heir")
    over = await opened(office, plan)
    await cancel(office, over)
    _, (child,) = await grouped(office, plan, seat(plan, one))
    for parent in (over, child):
        refused = await modify(
            office, parent, "inheritance", 400, action="add", external_customer_ids_to_inherit_subscription=["heir"]
        )
        assert refused["code"] == "invalid_operation"
