"""The published client and the endpoints of subscriptions: what it sends is understood, and it reads what it gets."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from flexprice.models.errors import FlexpriceError
from flexprice.subscriptions import Subscriptions

from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed

REPLACING = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}


class Recorder:
    """The client's subscriptions, noting which of its methods were used."""

    def __init__(self, subscriptions: Any) -> None:
        self.subscriptions = subscriptions
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return getattr(self.subscriptions, f"{name}_async")


def operations() -> set[str]:
    """What the published client can do with subscriptions."""
    names = {name for name, _ in inspect.getmembers(Subscriptions, inspect.isfunction) if name.endswith("_async")}
    return {name.removesuffix("_async") for name in names if not name.startswith(("_", "do_request"))}


async def test_every_operation_of_the_published_client(office: Office) -> None:
    client = Recorder(office.account.sdk().subscriptions)
    await _begins(office, client)
    await _is_read(office, client)
    await _is_given_more(office, client)
    await _changes(office, client)
    await _changes_its_plan(office, client)
    await _is_scheduled(office, client)
    await _is_paused_and_ends(office, client)
    assert client.used == operations()


async def _subscribed(office: Office, client: Recorder, *prices: dict[str, Any], **more: Any) -> Any:
    plan, customer = await office.plan(*(prices or (fixed("10"),))), await office.customer()
    return await client.create_subscription(
        **{
            "customer_id": customer["id"],
            "plan_id": plan["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
            **more,
        }
    )


async def _begins(office: Office, client: Recorder) -> None:
    made = await _subscribed(
        office,
        client,
        fixed("50"),
        metadata={"team": "red"},
        auto_invoice_threshold=None,
        commitment_amount="12.50",
        overage_factor="1.5",
        lookup_key="first",
    )
    assert (made.subscription_status, made.subscription_type, made.version) == ("active", "standalone", 1)
    assert (made.latest_invoice.total, made.latest_invoice.billing_reason) == ("50", "SUBSCRIPTION_CREATE")
    assert (made.commitment_amount, made.overage_factor, made.lookup_key) == ("12.5", "1.5", "first")
    assert (made.metadata, made.customer.id, made.plan.id) == ({"team": "red"}, made.customer_id, made.plan_id)
    (item,) = made.line_items
    assert (item.quantity, item.end_date, item.price.amount) == ("1", None, "50")
    assert (made.end_date, made.cancel_at, made.trial_start, made.trial_end) == (None, None, None, None)
    draft = await _subscribed(office, client, subscription_status="draft", trial_period_days=7)
    assert (draft.subscription_status, draft.latest_invoice) == ("draft", None)
    live = await client.activate_subscription(id=draft.id, start_date=at("2026-01-03"))
    assert (live.subscription_status, live.trial_start, live.trial_end) == (
        "trialing",
        at("2026-01-03"),
        at("2026-01-10"),
    )
    assert live.latest_invoice is None, "it has not begun"


async def _is_read(office: Office, client: Recorder) -> None:
    calls = await office.feature("calls")
    await office.account.post(
        "/entitlements",
        {"entity_type": "PLAN", "entity_id": (plan := await office.plan(fixed("5"), office.usage(calls, "0.02")))["id"],
         "feature_id": calls["id"], "feature_type": "metered", "usage_limit": 100, "is_enabled": True,
         "usage_reset_period": "MONTHLY"},
    )  # fmt: skip
    customer = await office.customer("reader")
    made = await client.create_subscription(
        external_customer_id="reader", plan_id=plan["id"], currency="usd", billing_period="MONTHLY"
    )
    assert (await client.get_subscription_upcoming_grants(id=made.id)).items == []
    one = await client.get_subscription(id=made.id)
    assert (one.customer_id, one.plan.name, len(one.line_items)) == (customer["id"], "Plan", 2)
    assert {item.price_type: item.quantity for item in one.line_items} == {"FIXED": "1", "USAGE": "0"}
    second = await client.get_subscription_v2(id=made.id, expand="plan,subscription_line_items.prices,meters,customer")
    assert (second.plan_prices_out_of_sync, second.customer.external_id) == (False, "reader")
    meters = [item.meter for item in second.line_items if item.meter]
    assert [(meter.event_name, meter.environment_id) for meter in meters] == [("calls", office.account.environment_id)]
    found = await client.query_subscription(external_customer_id="reader", subscription_status=["active"], limit=1)
    assert ([subscription.id for subscription in found.items], found.pagination.total) == ([made.id], 1)
    items = await client.query_subscription_line_items(subscription_ids=[made.id], expand="prices", entity_type="plan")
    assert {item.price.amount for item in items.items} == {"5", "0.02"}
    entitled = await client.get_subscription_entitlements(id=made.id)
    (feature,) = entitled.features
    assert (feature.feature.id, feature.entitlement.usage_limit) == (calls["id"], 100)
    await office.used("calls", customer, 150, "2026-01-01T01:00:00")
    await office.on("2026-01-02")
    used = await client.get_subscription_usage(subscription_id=made.id)
    assert (used.amount, used.currency, used.has_overage) == (1.0, "usd", False)
    (charge,) = used.charges
    assert (charge.quantity, charge.amount) == (50.0, 1.0)
    changed = await client.update_subscription(id=made.id, cancel_at_period_end=True)
    assert (changed.cancel_at_period_end, changed.cancel_at) == (True, at("2026-02-01"))
    kept = await client.update_subscription(id=made.id, cancel_at_period_end=False)
    assert (kept.cancel_at_period_end, kept.cancel_at) == (False, None)


async def _is_given_more(office: Office, client: Recorder) -> None:
    await office.on("2026-01-01")
    made = await _subscribed(office, client)
    addon = await office.addon(fixed("31"))
    await office.on("2026-01-11")
    attached = await client.add_subscription_addon(
        subscription_id=made.id, addon_id=addon["id"], proration_behavior="create_prorations", metadata={"n": 1}
    )
    assert (attached.addon_status, attached.invoice.total, attached.end_date) == ("active", "21", None)
    associations = await client.get_subscription_addon_associations(id=made.id)
    (shown,) = associations.items if hasattr(associations, "items") else associations
    assert (shown.id, shown.addon_id) == (attached.id, addon["id"])
    gone = await client.remove_subscription_addon(
        addon_association_id=attached.id, effective_date=at("2026-01-21"), reason="tried"
    )
    assert gone.message == "addon removed from subscription successfully"
    item = await client.create_subscription_line_item(
        id=made.id,
        price={key: value for key, value in fixed("31").items() if key not in {"currency", "start_date"}},
        quantity="2",
        proration_behavior="create_prorations",
        display_name="Support",
    )
    assert (item.quantity, item.entity_type, item.display_name, item.end_date) == ("2", "subscription", "Support", None)
    assert item.start_date == at("2026-01-11")
    dearer = await client.update_subscription_line_item(id=item.id, amount="40", metadata={"why": "more"})
    assert (dearer.price.amount, dearer.quantity, dearer.metadata) == ("40", "2", {"why": "more"})
    over = await client.delete_subscription_line_item(id=dearer.id, effective_from="2026-01-31T00:00:00Z")
    assert over.end_date == at("2026-01-31")


async def _changes(office: Office, client: Recorder) -> None:
    await office.on("2026-04-01")
    made = await _subscribed(office, client)
    (item,) = made.line_items
    await office.on("2026-04-11")
    asked = {
        "id": made.id,
        "type_": "quantity_change",
        "quantity_change_params": {"line_items": [{"id": item.id, "quantity": "2"}]},
    }
    foretold = await client.preview_subscription_modify(**asked)
    assert [line_item.id for line_item in foretold.changed_resources.line_items] == [
        "(preview-ended)",
        "(preview-created)",
    ]
    done = await client.execute_subscription_modify(**asked)
    for answer, status in ((foretold, "preview"), (done, "issued")):
        (told,) = answer.changed_resources.invoices
        assert (told.action, told.status, told.invoice.total) == ("created", status, "6.66")
    version = done.changed_resources.line_items[1]
    assert (version.change_action, version.quantity, version.end_date) == ("created", "2", None)
    coupon = {"name": "Tenth", "type": "percentage", "percentage_off": "10", "cadence": "forever", "coupon_code": "ten"}
    await office.account.post("/coupons", coupon)
    change = {"id": version.id, "amount": "30", "quantity": "3", "coupons": [{"coupon_code": "ten"}]}
    done = await client.execute_subscription_modify(
        id=made.id, type_="line_item_change", line_item_change_params={"line_items": [change]}
    )
    newest = [line_item for line_item in done.subscription.line_items if line_item.end_date is None]
    assert [(item.quantity, item.price.amount) for item in newest] == [("3", "30")]
    (attached,) = done.subscription.coupon_associations
    assert (attached.coupon.coupon_code, attached.subscription_line_item.id) == ("ten", newest[0].id)


async def _changes_its_plan(office: Office, client: Recorder) -> None:
    await office.on("2026-04-01")
    other = await office.plan(fixed("50"), name="Other")
    made = await _subscribed(office, client, fixed("20"))
    await office.on("2026-04-11")
    asked = {"id": made.id, "target_plan_id": other["id"], "proration_behavior": "create_prorations"}
    foretold = await client.preview_subscription_plan_change_v2(**asked)
    done = await client.execute_subscription_plan_change_v2(**asked, idempotency_key="once")
    again = await client.execute_subscription_plan_change_v2(**asked, idempotency_key="once")
    assert again == done
    assert (foretold.change_type, done.change_type, done.subscription.id) == ("upgrade", "upgrade", made.id)
    assert (done.from_plan.name, done.to_plan.name, done.effective_at) == ("Plan", "Other", at("2026-04-11"))
    assert [invoice.invoice.total for invoice in done.changed_resources.invoices] == ["20"]
    made = await _subscribed(office, client, fixed("30"))
    await office.on("2026-04-26")
    asked = {"id": made.id, "target_plan_id": other["id"], "proration_behavior": "create_prorations", **REPLACING}
    before = await client.preview_subscription_change(**asked)
    after = await client.execute_subscription_change(**asked, metadata={"by": "client"})
    details = (before.proration_details, after.proration_applied)
    assert [(part.credit_amount, part.charge_amount, part.net_amount) for part in details] == [("15", "50", "35")] * 2
    assert (before.next_invoice_preview.total, after.invoice.total) == ("35", "35")
    assert (after.old_subscription.status, after.new_subscription.plan_id) == ("cancelled", other["id"])


async def _is_scheduled(office: Office, client: Recorder) -> None:
    await office.on("2026-04-01")
    other = await office.plan(fixed("50"), name="Other")
    made = await _subscribed(office, client, fixed("20"))
    later = await client.execute_subscription_plan_change_v2(
        id=made.id, target_plan_id=other["id"], proration_behavior="none", change_at="end_of_period"
    )
    assert (later.is_scheduled, later.scheduled_at) == (True, at("2026-05-01"))
    every = await client.list_all_subscription_schedules(pending_only=True, subscription_id=made.id)
    own = await client.list_subscription_schedules(id=made.id)
    assert (
        [schedule.id for schedule in every.schedules]
        == [schedule.id for schedule in own.schedules]
        == [later.schedule_id]
    )
    one = await client.get_subscription_schedule(schedule_id=later.schedule_id)
    assert (one.status, one.schedule_type, one.can_be_cancelled) == ("pending", "plan_change", True)
    assert one.days_until_execution == 30
    gone = await client.cancel_subscription_schedule(schedule_id_param=later.schedule_id)
    assert gone.status == "cancelled"
    with pytest.raises(FlexpriceError) as refused:
        await client.cancel_subscription_schedule(schedule_id_param=later.schedule_id)
    assert json.loads(refused.value.body)["code"] == "invalid_operation"


async def _is_paused_and_ends(office: Office, client: Recorder) -> None:
    await office.on("2026-04-01")
    made = await _subscribed(office, client, fixed("20"))
    await office.on("2026-04-11")
    paused = await client.pause_subscription(id=made.id, reason="holiday")
    assert paused.subscription.subscription_status == "paused"
    resumed = await client.resume_subscription(id=made.id)
    assert resumed.subscription.subscription_status == "active"
    ended = await client.cancel_subscription(
        id=made.id,
        cancellation_type="immediate",
        proration_behavior="create_prorations",
        cancel_immediately_invoice_policy="generate_invoice",
        reason="moved",
    )
    assert (ended.status, ended.total_credit_amount, ended.reason) == ("cancelled", "13.33", "moved")
    assert [detail.credit_amount for detail in ended.proration_details] == ["13.33"]
    assert ended.effective_date == at("2026-04-11")


ALIASES = {
    "GET {}/schedules": ("/v1/subscriptions/{}/schedules", "/subscriptions/{}/schedules"),
    "GET schedules": ("/v1/subscription-schedules", "/subscription-schedules", "/subscriptions/schedules"),
    "GET schedules/{}": (
        "/v1/subscription-schedules/{}",
        "/subscription-schedules/{}",
        "/subscriptions/schedules/{}",
    ),
}


async def test_schedules_answer_alike_under_every_spelling(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("20")))
    for cancelling in ("/v1/subscriptions/schedules/{}/cancel", "/subscriptions/schedules/{}/cancel"):
        await office.account.post(
            f"/subscriptions/{subscription.id}/cancel", {"cancellation_type": "end_of_period"}, expect=200
        )
        listed = await office.account.get("/subscriptions/schedules", pending_only=True)
        (waiting,) = listed["schedules"]
        for name, spellings in ALIASES.items():
            key = subscription.id if name == "GET {}/schedules" else waiting["id"]
            found = [await office.account.get(path.format(key)) for path in spellings]
            assert all(answer == found[0] for answer in found), name
        # the doubled prefix stands in the path that is sent, after the server's own
        async with httpx.AsyncClient(headers={"x-api-key": office.account.key}) as http:
            path = "/v1" + cancelling.format(waiting["id"])
            answer = await http.post(office.account.base_url + path, json={})
        assert answer.json() == {"status": "cancelled", "message": "scheduled cancellation cancelled successfully"}
    for body in (
        {"subscription_id": subscription.id, "schedule_type": "cancellation"},
        {"schedule_id": None},
    ):
        await office.account.post(
            f"/subscriptions/{subscription.id}/cancel", {"cancellation_type": "end_of_period"}, expect=200
        )
        (waiting,) = (await office.account.get("/subscriptions/schedules", pending_only=True))["schedules"]
        named = {"schedule_id": waiting["id"]} if "schedule_id" in body else body
        done = await office.account.post("/subscriptions/schedules/cancel", named, expect=200)
        assert done["status"] == "cancelled"
    assert datetime.fromisoformat(waiting["scheduled_at"]) == datetime(2026, 2, 1, tzinfo=UTC)
