"""Previews against what is then done: at any instant, to the cent, and without a trace; and what is told of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select, text

from farthing.billing.tables import ProrationSettlement
from farthing.core.clock import instant
from farthing.storage.tables import Base
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed

PRORATED = {"proration_behavior": "create_prorations"}
REPLACING = {**PRORATED, "billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
INLINE = {key: value for key, value in fixed("37").items() if key not in {"currency", "start_date"}}


@dataclass
class Case:
    """A subscription with an addon and usage in an office, on some instant of its month."""

    office: Office
    id: str
    item: str
    addon: dict[str, Any]
    association: str
    dearer: str
    cheaper: str


async def prepared(office: Office, **more: Any) -> Case:
    """A month of April: three seats at 20 and an addon at 7, both paid, and usage at 0.5."""
    await office.on("2026-04-01")
    calls = await office.feature(f"calls-{office.customers}")
    plan = await office.plan(fixed("20"), office.usage(calls, "0.5"))
    addon = await office.addon(fixed("7"), key=f"addon-{office.customers}")
    customer = await office.customer()
    subscription = await office.subscribed(
        plan,
        customer,
        override_line_items=[{"price_id": plan["prices"][0]["id"], "quantity": "3"}],
        addons=[{"addon_id": addon["id"]}],
        **more,
    )
    await office.used(calls["lookup_key"], customer, 5, "2026-04-01T00:00:01")
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    (item,) = (
        line_item["id"]
        for line_item in read["line_items"]
        if line_item["entity_type"] == "plan" and line_item["price_type"] == "FIXED"
    )
    (association,) = (await office.account.get(f"/subscriptions/{subscription.id}/addons/associations"))["items"]
    dearer, cheaper = await office.plan(fixed("99.99"), name="Up"), await office.plan(fixed("5"), name="Down")
    return Case(office, subscription.id, item, addon, association["id"], dearer["id"], cheaper["id"])


Request = Callable[[Case], tuple[str, str, str, dict[str, Any]]]
"""The preview's path, the execution's method and path, and the body of both."""


def modify(**params: Callable[[Case], Any]) -> Request:
    """A modification: its parameters, by their type."""
    ((type, make),) = params.items()

    def request(case: Case) -> tuple[str, str, str, dict[str, Any]]:
        path = f"/subscriptions/{case.id}/modify"
        return f"{path}/preview", "POST", f"{path}/execute", {"type": type, f"{type}_params": make(case)}

    return request


def change(version: str, target: str) -> Request:
    def request(case: Case) -> tuple[str, str, str, dict[str, Any]]:
        path = f"/subscriptions/{case.id}/change{version}"
        body = {**(PRORATED if version else REPLACING), "target_plan_id": getattr(case, target)}
        return f"{path}/preview", "POST", f"{path}/execute", body

    return request


def item(method: str, **body: Any) -> Request:
    def request(case: Case) -> tuple[str, str, str, dict[str, Any]]:
        path = f"/subscriptions/lineitems/{case.item}"
        return f"{path}{'/end' if method == 'DELETE' else ''}/preview", method, path, {**PRORATED, **body}

    return request


def cancel(case: Case) -> tuple[str, str, str, dict[str, Any]]:
    path = f"/subscriptions/{case.id}/cancel"
    body = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice", **PRORATED}
    return f"{path}/preview", "POST", path, body


def add_item(case: Case) -> tuple[str, str, str, dict[str, Any]]:
    path = f"/subscriptions/{case.id}/lineitems"
    return f"{path}/preview", "POST", path, {"price": INLINE, "quantity": "2", **PRORATED}


def seats(count: str) -> Callable[[Case], Any]:
    return lambda case: {"line_items": [{"id": case.item, "quantity": count}]}


CHANGES: dict[str, Request] = {
    "more seats": modify(quantity_change=seats("7")),
    "fewer seats": modify(quantity_change=seats("1")),
    "another amount and quantity": modify(
        line_item_change=lambda case: {"line_items": [{"id": case.item, "amount": "33.33", "quantity": "2"}]}
    ),
    "an addon more": modify(
        addon=lambda case: {"action": "add", "add": {"addon_id": case.addon["id"], **PRORATED}}
    ),
    "an addon less": modify(
        addon=lambda case: {
            "action": "remove",
            "remove": {
                "addon_association_id": case.association,
                "effective_date": instant(case.office.now),
                **PRORATED,
            },
        }
    ),
    "a line item more": add_item,
    "a dearer line item": item("PUT", amount="31.17"),
    "a cheaper line item": item("PUT", amount="11.17"),
    "a line item less": item("DELETE"),
    "a dearer plan in place": change("/v2", "dearer"),
    "a cheaper plan in place": change("/v2", "cheaper"),
    "a dearer plan by replacement": change("", "dearer"),
    "a cheaper plan by replacement": change("", "cheaper"),
    "a cancellation": cancel,
}  # fmt: skip


async def rows(office: Office) -> dict[str, int]:
    """How many rows of every kind the environment has."""
    tables = {table.name for table in Base.metadata.sorted_tables if "environment_id" in table.columns}
    counted = ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in sorted(tables))
    async with office.account.transaction(read_only=True) as session:
        return dict((await session.execute(text(f"SELECT {counted}"))).mappings().one())


async def money(office: Office) -> tuple[list[str], Decimal]:
    """The totals of all that was invoiced, and what is owed back."""
    async with office.account.transaction(read_only=True) as session:
        owed = await session.scalar(select(func.sum(ProrationSettlement.credited_to_payer)))
    return sorted(f"{invoice.total:.2f}" for invoice in await office.invoices() if invoice.total), owed or Decimal(0)


def foretold(answer: dict[str, Any]) -> tuple[list[str], Decimal]:
    """What a preview says will be invoiced and owed back."""
    if "changed_resources" in answer:
        told = answer["changed_resources"]["invoices"]
        totals = [change["invoice"]["total"] for change in told if change["action"] == "created"]
        credit = sum((Decimal(change["amount"]) for change in told if change["action"] != "created"), Decimal(0))
    elif "proration_details" in answer and "target_plan" in answer:
        totals = [answer["next_invoice_preview"]["total"]] if "next_invoice_preview" in answer else []
        credit = max(-Decimal(answer["proration_details"]["net_amount"]), Decimal(0))
    else:
        totals = [answer["proration_invoice"]["total"]] if "proration_invoice" in answer else []
        credit = Decimal(answer["total_credit_amount"])
    return [f"{Decimal(total):.2f}" for total in totals if Decimal(total)], credit


@pytest.mark.parametrize("name", CHANGES)
async def test_what_is_foretold_is_done(office: Office, name: str) -> None:
    """The usage of a subscription that is replaced is billed on an invoice of its own, of which v1 says nothing."""
    dice = random.Random(name)
    for _ in range(3):
        case = await prepared(office)
        office.now = at("2026-04-01") + timedelta(microseconds=dice.randrange(1, 30 * 86400 * 10**6))
        await office.account.freeze(office.now)
        preview, method, path, body = CHANGES[name](case)
        before, counted = await money(office), await rows(office)
        said = await office.account.post(preview, body, expect=200)
        assert await rows(office) == counted
        assert await money(office) == before
        done = await office.account.http.request(method, path, json=body)
        assert done.is_success, done.text
        totals, credit = await money(office)
        for one in before[0]:
            totals.remove(one)
        if "replacement" in name:
            totals.remove("2.50")
        assert (totals, credit - before[1]) == foretold(said), (name, office.now)
        assert credit - before[1] > 0 or totals, "each of these changes costs something"


async def test_a_preview_of_a_moment_holds_later(office: Office) -> None:
    """With the moment named, what was previewed is what is executed an hour after."""
    case = await prepared(office)
    await office.on("2026-04-11")
    path = f"/subscriptions/{case.id}/change/v2"
    body = {**PRORATED, "target_plan_id": case.dearer, "proration_date": instant(office.now)}
    said = await office.account.post(f"{path}/preview", body, expect=200)
    await office.on("2026-04-11T01:00:00")
    done = await office.account.post(f"{path}/execute", body, expect=200)
    assert foretold(done) == foretold(said)
    assert done["effective_at"] == "2026-04-11T00:00:00Z"
    replacing = {**REPLACING, "target_plan_id": case.cheaper, "proration_date": "2026-04-21T00:00:00Z"}
    await office.on("2026-04-21T01:00:00")
    said = await office.account.post(f"/subscriptions/{case.id}/change/preview", replacing, expect=200)
    await office.on("2026-04-22")
    done = await office.account.post(f"/subscriptions/{case.id}/change/execute", replacing, expect=200)
    assert done["proration_applied"] == said["proration_details"]
    assert done["new_subscription"]["current_period_start"] == "2026-04-21T00:00:00Z"


@pytest.mark.parametrize("version", ["", "/v2"])
@pytest.mark.parametrize(
    ("moment", "more"),
    [
        pytest.param("2026-04-12T00:00:00Z", {}, id="not in the future"),
        pytest.param("2026-03-31T00:00:00Z", {}, id="not in a period that is invoiced"),
        pytest.param("2026-04-02T00:00:00Z", {"change_at": "end_of_period"}, id="only for what happens now"),
    ],
)
async def test_proration_dates_that_are_refused(
    office: Office, version: str, moment: str, more: dict[str, str]
) -> None:
    case = await prepared(office)
    await office.on("2026-04-11")
    body = {**REPLACING, "target_plan_id": case.dearer, "proration_date": moment, **more}
    for endpoint in ("preview", "execute"):
        refused = await office.account.post(f"/subscriptions/{case.id}/change{version}/{endpoint}", body, expect=400)
        assert "proration_date" in refused["details"]


async def _modifications(office: Office, case: Case) -> dict[str, tuple[str, dict[str, Any]]]:
    """One of every type, each with the subscription that it is for."""
    rate = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "20"}
    tax = await office.account.post("/taxes/rates", rate)
    coupon = {"name": "Ten", "type": "percentage", "percentage_off": "10", "cadence": "forever", "coupon_code": "ten"}
    await office.account.post("/coupons", coupon)
    await office.customer("heir")
    plan = await office.plan(fixed("3"), name="Small")
    trial = await office.subscribed(plan, trial_period_days=30)
    child = await office.subscribed(plan)
    small = await office.account.get(f"/subscriptions/{child.id}")
    return {
        "quantity_change": (case.id, seats("9")(case)),
        "line_item_change": (child.id, {"id": small["line_items"][0]["id"], "amount": "1"}),
        "addon": (case.id, {"action": "add", "add": {"addon_id": case.addon["id"]}}),
        "inheritance": (case.id, {"action": "add", "external_customer_ids_to_inherit_subscription": ["heir"]}),
        "grouped_invoicing": (child.id, {"action": "add", "parent_subscription_id": case.id}),
        "trial_end": (trial.id, {"action": "scheduled_date", "new_trial_end": "2026-04-20T00:00:00Z"}),
        "coupon": (case.id, {"action": "add", "coupon_code": "ten"}),
        "tax": (case.id, {"action": "add", "tax_rate_id": tax["id"]}),
    }


async def test_every_modification_is_previewed_without_a_trace_and_told_once(office: Office) -> None:
    case = await prepared(office)
    types = await _modifications(office, case)
    await office.on("2026-04-11")
    for type, (id, params) in types.items():
        counted = await rows(office)
        path, body = f"/subscriptions/{id}/modify", {"type": type, f"{type}_params": params}
        said = await office.account.post(f"{path}/preview", body, expect=200)
        assert await rows(office) == counted, type
        told = len(await office.events(id))
        done = await office.account.post(f"{path}/execute", body, expect=200)
        assert (await office.events(id))[told:] == ["subscription.updated"], type
        assert {key: said["subscription"][key] for key in ("id", "subscription_status", "subscription_type")} == {
            key: done["subscription"][key] for key in ("id", "subscription_status", "subscription_type")
        }, type
        await office.account.post(f"{path}/execute", {"type": type}, expect=400)
    refused = await office.account.post(f"/subscriptions/{case.id}/modify/execute", {"type": "colour"}, expect=400)
    assert "type" in refused["details"]


Deed = Callable[[Case], Awaitable[Any]]


def deed(method: str, path: str, body: Callable[[Case], dict[str, Any]]) -> Deed:
    async def done(case: Case) -> Any:
        where = path.format(id=case.id, item=case.item)
        answer = await case.office.account.http.request(method, where, json=body(case))
        assert answer.is_success, answer.text
        return answer.json()

    return done


END = {"cancellation_type": "end_of_period"}
TOLD: dict[str, tuple[Deed, list[str]]] = {
    "an update": (deed("PUT", "/subscriptions/{id}", lambda _: {"cancel_at_period_end": True}), ["updated"]),
    "a line item added": (deed("POST", "/subscriptions/{id}/lineitems", lambda _: {"price": INLINE}), ["updated"]),
    "one changed": (deed("PUT", "/subscriptions/lineitems/{item}", lambda _: {"amount": "9"}), ["updated"]),
    "one labelled": (deed("PUT", "/subscriptions/lineitems/{item}", lambda _: {"metadata": {"a": "b"}}), ["updated"]),
    "one ended": (deed("DELETE", "/subscriptions/lineitems/{item}", lambda _: {}), ["updated"]),
    "an addon attached": (
        deed("POST", "/subscriptions/addon", lambda case: {"subscription_id": case.id, "addon_id": case.addon["id"]}),
        ["updated"],
    ),
    "one detached": (
        deed("DELETE", "/subscriptions/addon", lambda case: {"addon_association_id": case.association}), ["updated"]
    ),
    "a plan change in place": (
        deed("POST", "/subscriptions/{id}/change/v2/execute", lambda case: {**PRORATED, "target_plan_id": case.dearer}),
        ["updated", "plan_changed"],
    ),
    "one for later": (
        deed(
            "POST",
            "/subscriptions/{id}/change/v2/execute",
            lambda case: {"target_plan_id": case.dearer, "proration_behavior": "none", "change_at": "end_of_period"},
        ),
        ["updated"],
    ),
    "a replacement": (
        deed("POST", "/subscriptions/{id}/change/execute", lambda case: {**REPLACING, "target_plan_id": case.dearer}),
        ["updated", "cancelled"],
    ),
    "a cancellation now": (
        deed("POST", "/subscriptions/{id}/cancel", lambda _: {"cancellation_type": "immediate"}),
        ["updated", "cancelled"],
    ),
    "one for later, taken back": (deed("POST", "/subscriptions/{id}/cancel", lambda _: END), ["updated"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
async def test_what_is_told(office: Office, name: str) -> None:
    case = await prepared(office)
    await office.on("2026-04-11")
    assert await office.events(case.id) == ["subscription.created"]
    done, events = TOLD[name]
    await done(case)
    if name.endswith("taken back"):
        await office.account.post(f"/subscriptions/{case.id}/uncancel", expect=200)
        events = [*events, "updated"]
    assert await office.events(case.id) == ["subscription.created", *(f"subscription.{event}" for event in events)]
    read = await office.account.get(f"/subscriptions/{case.id}")
    assert read["version"] == 1 + events.count("updated")


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "an addon more"])
async def test_a_retry_with_the_same_key_pays_once(office: Office, name: str) -> None:
    case = await prepared(office)
    await office.on("2026-04-11")
    _, method, path, body = CHANGES[name](case)
    headers = {"Idempotency-Key": f"retry-{case.id}"}
    first = await office.account.http.request(method, path, json=body, headers=headers)
    paid, counted = await money(office), await rows(office)
    again = await office.account.http.request(method, path, json=body, headers=headers)
    if method == "POST":
        assert (again.status_code, again.json()) == (first.status_code, first.json())
    else:
        assert again.status_code in {400, 409}, "the version is over, so that nothing is done twice"
    assert (await money(office), await rows(office)) == (paid, counted)


async def test_a_creation_that_is_retried_makes_one_subscription(office: Office) -> None:
    plan, customer = await office.plan(fixed("50")), await office.customer()
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    async with office.account.client(office.account.key, {"Idempotency-Key": "open-once"}) as http:
        answers = await asyncio.gather(*(http.post("/subscriptions", json=body) for _ in range(4)))
        answers.append(await http.post("/subscriptions", json=body))
        other = await http.post("/subscriptions", json={**body, "lookup_key": "another"})
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert answers[-1].status_code == 201
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    assert await office.totals() == ["50.00"]


async def test_two_changes_of_one_version_at_once_are_a_conflict(office: Office) -> None:
    case = await prepared(office)
    await office.on("2026-04-11")
    path = f"/subscriptions/lineitems/{case.item}"
    answers = await asyncio.gather(
        *(office.account.http.put(path, json={"amount": str(amount)}) for amount in range(5, 9))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    (won,) = (answer.json() for answer in answers if answer.status_code == 200)
    for lost in (answer.json() for answer in answers if answer.status_code == 409):
        assert (lost["code"], lost["details"]["successor_id"]) == ("version_conflict", won["id"])
    refused = await office.account.post(
        f"/subscriptions/{case.id}/modify/execute",
        {"type": "quantity_change", "quantity_change_params": seats("4")(case)},
        expect=409,
    )
    assert refused["details"]["line_item_id"] == case.item
