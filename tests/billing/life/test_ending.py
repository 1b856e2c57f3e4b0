"""How subscriptions are told to end, and how that is taken back, over HTTP.

Rule: docs/rules/subscriptions.md#cancellation
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.office import Office
from tests.subscriptions.shop import fixed

MAY, JUNE = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z"
LATER: dict[str, tuple[str, str, dict[str, Any]]] = {
    "at the end of the period": ("POST", "/cancel", {"cancellation_type": "end_of_period", "reason": "moved"}),
    "on a date": ("POST", "/cancel", {"cancellation_type": "scheduled_date", "cancel_at": "2026-04-20T00:00:00Z"}),
    "later": ("POST", "/cancel", {"cancellation_type": "scheduled_date", "cancel_at": "2026-05-20T00:00:00Z"}),
    "by an update, with the period": ("PUT", "", {"cancel_at_period_end": True}),
    "by an update, on a date": ("PUT", "", {"cancel_at": "2026-05-20T00:00:00Z"}),
}  # fmt: skip
BACK = ("uncancel", "its schedule", "its kind of schedule", "an update")


async def family(office: Office, **more: Any) -> tuple[str, str]:
    """A parent on a fee of 20 since the first of April, and the child that inherits from it; on the fifth."""
    await office.on("2026-04-01")
    await office.customer("heir")
    inheritance = {"external_customer_ids_to_inherit_subscription": ["heir"]}
    await office.subscribed(await office.plan(fixed("20")), inheritance=inheritance, metadata={"kept": "yes"}, **more)
    found = (await office.account.get("/subscriptions"))["items"]
    ids = {subscription["subscription_type"]: subscription["id"] for subscription in found}
    await office.on("2026-04-05")
    return ids["parent"], ids["inherited"]


async def read(office: Office, id: str) -> dict[str, Any]:
    """A subscription but for what every change moves."""
    found = await office.account.get(f"/subscriptions/{id}")
    return {name: value for name, value in found.items() if name not in {"version", "updated_at"}}


async def told_to_end(office: Office, id: str, how: str) -> None:
    method, path, body = LATER[how]
    answer = await office.account.http.request(method, f"/subscriptions/{id}{path}", json=body)
    assert answer.is_success, answer.text


async def take_back(office: Office, id: str, way: str) -> None:
    (waiting,) = (await office.account.get(f"/subscriptions/{id}/schedules"))["schedules"][-1:]
    if way == "uncancel":
        done = await office.account.post(f"/subscriptions/{id}/uncancel", expect=200)
        assert (done["id"], done["cancel_at"], done["cancel_at_period_end"]) == (id, None, False)
    elif way == "its schedule":
        await office.account.post(f"/subscriptions/schedules/{waiting['id']}/cancel", expect=200)
    elif way == "its kind of schedule":
        body = {"subscription_id": id, "schedule_type": "cancellation"}
        await office.account.post("/subscriptions/schedules/cancel", body, expect=200)
    else:
        await office.account.put(f"/subscriptions/{id}", {"cancel_at_period_end": False})
    after = await office.account.get(f"/subscriptions/schedules/{waiting['id']}")
    assert (after["status"], after["cancelled_at"]) == ("cancelled", "2026-04-05T00:00:00Z")


@pytest.mark.parametrize("way", BACK)
@pytest.mark.parametrize("how", LATER)
async def test_taken_back_all_is_as_it_was(office: Office, how: str, way: str) -> None:
    parent, child = await family(office, end_date="2026-12-01T00:00:00Z")
    before = [await read(office, id) for id in (parent, child)]
    await told_to_end(office, parent, how)
    during = [await read(office, id) for id in (parent, child)]
    for one in during:
        assert (one["subscription_status"], one["cancel_at"]) == ("active", during[0]["cancel_at"])
        assert one["cancel_at_period_end"] == during[0]["cancel_at_period_end"]
    await take_back(office, parent, way)
    assert [await read(office, id) for id in (parent, child)] == before
    await office.run("2026-06-01")
    assert (await read(office, parent))["subscription_status"] == "active"
    assert await office.totals() == ["20.00"] * 3


@pytest.mark.parametrize(
    ("how", "cancel_at", "end_date", "period_end", "bills"),
    [
        pytest.param("at the end of the period", MAY, None, MAY, 1, id="the period is the last"),
        pytest.param("on a date", "2026-04-20T00:00:00Z", "2026-04-20T00:00:00Z", "2026-04-20T00:00:00Z", 1, id="cut"),
        pytest.param("later", "2026-05-20T00:00:00Z", "2026-05-20T00:00:00Z", MAY, 2, id="a last period more"),
        pytest.param("by an update, with the period", MAY, None, MAY, 1, id="an update does the same"),
        pytest.param("by an update, on a date", "2026-05-20T00:00:00Z", "2026-05-20T00:00:00Z", MAY, 2, id="and here"),
    ],
)  # fmt: skip
async def test_told_to_end_it_ends(
    office: Office, how: str, cancel_at: str, end_date: str | None, period_end: str, bills: int
) -> None:
    parent, child = await family(office)
    await told_to_end(office, parent, how)
    for id in (parent, child):
        during = await read(office, id)
        assert (during["cancel_at"], during.get("end_date"), during["current_period_end"]) == (
            cancel_at, end_date, period_end,
        )  # fmt: skip
    if how in {"at the end of the period", "on a date", "later"}:
        during = await read(office, parent)
        assert during["cancelled_at"] == "2026-04-05T00:00:00Z", "when it was asked for, until it fires"
        assert during["metadata"] == {
            "kept": "yes",
            "cancellation_type": LATER[how][2]["cancellation_type"],
            "cancellation_reason": LATER[how][2].get("reason", ""),
            "effective_date": cancel_at,
        }
    await office.run("2026-08-01")
    for id in (parent, child):
        over = await read(office, id)
        assert (over["subscription_status"], over["end_date"], over["cancelled_at"]) == (
            "cancelled", cancel_at, cancel_at,
        )  # fmt: skip
    assert await office.totals() == ["20.00"] * bills, "and no fee in advance for what is not had"
    (schedule,) = (await office.account.get("/subscriptions/schedules"))["schedules"]
    assert (schedule["status"], schedule["schedule_type"]) == ("executed", "cancellation")


async def test_an_update_keeps_what_it_does_not_name(office: Office) -> None:
    parent, _ = await family(office, end_date="2026-12-01T00:00:00Z")
    path = f"/subscriptions/{parent}"
    moved = await office.account.put(path, {"cancel_at": JUNE})
    assert (moved["cancel_at"], moved["end_date"], moved["cancel_at_period_end"]) == (JUNE, JUNE, False)
    moved = await office.account.put(path, {"cancel_at_period_end": True})
    assert (moved["cancel_at"], moved["cancel_at_period_end"]) == (JUNE, True)
    moved = await office.account.put(path, {"cancel_at": MAY})
    assert (moved["cancel_at"], moved["end_date"], moved["cancel_at_period_end"]) == (MAY, MAY, True)
    assert (await office.account.get("/subscriptions/schedules", pending_only=True))["count"] == 1
    same = await office.account.put(path, {"status": "active"})
    assert (same["cancel_at"], same["cancel_at_period_end"]) == (MAY, True)
    kept = await office.account.put(path, {"cancel_at_period_end": False})
    assert (kept["cancel_at"], kept["end_date"]) == (None, "2026-12-01T00:00:00Z")


async def refusal(office: Office, method: str, path: str, body: Any = None) -> dict[str, Any]:
    answer = await office.account.http.request(method, path, json=body)
    assert answer.status_code == 400, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_cannot_be_taken_back(office: Office) -> None:
    parent, child = await family(office)
    uncancel = "/subscriptions/{}/uncancel"
    assert "not to be cancelled" in (await refusal(office, "POST", uncancel.format(parent)))["message"]
    await told_to_end(office, parent, "at the end of the period")
    assert "with its parent" in (await refusal(office, "POST", uncancel.format(child)))["message"]
    await office.on("2026-05-01")
    assert "taken effect" in (await refusal(office, "POST", uncancel.format(parent)))["message"]
    await office.run("2026-05-01")
    refused = await refusal(office, "POST", uncancel.format(parent))
    assert (refused["code"], refused["details"]["subscription_status"]) == ("invalid_operation", "cancelled")
    await office.account.post(uncancel.format("subs_x"), expect=404)
    draft = await office.subscribed(await office.plan(fixed("1")), subscription_status="draft")
    assert (await refusal(office, "POST", uncancel.format(draft.id)))["details"]["subscription_status"] == "draft"


@pytest.mark.parametrize("endpoint", ["/cancel", "/cancel/preview"])
async def test_what_cannot_be_cancelled(office: Office, endpoint: str) -> None:
    parent, child = await family(office, end_date="2026-12-01T00:00:00Z")
    path = f"/subscriptions/{parent}{endpoint}"
    now = {"cancellation_type": "immediate"}
    dated = {"cancellation_type": "scheduled_date"}
    for body, field in (
        ({}, "cancellation_type"),
        ({"cancellation_type": "soon"}, "cancellation_type"),
        (dated, "cancel_at"),
        ({**dated, "cancel_at": "2026-04-01T00:00:00Z"}, "cancel_at"),
        ({**dated, "cancel_at": "2026-12-02T00:00:00Z"}, "cancel_at"),
        ({**now, "cancel_at": "2026-04-06T00:00:00Z"}, "cancel_at"),
        ({**now, "cancel_at": "2026-04-01T00:00:00Z"}, "cancel_at"),
        ({**now, "proration_behavior": "some"}, "proration_behavior"),
        ({**now, "cancel_immediately_invoice_policy": "maybe"}, "cancel_immediately_invoice_policy"),
    ):
        refused = await refusal(office, "POST", path, body)
        assert (refused["code"], list(refused["details"])) == ("validation_error", [field]), body
    refused = await refusal(office, "PUT", f"/subscriptions/{parent}", {"cancel_at": "2026-12-02T00:00:00Z"})
    assert list(refused["details"]) == ["cancel_at"]
    assert "with its parent" in (await refusal(office, "POST", f"/subscriptions/{child}{endpoint}", now))["message"]
    assert "with its parent" in (await refusal(office, "PUT", f"/subscriptions/{child}", {"cancel_at": MAY}))["message"]
    await told_to_end(office, parent, "later")
    later = {"cancellation_type": "end_of_period"}
    assert (await refusal(office, "POST", path, later))["details"]["cancel_at"] == "2026-05-20T00:00:00Z"
    await office.account.post(f"/subscriptions/{parent}/cancel", now, expect=200)
    assert (await refusal(office, "POST", path, now))["details"]["subscription_status"] == "cancelled"
    refused = await refusal(office, "PUT", f"/subscriptions/{parent}", {"cancel_at_period_end": True})
    assert refused["details"]["subscription_status"] == "cancelled"
    await office.account.post(f"/subscriptions/subs_x{endpoint}", now, expect=404)


async def test_no_credit_over_mixed_periods(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("20")))
    quarterly = {key: value for key, value in fixed("60", billing_period="QUARTERLY").items() if key != "currency"}
    await office.account.post(f"/subscriptions/{subscription.id}/lineitems", {"price": quarterly})
    body = {"cancellation_type": "immediate", "proration_behavior": "create_prorations"}
    refused = await refusal(office, "POST", f"/subscriptions/{subscription.id}/cancel", body)
    assert (refused["code"], "mixed" in refused["message"]) == ("invalid_operation", True)


async def test_a_past_date_and_the_older_spelling(office: Office) -> None:
    """The correctly spelled policy wins; the credit runs from the date that is named."""
    parent, child = await family(office)
    await office.on("2026-04-21")
    done = await office.account.post(
        f"/subscriptions/{parent}/cancel",
        {
            "cancellation_type": "immediate",
            "cancel_at": "2026-04-11T00:00:00Z",
            "proration_behavior": "create_prorations",
            "cancel_immediately_invoice_policy": "skip",
            "cancel_immediately_inovice_policy": "generate_invoice",
        },
        expect=200,
    )
    assert (done["effective_date"], done["total_credit_amount"]) == ("2026-04-11T00:00:00Z", "13.33")
    assert done["processed_at"] == "2026-04-21T00:00:00Z"
    (detail,) = done["proration_details"]
    assert (detail["original_amount"], detail["credit_amount"], detail["proration_days"]) == ("20", "13.33", 20)
    assert "proration_invoice" not in done
    assert await office.totals() == ["20.00"]
    for id in (parent, child):
        over = await read(office, id)
        assert (over["subscription_status"], over["end_date"]) == ("cancelled", "2026-04-11T00:00:00Z")
        assert (over["cancelled_at"], over["current_period_end"]) == ("2026-04-21T00:00:00Z", MAY)


async def test_ending_at_once_after_a_date_was_set_credits_the_period_that_was_paid(office: Office) -> None:
    """20 of 30 days are left of what was paid, however short the schedule had made the period."""
    parent, _ = await family(office)
    await told_to_end(office, parent, "on a date")
    await office.on("2026-04-11")
    body = {"cancellation_type": "immediate", "proration_behavior": "create_prorations"}
    foretold = await office.account.post(f"/subscriptions/{parent}/cancel/preview", body, expect=200)
    done = await office.account.post(f"/subscriptions/{parent}/cancel", body, expect=200)
    assert foretold["total_credit_amount"] == done["total_credit_amount"] == "13.33"
    over = await read(office, parent)
    assert over["metadata"] == {
        "kept": "yes", "cancellation_type": "immediate", "cancellation_reason": "",
        "effective_date": "2026-04-11T00:00:00Z",
    }  # fmt: skip
    assert (await office.account.get("/subscriptions/schedules", pending_only=True))["count"] == 0


async def test_a_date_gives_no_credit(office: Office) -> None:
    parent, _ = await family(office)
    body = {**LATER["on a date"][2], "proration_behavior": "create_prorations"}
    done = await office.account.post(f"/subscriptions/{parent}/cancel", body, expect=200)
    assert (done["status"], done["total_credit_amount"], done["proration_details"]) == ("active", "0", [])
    (schedule,) = (await office.account.get("/subscriptions/schedules"))["schedules"]
    assert schedule["configuration"] == {
        "cancellation_type": "scheduled_date",
        "reason": "",
        "proration_behavior": "create_prorations",
        "original_cancel_at_period_end": False,
        "original_cancel_at": None,
        "original_end_date": None,
        "original_current_period_end": MAY,
    }
    await office.run("2026-05-01")
    assert await office.totals() == ["20.00"]
