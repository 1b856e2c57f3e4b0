"""Charges that failed, tried again on a schedule: when, how often, what ends it, and that each step is made once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from farthing.billing.dunning.retries import carry_out_due
from farthing.billing.dunning.schedule import DunningStep, next_step
from farthing.core.clock import FixedClock
from farthing.doctor.examination import audit
from farthing.invoices.ports import InvoicePorts
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import execution
from farthing.payments.processing.reconciliation import reconcile
from farthing.payments.testing_provider import provider as testing_provider
from tests.billing.collection.test_collection import AUTO, SENT, by, to
from tests.billing.counter import Body, cancel, has_card, opened, read
from tests.billing.late_usage.lateness import send, settled
from tests.billing.office import Office
from tests.payments.till import DECLINED, OK, SLOW
from tests.reporting.reconciliation import unreconciled
from tests.subscriptions.shop import fixed

STOLEN = "pm_test_stolen"
FAILED_AT = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "made", "hours_late", "may_retry", "step", "after_hours"),
    [
        pytest.param([1, 3, 5, 7], 0, 0, True, "retry", 24, id="first retry a day later"),
        pytest.param([1, 3, 5, 7], 1, 24, True, "retry", 72, id="days count from the first failure"),
        pytest.param([1, 3, 5, 7], 3, 120, True, "retry", 168, id="the last retry"),
        pytest.param([1, 3, 5, 7], 4, 168, True, "final_action", 168, id="then the end, at once"),
        pytest.param([1, 3], 1, 100, True, "retry", 101, id="one that is late follows an hour later"),
        pytest.param([2], 0, 0, False, "final_action", 48, id="without a method it is waited out"),
        pytest.param([1, 14], 1, 24, False, "final_action", 336, id="a hard decline on the way"),
        pytest.param([365], 1, 8760, True, "final_action", 8760, id="a year"),
    ],
)
def test_what_follows_a_failure(
    days: list[int], made: int, hours_late: int, may_retry: bool, step: str, after_hours: int
) -> None:
    failed_at = FAILED_AT + timedelta(hours=hours_late)
    planned = next_step(FAILED_AT, days, made, failed_at, may_retry=may_retry)
    assert (planned.step, planned.at) == (DunningStep(step), FAILED_AT + timedelta(hours=after_hours))


async def dunned(office: Office, method: str = DECLINED, customer: Body | None = None, **config: Any) -> Body:
    """A subscription whose opening charge failed on 1 January, with dunning on."""
    value = {"enabled": True, "retry_days": [1, 3, 5, 7], **config}
    await office.account.put("/settings/dunning_config", {"value": value})
    owner = customer or await office.customer()
    await has_card(office, owner, method)
    return await opened(office, await office.plan(fixed("10")), owner, **by(AUTO, "default_active"))


async def case(office: Office, subscription: Body, expect: int = 200) -> Body:
    answer: Body = await office.account.get(f"/invoices/{subscription['latest_invoice']['id']}/dunning", expect=expect)
    return answer


async def invoice_of(office: Office, subscription: Body) -> Body:
    answer: Body = await office.account.get(f"/invoices/{subscription['latest_invoice']['id']}")
    return answer


async def payments(office: Office, subscription: Body) -> list[str]:
    """The status of each charge of the opening invoice, oldest first."""
    found = await office.account.get("/payments", destination_id=subscription["latest_invoice"]["id"], limit=100)
    return [payment["payment_status"] for payment in reversed(found["items"])]


def gateways(office: Office) -> Gateways:
    return Gateways(
        office.account.database, office.account.settings, office.account.database.ports.part(InvoicePorts).hooks
    )


async def due(office: Office, moment: str) -> dict[str, str]:
    """What the duty does at a moment, whatever the environment's clock says."""
    clock = FixedClock(datetime.fromisoformat(f"{moment}T00:00:00+00:00"))
    return await carry_out_due(office.account.database, office.account.scope, gateways(office), clock)


@pytest.mark.parametrize(
    ("until", "charges"),
    [("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-03", 2), ("2026-01-04", 3), ("2026-01-08", 5), ("2026-01-30", 5)],
)
async def test_retries_come_on_their_days(office: Office, until: str, charges: int) -> None:
    made = await dunned(office)
    if until != "2026-01-01":
        await to(office, until)
    assert await payments(office, made) == ["FAILED"] * charges
    stands = await case(office, made)
    assert stands["retries_made"] == charges - 1
    assert stands["dunning_status"] == ("exhausted" if charges == 5 else "retrying")


async def test_nothing_is_tried_again_where_it_is_off(office: Office) -> None:
    made = await dunned(office, enabled=False)
    await to(office, "2026-01-20")
    assert await payments(office, made) == ["FAILED"]
    await case(office, made, expect=404)


async def test_a_retry_that_succeeds_ends_it(office: Office) -> None:
    customer = await office.customer()
    made = await dunned(office, DECLINED, customer)
    await to(office, "2026-01-02")
    # somebody saved a card that works, and it is tried at once
    await has_card(office, customer, OK)
    stands = await case(office, made)
    assert (stands["next_at"], stands["retries_made"]) == ("2026-01-02T00:00:00Z", 0)
    await due(office, "2026-01-02")
    assert await payments(office, made) == ["FAILED", "FAILED", "SUCCEEDED"]
    stands = await case(office, made)
    assert stands["dunning_status"] == "recovered"
    assert stands.get("next_at") is None
    await to(office, "2026-01-20")
    assert len(await payments(office, made)) == 3


@pytest.mark.parametrize(
    ("action", "subscription", "is_written_off"),
    [
        ("none", "active", False),
        ("mark_uncollectible", "active", True),
        ("pause", "paused", False),
        ("cancel", "cancelled", False),
    ],
)
async def test_what_is_done_in_the_end(office: Office, action: str, subscription: str, is_written_off: bool) -> None:
    made = await dunned(office, final_action=action)
    await to(office, "2026-01-07")
    assert (await read(office, made))["subscription_status"] == "active"
    await to(office, "2026-01-08")
    assert (await read(office, made))["subscription_status"] == subscription
    invoice = await invoice_of(office, made)
    assert ("written_off_at" in invoice) is is_written_off
    assert invoice["amount_remaining"] == "10"
    assert (await case(office, made))["dunning_status"] == "exhausted"


async def test_a_stolen_card_is_never_tried_again(office: Office) -> None:
    customer = await office.customer()
    made = await dunned(office, STOLEN, customer, final_action="mark_uncollectible")
    stands = await case(office, made)
    assert (stands["dunning_status"], stands["next_step"]) == ("waiting_for_method", "final_action")
    await to(office, "2026-01-07")
    assert await payments(office, made) == ["FAILED"]
    await to(office, "2026-01-09")
    assert await payments(office, made) == ["FAILED"]
    assert (await invoice_of(office, made))["written_off_amount"] == "10"


async def test_another_card_after_a_stolen_one_is_tried_at_once(office: Office) -> None:
    customer = await office.customer()
    made = await dunned(office, STOLEN, customer)
    await to(office, "2026-01-03")
    await has_card(office, customer, OK)
    await to(office, "2026-01-04")
    assert await payments(office, made) == ["FAILED", "SUCCEEDED"]


@pytest.mark.parametrize("how", ["paid", "void", "written off", "stopped"])
async def test_what_ends_it(office: Office, how: str) -> None:
    made = await dunned(office)
    invoice = made["latest_invoice"]
    if how == "paid":
        await office.account.put(f"/invoices/{invoice['id']}/payment", {"payment_status": "SUCCEEDED"}, expect=200)
        status = "recovered"
    elif how == "void":
        await office.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
        status = "ended"
    elif how == "written off":
        await office.account.post(f"/invoices/{invoice['id']}/write-off", {"reason": "gone"}, expect=200)
        status = "ended"
    else:
        await office.account.post(f"/invoices/{invoice['id']}/dunning/stop", {}, expect=200)
        status = "stopped"
    assert (await case(office, made))["dunning_status"] == status
    await to(office, "2026-01-20")
    assert await payments(office, made) == ["FAILED"]
    await office.account.post(f"/invoices/{invoice['id']}/dunning/retry", {}, expect=400)
    await office.account.post(f"/invoices/{invoice['id']}/dunning/stop", {}, expect=400)


async def test_what_remains_is_retried(office: Office) -> None:
    customer = await office.customer()
    made = await dunned(office, DECLINED, customer)
    part = {"destination_type": "INVOICE", "destination_id": made["latest_invoice"]["id"], "amount": "4"}
    part |= {"payment_method_type": "OFFLINE", "currency": "usd", "process_payment": True}
    await office.account.post("/payments", part)
    await to(office, "2026-01-02")
    found = await office.account.get("/payments", destination_id=made["latest_invoice"]["id"])
    assert [payment["amount"] for payment in found["items"]] == ["6", "4", "10"]


async def test_retry_now_counts_as_the_next_retry(office: Office) -> None:
    made = await dunned(office)
    path = f"/invoices/{made['latest_invoice']['id']}/dunning/retry"
    stands = await office.account.post(path, {}, expect=200)
    assert (stands["retries_made"], stands["next_at"]) == (1, "2026-01-04T00:00:00Z")
    assert await payments(office, made) == ["FAILED", "FAILED"]


async def test_nothing_is_retried_while_a_payment_is_in_flight(office: Office) -> None:
    customer = await office.customer()
    made = await dunned(office, DECLINED, customer)
    charge = {"destination_type": "INVOICE", "destination_id": made["latest_invoice"]["id"], "amount": "10"}
    charge |= {"payment_method_type": "CARD", "payment_method_id": SLOW, "payment_gateway": "stripe"}
    payment = await office.account.post("/payments", {**charge, "currency": "usd", "process_payment": True})
    assert payment["payment_status"] == "PROCESSING"
    assert await due(office, "2026-01-05") == {}
    assert await payments(office, made) == ["FAILED", "PROCESSING"]
    refused = f"/invoices/{made['latest_invoice']['id']}/dunning/retry"
    await office.account.post(refused, {}, expect=400)


async def test_many_workers_make_each_retry_once(office: Office) -> None:
    made = await dunned(office)
    assert await asyncio.gather(*(due(office, "2026-01-02") for _ in range(4))) == [{}] * 4
    assert await payments(office, made) == ["FAILED", "FAILED"]
    assert (await case(office, made))["retries_made"] == 1


@pytest.mark.parametrize("cut_off", [(testing_provider.TestProvider, "charge_saved_method"), (execution, "finish")])
async def test_a_retry_that_was_cut_off_is_taken_up_and_charges_once(
    office: Office, monkeypatch: pytest.MonkeyPatch, cut_off: tuple[Any, str]
) -> None:
    made = await dunned(office)

    async def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as broken:
        broken.setattr(*cut_off, dies)
        assert list(await due(office, "2026-01-02")) == [made["latest_invoice"]["id"]]
    # it is in hand, and nobody makes a second one of it
    assert await due(office, "2026-01-02") == {}
    assert await payments(office, made) == ["FAILED", "PROCESSING"]
    at = datetime(2026, 1, 2, 1, tzinfo=UTC)
    async with office.account.database.session(office.account.scope, clock=FixedClock(at)) as session:
        await reconcile(session, gateways(office), at)
        await session.commit()
    await due(office, "2026-01-03")
    assert await payments(office, made) == ["FAILED", "FAILED"]
    assert (await case(office, made))["retries_made"] == 1


async def test_automatic_cancellation_waits_for_the_last_retry(office: Office) -> None:
    await office.account.put(
        "/settings/subscription_config", {"value": {"auto_cancellation_enabled": True, "grace_period_days": 1}}
    )
    made = await dunned(office)
    await to(office, "2026-01-07")
    assert (await read(office, made))["subscription_status"] == "active"
    await to(office, "2026-01-08")
    assert (await read(office, made))["subscription_status"] == "cancelled"


async def test_a_customer_may_have_terms_of_its_own(office: Office) -> None:
    customer, other = await office.customer(), await office.customer()
    terms = {"retry_days": [2], "final_action": "cancel"}
    own = await office.account.put(f"/customers/{customer['id']}/dunning", terms)
    assert own["retry_days"] == [2]
    assert own["effective"] == {
        "enabled": False,
        "retry_days": [2],
        "final_action": "cancel",
    }
    made = await dunned(office, DECLINED, customer)
    rest = await dunned(office, DECLINED, other)
    await to(office, "2026-01-04")
    assert await payments(office, made) == ["FAILED", "FAILED"]
    assert (await read(office, made))["subscription_status"] == "cancelled"
    assert await payments(office, rest) == ["FAILED", "FAILED", "FAILED"]
    assert (await read(office, rest))["subscription_status"] == "active"
    await office.account.delete(f"/customers/{customer['id']}/dunning")
    left = await office.account.get(f"/customers/{customer['id']}/dunning")
    assert left["effective"]["retry_days"] == [1, 3, 5, 7]


async def test_what_is_sent_is_not_charged_again(office: Office) -> None:
    await office.account.put("/settings/dunning_config", {"value": {"enabled": True}})
    customer = await office.customer()
    await has_card(office, customer, DECLINED)
    made = await opened(office, await office.plan(fixed("10")), customer, **by(SENT, "default_active"))
    charge = {"destination_type": "INVOICE", "destination_id": made["latest_invoice"]["id"], "amount": "10"}
    charge |= {"payment_method_type": "CARD", "payment_gateway": "stripe", "currency": "usd", "process_payment": True}
    await office.account.post("/payments", charge, 400)
    await case(office, made, expect=404)


@pytest.mark.parametrize(
    "value",
    [
        {"retry_days": []},
        {"retry_days": [3, 1]},
        {"retry_days": [1, 1]},
        {"retry_days": [0]},
        {"retry_days": [366]},
        {"retry_days": list(range(1, 22))},
        {"final_action": "sue"},
    ],
)
async def test_terms_that_make_no_sense(office: Office, value: Body) -> None:
    name = next(iter(value))
    assert name in str(await office.account.put("/settings/dunning_config", {"value": value}, expect=400))
    customer = await office.customer()
    assert name in str(await office.account.put(f"/customers/{customer['id']}/dunning", value, expect=400))


async def test_the_queue_lists_what_is_open_first(office: Office) -> None:
    first, second = await dunned(office), await dunned(office)
    await office.account.post(f"/invoices/{first['latest_invoice']['id']}/dunning/stop", {}, expect=200)
    found = await office.account.get("/dunning")
    assert [row["invoice_id"] for row in found["items"]] == [
        second["latest_invoice"]["id"],
        first["latest_invoice"]["id"],
    ]
    assert {row["amount_remaining"] for row in found["items"]} == {"10"}
    retrying = await office.account.get("/dunning", dunning_status="retrying")
    assert [row["invoice_id"] for row in retrying["items"]] == [second["latest_invoice"]["id"]]


async def test_part_payments_a_write_off_and_what_comes_after_it_add_up(office: Office) -> None:
    """Ten are owed, three are paid between the retries, the rest is written off in the end, and five come after all."""
    customer = await office.customer()
    made = await dunned(office, DECLINED, customer, final_action="mark_uncollectible", retry_days=[2, 4])
    invoice_id = made["latest_invoice"]["id"]

    async def paid(amount: str, expect: int = 201) -> None:
        body = {"destination_type": "INVOICE", "destination_id": invoice_id, "payment_method_type": "OFFLINE"}
        await office.account.post(
            "/payments", {**body, "amount": amount, "currency": "usd", "process_payment": True}, expect
        )

    async def sound() -> None:
        assert await unreconciled(office.account) == []
        found = await audit(office.account.database, only=[office.account.environment_id])
        assert found.differences == []

    await to(office, "2026-01-03")
    await paid("3")
    await sound()
    await to(office, "2026-01-20")
    lost = await invoice_of(office, made)
    assert (lost["amount_paid"], lost["amount_remaining"], lost["written_off_amount"]) == ("3", "7", "7")
    assert (await case(office, made))["dunning_status"] == "exhausted"
    await sound()
    await paid("5")
    after = await invoice_of(office, made)
    assert (after["amount_paid"], after["amount_remaining"], after["written_off_amount"]) == ("8", "2", "2")
    await sound()
    await paid("4")
    over = await invoice_of(office, made)
    assert (over["amount_paid"], over["payment_status"]) == ("12", "OVERPAID")
    # what came after all is not dunned again, and the next invoice is charged as ever
    await to(office, "2026-02-02")
    assert (await payments(office, made)).count("FAILED") == 3
    await sound()


async def test_a_declined_charge_of_what_an_ended_subscription_used_more_is_dunned_to_its_end(office: Office) -> None:
    customer = await office.customer()
    value = {"enabled": True, "retry_days": [1], "final_action": "cancel"}
    await office.account.put("/settings/dunning_config", {"value": value})
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    await settled(office)
    await has_card(office, customer, DECLINED)
    made = await opened(office, plan, customer, **by(AUTO, "default_active"))
    await send(office, customer, "a", "2026-01-05")
    await office.on("2026-01-20")
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice")
    (last,) = await office.invoices()
    await send(office, customer, "b", "2026-01-06")
    answer = await office.account.post(f"/invoices/{last.id}/corrections", {"resolution": "next_invoice"}, 200)
    await to(office, "2026-02-10")
    extra = {"latest_invoice": {"id": answer["charged_invoice_id"]}}
    assert (await case(office, extra))["dunning_status"] == "exhausted"
    assert (await read(office, made))["subscription_status"] == "cancelled"
    assert await unreconciled(office.account) == []
