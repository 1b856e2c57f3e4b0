"""Usage belongs to who held its external id when it arrived, in every view and on every invoice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from farthing.core.money import plain
from farthing.doctor.examination import audit
from farthing.storage.migrations import state, upgrade
from farthing.storage.postgres import Database
from farthing.subscriptions.tables import Subscription
from farthing.wiring import wire
from tests.account import Account
from tests.billing.late_usage.lateness import settled
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.storage.earlier import undo_after

Body = Mapping[str, Any]
JANUARY = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T00:00:00Z"}


@pytest.fixture
async def calls(office: Office) -> dict[str, Any]:
    """A feature that counts events, its meter ready."""
    feature = await office.feature("calls")
    await settled(office)
    return feature


async def rename(office: Office, customer: Body, external_id: str) -> dict[str, Any]:
    renamed: dict[str, Any] = await office.account.put(f"/customers/{customer['id']}", {"external_id": external_id})
    return renamed


async def used(office: Office, external_id: str, count: int, moment: str = "2026-01-10") -> None:
    """So many calls under an external id, whoever owns it."""
    await office.used("calls", {"external_id": external_id}, count, moment)


async def views(office: Office, calls: Body, customer: Body, subscription: Subscription) -> set[str]:
    """January's usage of a customer, who pays 1 a call, as every view says it; one number if all agree."""
    account = office.account
    named = {"external_customer_id": customer["external_id"]}
    counted = {"event_name": "calls", "aggregation_type": "COUNT"}
    meter = {"meter_id": calls["meter_id"]}
    numbers = [
        (await account.post(path, {**asked, **whose, **JANUARY}, expect=200)).get("value", 0)
        for path, asked in (("/events/usage", counted), ("/events/usage/meter", meter))
        for whose in (named, {"customer_id": customer["id"]})
    ]
    analytics = await account.post("/events/analytics", {**named, **JANUARY}, expect=200)
    numbers += [sum(Decimal(item["total_usage"]) for item in analytics["items"]), analytics["total_cost"]]
    by_day = await account.post("/events/analytics", {**named, **JANUARY, "window_size": "DAY"}, expect=200)
    numbers.append(sum(Decimal(point["usage"]) for item in by_day["items"] for point in item.get("points", ())))
    shown = {"subscription_id": subscription.id, **JANUARY}
    numbers.append((await account.post("/subscriptions/usage", shown, expect=200))["amount"])
    numbers.append((await office.previewed(subscription))[0])
    return {plain(Decimal(str(number))) for number in numbers}


async def assert_billed(office: Office, expected: Mapping[Subscription, str]) -> None:
    """The invoices of January, and the doctor, who measures them again."""
    await settled(office)
    await office.run("2026-02-01")
    assert [await office.totals(subscription) for subscription in expected] == [[total] for total in expected.values()]
    assert (await audit(office.account.database, only={office.account.environment_id})).differences == []


async def test_a_renamed_customer_pays_for_what_came_under_both_names(office: Office, calls: Body) -> None:
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer("old")
    subscription = await office.subscribed(plan, customer)
    await used(office, "old", 5)
    renamed = await rename(office, customer, "new")
    assert await views(office, calls, renamed, subscription) == {"5"}
    await used(office, "new", 7, "2026-01-12")
    await used(office, "old", 9, "2026-01-13")
    assert await views(office, calls, renamed, subscription) == {"21"}
    await assert_billed(office, {subscription: "21.00"})
    summary = await office.account.get(f"/customers/{customer['id']}/invoices/summary")
    assert Decimal(summary["summaries"][0]["total_revenue_amount"]) == 21


async def test_exchanged_ids_leave_each_its_own(office: Office, calls: Body) -> None:
    plan = await office.plan(office.usage(calls, "1"))
    first, second = await office.customer("a"), await office.customer("b")
    subscriptions = [await office.subscribed(plan, customer) for customer in (first, second)]
    await used(office, "a", 50)
    await used(office, "b", 8)
    await rename(office, first, "for-a-moment")
    second = await rename(office, second, "a")
    first = await rename(office, first, "b")
    assert await views(office, calls, first, subscriptions[0]) == {"50"}
    assert await views(office, calls, second, subscriptions[1]) == {"8"}
    await used(office, "a", 1, "2026-01-05")  # a time before the exchange; who holds the id at the arrival decides
    await used(office, "b", 2)
    await used(office, "for-a-moment", 4)
    assert await views(office, calls, first, subscriptions[0]) == {"56"}
    assert await views(office, calls, second, subscriptions[1]) == {"9"}
    await assert_billed(office, dict(zip(subscriptions, ("56.00", "9.00"), strict=True)))


async def test_who_takes_a_freed_id_begins_at_nothing(office: Office, calls: Body) -> None:
    plan = await office.plan(office.usage(calls, "1"))
    first = await office.customer("desk")
    former = await office.subscribed(plan, first)
    await used(office, "desk", 50)
    first = await rename(office, first, "elsewhere")
    await used(office, "desk", 3)  # nobody else has it yet
    second = await office.customer("desk")
    present = await office.subscribed(plan, second)
    assert await views(office, calls, second, present) == {"0"}
    await used(office, "desk", 6)
    assert await views(office, calls, second, present) == {"6"}
    assert await views(office, calls, first, former) == {"53"}
    await assert_billed(office, {former: "53.00", present: "6.00"})


async def test_a_customer_made_again_does_not_inherit(office: Office, calls: Body) -> None:
    """An archived customer keeps its usage, and what comes under its id until another takes it."""
    first = await office.customer("again")
    await used(office, "again", 11)
    await office.account.http.delete(f"/customers/{first['id']}")
    await used(office, "again", 2)
    second = await office.customer("again")
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), second)
    await used(office, "again", 4)
    assert await views(office, calls, second, subscription) == {"4"}
    answer = await office.account.post(
        "/events/usage",
        {"event_name": "calls", "aggregation_type": "COUNT", "customer_id": first["id"], **JANUARY},
        expect=200,
    )
    assert answer["value"] == 13
    await assert_billed(office, {subscription: "4.00"})


async def test_the_first_customer_takes_over_what_nobody_owned(office: Office, calls: Body) -> None:
    await used(office, "early", 5)
    await used(office, "typo", 3)
    customer = await office.customer("early")
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    assert await views(office, calls, customer, subscription) == {"5"}
    customer = await rename(office, customer, "typo")
    assert await views(office, calls, customer, subscription) == {"8"}
    await assert_billed(office, {subscription: "8.00"})


async def test_a_name_forth_and_back_counts_everything_once(office: Office, calls: Body) -> None:
    customer = await office.customer("one")
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    for count, name in ((1, "two"), (2, "one"), (4, "two"), (8, "one")):
        await used(office, customer["external_id"], count)
        customer = await rename(office, customer, name)
    await used(office, "one", 16)
    await used(office, "two", 32)
    assert await views(office, calls, customer, subscription) == {"63"}
    await assert_billed(office, {subscription: "63.00"})


async def test_an_id_that_comes_back_leaves_out_the_time_of_another(office: Office, calls: Body) -> None:
    plan = await office.plan(office.usage(calls, "1"))
    first, second = await office.customer("shared"), await office.customer("second")
    subscriptions = [await office.subscribed(plan, customer) for customer in (first, second)]
    await used(office, "shared", 1)
    first = await rename(office, first, "first")
    second = await rename(office, second, "shared")
    await used(office, "shared", 2)
    second = await rename(office, second, "second")
    first = await rename(office, first, "shared")
    await used(office, "shared", 4)
    assert await views(office, calls, first, subscriptions[0]) == {"5"}
    assert await views(office, calls, second, subscriptions[1]) == {"2"}
    await assert_billed(office, dict(zip(subscriptions, ("5.00", "2.00"), strict=True)))


async def test_what_is_sent_again_keeps_its_owner(office: Office, calls: Body) -> None:
    """Sending an event again, the same or corrected, moves it to nobody; another external id makes it another's."""
    plan = await office.plan(office.usage(calls, "1"))
    first = await office.customer("a")
    former = await office.subscribed(plan, first)

    async def send(id: str, external_id: str, **properties: Any) -> None:
        event = {"event_id": id, "event_name": "calls", "external_customer_id": external_id, "properties": properties}
        await office.account.post("/events", {**event, "timestamp": "2026-01-10T00:00:00Z"}, expect=202)

    for id in ("same", "corrected", "twice", "moved"):
        await send(id, "a")
    first = await rename(office, first, "b")
    second = await office.customer("a")
    present = await office.subscribed(plan, second)
    await send("same", "a")
    await send("corrected", "a", note="right")
    await send("twice", "a", note="wrong")
    await send("twice", "a", note="right")
    assert await views(office, calls, first, former) == {"4"}
    await send("moved", "nobody")
    await send("moved", "a")
    assert await views(office, calls, first, former) == {"3"}
    assert await views(office, calls, second, present) == {"1"}
    await assert_billed(office, {former: "3.00", present: "1.00"})


async def test_a_meter_made_later_knows_the_owners(office: Office) -> None:
    first = await office.customer("a")
    await office.account.post(
        "/events", {"event_id": "e", "event_name": "calls", "external_customer_id": "a"}, expect=202
    )
    await rename(office, first, "b")
    second = await office.customer("a")
    correction = {"event_id": "e", "event_name": "calls", "external_customer_id": "a", "properties": {"note": 1}}
    await office.account.post("/events", {**correction, "timestamp": "2026-01-01T00:00:00Z"}, expect=202)
    calls = await office.feature("calls")
    await settled(office)
    values = [
        (
            await office.account.post(
                "/events/usage/meter", {"meter_id": calls["meter_id"], "customer_id": customer["id"], **JANUARY}, 200
            )
        ).get("value", 0)
        for customer in (first, second)
    ]
    assert values == [1, 0]


@pytest.mark.parametrize(
    ("aggregation", "values", "expected"),
    [
        pytest.param({"type": "SUM", "field": "x"}, (5, 7, 100), "12", id="a sum"),
        pytest.param({"type": "MAX", "field": "x"}, (5, 7, 100), "7", id="the largest"),
        pytest.param({"type": "LATEST", "field": "x"}, (5, 7, 100), "7", id="the last"),
        pytest.param({"type": "AVG", "field": "x"}, (5, 7, 100), "6", id="an average"),
        pytest.param({"type": "COUNT_UNIQUE", "field": "x"}, (5, 5, 100), "1", id="distinct values"),
        pytest.param({"type": "MAX", "field": "x", "bucket_size": "DAY"}, (5, 7, 100), "12", id="daily maxima"),
    ],
)
async def test_every_aggregation_adds_the_names_of_a_customer(
    office: Office, aggregation: Body, values: tuple[int, int, int], expected: str
) -> None:
    """5 under the old name, 7 under the new one, and 100 under the old one after another customer had taken it."""
    feature = await office.feature("calls", **aggregation)
    await settled(office)
    customer = await office.customer("old")
    subscription = await office.subscribed(await office.plan(office.usage(feature, "1")), customer)
    before, after, foreign = values
    await office.recorded("calls", customer, ("2026-01-10", {"x": before}))
    customer = await rename(office, customer, "new")
    await office.recorded("calls", customer, ("2026-01-11", {"x": after}))
    other = await office.customer("old")
    await office.recorded("calls", other, ("2026-01-12", {"x": foreign}))
    subtotal, _ = await office.previewed(subscription)
    assert Decimal(subtotal) == Decimal(expected)
    shown = {"external_customer_id": "new", **JANUARY}
    (item,) = (await office.account.post("/events/analytics", shown, expect=200))["items"]
    assert item["total_usage"] == expected


async def test_the_usage_of_entitlements_follows(office: Office, calls: Body) -> None:
    plan = await office.plan(office.usage(calls, "1"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    customer = await office.customer("old")
    await office.subscribed(plan, customer)
    await used(office, "old", 5, "2026-01-01")
    await rename(office, customer, "new")
    other = await office.customer("old")
    await office.subscribed(plan, other)
    await used(office, "old", 3, "2026-01-01")
    await used(office, "new", 1, "2026-01-01")
    await office.on("2026-01-02")
    usage = [
        (await office.account.get("/customers/usage", customer_lookup_key=name))["features"][0]["current_usage"]
        for name in ("new", "old")
    ]
    assert [Decimal(str(value)) for value in usage] == [6, 3]


async def test_late_usage_goes_to_the_owner_of_its_arrival(office: Office, calls: Body) -> None:
    await office.settings(late_usage_policy="next_invoice")
    plan = await office.plan(office.usage(calls, "1"))
    first = await office.customer("a")
    former = await office.subscribed(plan, first)
    await used(office, "a", 2)
    await settled(office)
    await office.run("2026-02-01")
    await used(office, "a", 3)
    await rename(office, first, "b")
    await used(office, "a", 4)
    await used(office, "b", 5)
    second = await office.customer("a")
    await office.subscribed(plan, second)
    await used(office, "a", 100)
    await settled(office)
    await office.run("2026-03-01")
    assert await office.totals(former) == ["2.00", "12.00"]
    assert (await audit(office.account.database, only={office.account.environment_id})).differences == []


async def test_a_name_that_changes_while_events_arrive_loses_and_doubles_none(office: Office, calls: Body) -> None:
    """Renames to and fro between two customers while events come under both names: each event is charged once."""
    plan = await office.plan(office.usage(calls, "1"))
    customers = [await office.customer(name) for name in ("a", "b")]
    subscriptions = [await office.subscribed(plan, customer) for customer in customers]

    async def send() -> None:
        for _ in range(20):
            await asyncio.gather(used(office, "a", 3), used(office, "b", 2), used(office, "c", 1))

    async def exchange() -> None:
        for _ in range(4):
            for customer, name in zip((0, 1, 0), ("c", "a", "b"), strict=True):
                await rename(office, customers[customer], name)
            customers.reverse()

    await asyncio.gather(send(), exchange())
    counted = []
    for customer in customers:
        shown = await office.account.get(f"/customers/{customer['id']}")
        (usage,) = await views(
            office,
            calls,
            shown,
            next(subscription for subscription in subscriptions if subscription.customer_id == customer["id"]),
        )
        counted.append(int(usage))
    assert sum(counted) == 120
    await settled(office)
    await office.run("2026-02-01")
    billed = [Decimal((await office.totals(subscription) or ["0"])[0]) for subscription in subscriptions]
    assert sum(billed) == 120
    assert (await audit(office.account.database, only={office.account.environment_id})).differences == []


async def test_who_asks_for_a_former_id_hears_whose_it_was(office: Office) -> None:
    customer = await office.customer("old")
    await rename(office, customer, "new")
    answer = await office.account.get("/customers/external/old", expect=404)
    assert (answer["details"]["former_customer_id"], customer["id"] in answer["message"]) == (customer["id"], True)
    answer = await office.account.get("/customers/external/nobody", expect=404)
    assert "former_customer_id" not in answer["details"]
    taker = await office.customer("old")
    assert (await office.account.get("/customers/external/old"))["id"] == taker["id"]


async def test_the_doctor_names_what_came_before_the_subscription(office: Office, calls: Body) -> None:
    first = await office.customer("old")
    await used(office, "old", 3, "2025-12-20")
    first = await rename(office, first, "new")
    await used(office, "new", 4, "2025-12-21")
    second = await office.customer("old")
    await used(office, "old", 5, "2025-12-22")
    plan = await office.plan(office.usage(calls, "1"))
    for customer in (first, second):
        await office.subscribed(plan, customer)
    await used(office, "new", 1)
    nobody = await office.customer()
    await used(office, nobody["external_id"], 2)
    findings = await audit(office.account.database, only={office.account.environment_id})
    assert {id: findings.uncharged.get(id) for id in (first["id"], second["id"], nobody["id"])} == {
        first["id"]: 7,
        second["id"]: 5,
        nobody["id"]: None,
    }
    assert findings.differences == []


# the shape of revision 0026, where usage followed the present external id
_AS_BEFORE = """
DROP TRIGGER take_external_id ON customers;
DROP FUNCTION take_external_id;
DROP TABLE external_id_tenures;
ALTER TABLE events DROP COLUMN owner_sequence;
ALTER TABLE meter_usage DROP COLUMN owner_sequence;
UPDATE alembic_version SET version_num = '0026';
"""


async def test_books_of_the_release_before_keep_their_figures(new_database: Callable[..., str]) -> None:
    """What was invoiced stays; from now on former ids count for who had them, unless somebody else has them."""
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    try:
        async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
            office = Office(account)
            await office.on("2026-01-01")
            await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
            calls = await office.feature("calls")
            await settled(office)
            plan = await office.plan(office.usage(calls, "1"))
            renamed, parted = await office.customer("old"), await office.customer("desk")
            first, second = await office.subscribed(plan, renamed), await office.subscribed(plan, parted)
            await used(office, "old", 5)
            renamed, parted = await rename(office, renamed, "new"), await rename(office, parted, "parted")
            with psycopg.connect(url) as connection:  # the release before forgot who had an id
                connection.execute("SELECT set_config('farthing.environment_id', %s, true)", (account.environment_id,))
                assert connection.execute("DELETE FROM external_id_tenures WHERE external_id = 'old'").rowcount == 1
            await office.account.post("/customers", {"external_id": "desk", "name": "taker"})
            await used(office, "new", 7)
            await settled(office)
            await office.run("2026-02-01")
            assert (await office.totals(first), await office.totals(second)) == (["7.00"], [])
            with psycopg.connect(url) as connection:
                connection.execute(undo_after("0027"))
                connection.execute(_AS_BEFORE)
            assert state(url)[0] == "0026"
            upgrade(url)
            assert await office.totals(first) == ["7.00"]
            findings = await audit(database)
            assert (findings.differences, findings.charges.unmeasured) == ([], 1)
            await used(office, "old", 2, "2026-02-02")
            await used(office, "desk", 4, "2026-02-02")
            await settled(office)
            await office.run("2026-03-01")
            assert (await office.totals(first), await office.totals(second)) == (["7.00", "2.00"], [])
            assert (await audit(database)).differences == []
    finally:
        await database.close()
