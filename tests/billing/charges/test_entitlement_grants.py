"""The life of an entitlement's grant through the real application: made, used, previewed, invoiced, cancelled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import select, text

from farthing.billing.entitlement_grants.evaluation import EvaluationSummary, GrantEvaluation
from farthing.billing.proof.invoices import prove
from farthing.invoices.tables import Invoice
from farthing.storage.record.outbox import SystemEvent
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.usage_windows import EntitlementGrant
from tests.billing.office import Office
from tests.subscriptions.shop import fixed

pytestmark = pytest.mark.usefixtures("proven")

HOURLY = {"grant_measure": "quantity", "grant_quota": "100", "grant_duration_unit": "hour", "grant_duration_value": 5}
DAILY = {"grant_measure": "quantity", "grant_quota": "100", "grant_duration_unit": "day", "grant_duration_value": 1}
IN_MONEY = {**DAILY, "grant_measure": "amount", "grant_quota": "10"}


class Granted:
    """A subscription to a metered feature of which its plan grants a quota."""

    def __init__(self, office: Office, feature: Any, plan: Any, customer: Any, subscription: Subscription) -> None:
        self.office, self.feature, self.plan = office, feature, plan
        self.customer, self.subscription = customer, subscription

    async def use(self, *seen: tuple[str, str]) -> None:
        """Amounts used at moments."""
        await self.office.recorded("calls", self.customer, *[(moment, {"n": quantity}) for moment, quantity in seen])

    async def evaluate(self, moment: str | None = None) -> EvaluationSummary:
        """Let the duty run at a moment."""
        if moment is not None:
            await self.office.on(moment)
        account = self.office.account
        return await GrantEvaluation(account.database, account.scope, self.office.now).run()

    async def windows(self) -> list[tuple[str, str, str, str]]:
        """From, to, usage and status of each window that was stored."""
        async with self.office.account.transaction(read_only=True) as session:
            rows = await session.scalars(select(EntitlementGrant).order_by(EntitlementGrant.valid_from))
            return [
                (
                    f"{row.valid_from:%m-%d %H:%M}",
                    f"{row.valid_to:%m-%d %H:%M}",
                    f"{row.usage.normalize():f}",
                    row.grant_status.value,
                )
                for row in rows
            ]

    async def last_invoice(self) -> Invoice:
        """The newest invoice, also one that came to nothing."""
        async with self.office.account.transaction(read_only=True) as session:
            newest = select(Invoice).where(Invoice.subscription_id == self.subscription.id)
            found = await session.scalar(newest.order_by(Invoice.period_end.desc(), Invoice.id.desc()).limit(1))
            assert found is not None
            return found

    async def announced(self) -> list[dict[str, Any]]:
        """The bodies of `entitlement.grant.exhausted`."""
        async with self.office.account.transaction(read_only=True) as session:
            rows = await session.scalars(
                select(SystemEvent)
                .where(SystemEvent.event_name == "entitlement.grant.exhausted")
                .order_by(SystemEvent.position)
            )
            return [row.payload or {} for row in rows]


async def granted(office: Office, price: str = "0.5", terms: Any = HOURLY, **more: Any) -> Granted:
    """A plan that charges each unit and grants a quota, and a subscription to it."""
    feature = await office.feature("calls", type="SUM", field="n")
    plan = await office.plan(office.usage(feature, price))
    await office.entitle(plan, feature, **terms)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, **more)
    return Granted(office, feature, plan, customer, subscription)


W23 = [("2026-01-01T02:00", "60"), ("2026-01-01T04:00", "70"), ("2026-01-01T07:00", "10")]


@pytest.mark.parametrize(
    ("terms", "seen", "line"),
    [
        pytest.param(HOURLY, W23, ("calls", "30", "15"), id="five hours: 130 in the first window"),
        pytest.param(
            {**HOURLY, "grant_allocation_behavior": "unit_start"},
            W23,
            ("calls", "30", "15"),
            id="strides from midnight: the first two events lie in the first",
        ),
        pytest.param(DAILY, [*W23, ("2026-01-09T00:00", "101")], ("calls", "41", "20.5"), id="by day: 140 and 101"),
        pytest.param(
            {**DAILY, "grant_duration_unit": "week"},
            [*W23, ("2026-01-09T00:00", "90")],
            ("calls", "40", "20"),
            id="by week",
        ),
        pytest.param(
            IN_MONEY, [*W23, ("2026-01-09T00:00", "19")], ("calls", "120", "60"), id="70.00 of usage above 10.00"
        ),
        pytest.param(IN_MONEY, [("2026-01-09T00:00", "20")], ("calls", "0", "0"), id="a quota of money just used up"),
        pytest.param(
            {**DAILY, "grant_duration_value": 31}, W23, ("calls", "0", "0"), id="as long as the period: nothing opens"
        ),
        pytest.param(
            {**DAILY, "grant_duration_value": None, "grant_duration_unit": "subscription_period"},
            [*W23, ("2026-01-31T23:59", "10")],
            ("calls", "50", "25"),
            id="the period",
        ),
    ],
)
async def test_the_invoice_is_the_preview(
    office: Office, terms: Any, seen: list[tuple[str, str]], line: tuple[str, str, str]
) -> None:
    subject = await granted(office, terms={name: value for name, value in terms.items() if value is not None})
    await subject.use(*seen)
    _, previewed = await office.previewed(subject.subscription)
    assert previewed == [line]
    priced = await office.account.post("/subscriptions/usage", {"subscription_id": subject.subscription.id}, expect=200)
    assert f"{priced['amount']:g}" == line[2]
    await office.run("2026-02-01")
    rows = await office.rows(await subject.last_invoice())
    assert [(row.display_name, f"{row.quantity.normalize():f}", f"{row.amount.normalize():f}") for row in rows] == [
        line
    ]


async def test_quotas_of_plan_and_addon_add_up(office: Office) -> None:
    subject = await granted(office, terms=DAILY)
    addon = await office.addon(fixed("1"))
    body = {"feature_id": subject.feature["id"], "feature_type": "metered", "is_enabled": True}
    owner = {"entity_type": "ADDON", "entity_id": addon["id"]}
    await office.account.post("/entitlements", {**body, **owner, **DAILY, "grant_quota": "50"})
    await office.account.post(
        "/subscriptions/addon", {"subscription_id": subject.subscription.id, "addon_id": addon["id"]}, expect=200
    )
    await subject.use(("2026-01-02T10:00", "170"))
    await subject.evaluate("2026-01-02T11:00")
    assert await subject.windows() == [("01-02 10:00", "01-03 10:00", "170", "exhausted")]
    _, lines = await office.previewed(subject.subscription)
    assert ("calls", "20", "10") in lines


async def test_an_addon_with_another_duration_is_refused(office: Office) -> None:
    subject = await granted(office, terms=DAILY)
    addon = await office.addon(fixed("1"))
    body = {"feature_id": subject.feature["id"], "feature_type": "metered", "is_enabled": True}
    owner = {"entity_type": "ADDON", "entity_id": addon["id"]}
    await office.account.post("/entitlements", {**body, **owner, **HOURLY})
    refused = await office.account.post(
        "/subscriptions/addon", {"subscription_id": subject.subscription.id, "addon_id": addon["id"]}, expect=400
    )
    assert "another measure, mode or duration" in refused["error"]["message"]


async def test_parallel_quotas_charge_each_unit_once(office: Office) -> None:
    subject = await granted(office, terms={**HOURLY, "aggregation_mode": "parallel"})
    await office.entitle(
        subject.plan, subject.feature, **{**DAILY, "grant_quota": "120", "aggregation_mode": "parallel"}
    )
    await subject.use(*W23)
    await subject.evaluate("2026-01-01T08:00")
    assert sorted(await subject.windows()) == [
        ("01-01 02:00", "01-01 07:00", "130", "exhausted"),
        ("01-01 02:00", "01-02 02:00", "140", "exhausted"),
        ("01-01 07:00", "01-01 12:00", "10", "active"),
    ]
    assert await office.previewed(subject.subscription) == ("20.00", [("calls", "40", "20")])
    await office.run("2026-02-01")
    assert await office.last_lines(subject.subscription) == [("calls", "40", "20")]


async def test_exhaustion_is_announced_once(office: Office) -> None:
    subject = await granted(office)
    await subject.use(*W23[:1])
    assert (await subject.evaluate("2026-01-01T03:00")).exhausted == 0
    assert await subject.windows() == [("01-01 02:00", "01-01 07:00", "60", "active")]
    await subject.use(*W23[1:2])
    assert (await subject.evaluate("2026-01-01T05:00")).exhausted == 1
    assert (await subject.evaluate("2026-01-01T06:00")).exhausted == 0
    await subject.use(("2026-01-01T06:30", "1"), *W23[2:])
    await subject.evaluate("2026-01-01T08:00")
    assert await subject.windows() == [
        ("01-01 02:00", "01-01 07:00", "131", "exhausted"),
        ("01-01 07:00", "01-01 12:00", "10", "active"),
    ]
    (body,) = await subject.announced()
    assert body.pop("entitlement_grant_id").startswith("eg_")
    assert body.pop("entitlement_id").startswith("ent_")
    assert body == {
        "event_type": "entitlement.grant.exhausted",
        "subscription_id": subject.subscription.id,
        "customer_id": subject.customer["id"],
        "alert_type": "entitlement_grant_exhausted",
        "alert_status": "in_alarm",
        "usage_ratio": "1.3",
        "triggered_at": "2026-01-01T05:00:00Z",
    }


async def test_evaluations_at_once_open_and_announce_once(office: Office) -> None:
    subject = await granted(office)
    await subject.use(*W23)
    await office.on("2026-01-01T08:00")
    await asyncio.gather(*(subject.evaluate() for _ in range(6)))
    await subject.evaluate()
    assert len(await subject.windows()) == 2
    assert len(await subject.announced()) == 1


async def test_a_late_event_fills_the_time_before_an_opened_window(office: Office) -> None:
    subject = await granted(office)
    await subject.use(("2026-01-01T07:00", "10"))
    await subject.evaluate("2026-01-01T08:00")
    await subject.use(("2026-01-01T04:00", "130"))
    # 04:00 to 07:00 is a window with a quota of its own, cut where the next was opened
    assert await office.previewed(subject.subscription) == ("15.00", [("calls", "30", "15")])
    await subject.evaluate("2026-02-01")
    assert await subject.windows() == [
        ("01-01 04:00", "01-01 07:00", "130", "exhausted"),
        ("01-01 07:00", "01-01 12:00", "10", "active"),
    ]
    await office.run()
    assert await office.last_lines(subject.subscription) == [("calls", "30", "15")]


async def test_an_opened_window_keeps_its_quota(office: Office) -> None:
    subject = await granted(office, terms=DAILY)
    await subject.use(("2026-01-01T10:00", "90"))
    await subject.evaluate("2026-01-01T11:00")
    (entitlement,) = (await office.account.get(f"/plans/{subject.plan['id']}/entitlements"))["items"]
    await office.account.put(f"/entitlements/{entitlement['id']}", {"grant_quota": "20"})
    await subject.use(("2026-01-01T12:00", "20"), ("2026-01-03T12:00", "25"))
    assert await office.previewed(subject.subscription) == ("7.50", [("calls", "15", "7.5")])


async def test_a_grant_of_money_takes_the_place_of_one_of_units(office: Office) -> None:
    subject = await granted(office, terms=DAILY)
    await subject.use(("2026-01-01T10:00", "90"))
    await subject.evaluate("2026-01-01T11:00")
    (entitlement,) = (await office.account.get(f"/plans/{subject.plan['id']}/entitlements"))["items"]
    await office.account.put(f"/entitlements/{entitlement['id']}", {"clear_grant_config": True, **IN_MONEY})
    assert await office.previewed(subject.subscription) == ("35.00", [("calls", "70", "35")])
    await subject.evaluate("2026-01-01T12:00")
    assert await subject.windows() == [("01-01 10:00", "01-02 10:00", "45", "exhausted")]


async def test_a_cancellation_charges_the_windows_up_to_it(office: Office) -> None:
    subject = await granted(office, terms={**DAILY, "grant_duration_unit": "week"})
    await subject.use(("2026-01-05T10:00", "130"))
    await office.on("2026-01-06")
    await office.account.post(
        f"/subscriptions/{subject.subscription.id}/cancel",
        {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice"},
        expect=200,
    )
    assert await office.last_lines(subject.subscription) == [("calls", "30", "15")]
    await subject.evaluate("2026-01-06T01:00")
    assert await subject.windows() == [("01-05 10:00", "01-12 10:00", "130", "exhausted")]
    assert len(await subject.announced()) == 1


async def test_windows_end_with_their_cycle_and_begin_anew(office: Office) -> None:
    subject = await granted(office)
    await subject.use(("2026-01-31T22:00", "130"), ("2026-02-01T00:30", "120"))
    await subject.evaluate("2026-02-01T01:00")
    assert await subject.windows() == [
        ("01-31 22:00", "02-01 00:00", "130", "exhausted"),
        ("02-01 00:30", "02-01 05:30", "120", "exhausted"),
    ]
    await office.run("2026-03-01")
    assert await office.totals(subject.subscription) == ["15.00", "10.00"]


async def test_late_usage_of_a_finished_period_is_charged_above_its_windows(office: Office) -> None:
    await office.settings(late_usage_policy="next_invoice")
    subject = await granted(office)
    await subject.use(*W23)
    await office.run("2026-02-01")
    await subject.use(("2026-01-01T06:00", "10"), ("2026-01-20T06:00", "100"))
    await office.run("2026-03-01")
    assert await office.last_lines(subject.subscription) == [
        ("calls", "0", "0"),
        ("calls (Late Usage)", "10", "5"),
    ]


async def test_a_change_of_price_shares_the_window(office: Office) -> None:
    subject = await granted(office, terms=IN_MONEY)
    await subject.use(("2026-01-10T08:00", "16"), ("2026-01-10T14:00", "5"))
    item = (await office.account.get(f"/subscriptions/{subject.subscription.id}"))["line_items"][0]
    await office.on("2026-01-10T12:00")
    await office.account.put(
        f"/subscriptions/lineitems/{item['id']}",
        {"amount": "1", "billing_model": "FLAT_FEE", "effective_from": "2026-01-10T12:00:00Z"},
    )
    # 8.00 at the old price, 5.00 at the new one: 3.00 above 10.00
    assert (await office.previewed(subject.subscription))[0] == "3.00"
    await office.run("2026-02-01")
    assert await office.totals(subject.subscription) == ["3.00"]


async def test_a_clock_that_moves_months_opens_all_windows(office: Office) -> None:
    subject = await granted(office)
    await subject.use(*W23, ("2026-02-10T02:00", "101"))
    environment = office.account.scope.environment_id
    moved = await office.account.post(
        f"/environments/{environment}/clock", {"frozen_time": "2026-03-02T00:00:00Z"}, expect=200
    )
    assert moved["progress"]["counts"]["grants_exhausted"] == 2
    assert await subject.windows() == [
        ("01-01 02:00", "01-01 07:00", "130", "exhausted"),
        ("01-01 07:00", "01-01 12:00", "10", "active"),
        ("02-10 02:00", "02-10 07:00", "101", "exhausted"),
    ]
    assert await office.totals(subject.subscription) == ["15.00", "0.50"]


async def test_usage_in_a_pause_opens_nothing(office: Office) -> None:
    subject = await granted(office, terms=DAILY)
    await subject.use(("2026-01-05T10:00", "130"), ("2026-01-12T10:00", "500"))
    await office.on("2026-01-10")
    path = f"/subscriptions/{subject.subscription.id}"
    await office.account.post(f"{path}/pause", {"pause_mode": "immediate"}, expect=200)
    await office.on("2026-01-15")
    await office.account.post(f"{path}/resume", {"resume_mode": "immediate"}, expect=200)
    assert await office.previewed(subject.subscription) == ("15.00", [("calls", "30", "15")])


async def test_views_show_what_a_grant_leaves(office: Office) -> None:
    subject = await granted(office)
    path = f"/subscriptions/{subject.subscription.id}/entitlements"
    summary = {"customer_id": subject.customer["id"]}
    (before,) = (await office.account.get(path))["features"]
    assert before["entitlement"]["grant_state"]["allowances"][0] | {"entitlement_id": ""} == {
        "entitlement_id": "",
        "measure": "quantity",
        "quota": "100",
        "usage": "0",
        "remaining": "100",
        "unlimited": False,
        "is_active": False,
        "status": "active",
    }
    await subject.use(*W23)
    await office.on("2026-01-01T06:00")
    shown = [
        (await office.account.get(path))["features"][0]["entitlement"],
        (await office.account.get(f"/customers/{subject.customer['id']}/entitlements"))["features"][0]["entitlement"],
        (await office.account.get("/customers/usage", **summary))["features"][0],
    ]
    for view in shown:
        assert (view["grant_quota"], view["grant_duration_unit"], view["grant_duration_value"]) == ("100", "hour", 5)
        assert (view["grant_measure"], view["grant_unlimited"]) == ("quantity", False)
        (allowance,) = view["grant_state"]["allowances"]
        assert allowance["is_active"]
        assert (allowance["usage"], allowance["remaining"], allowance["status"]) == ("130", "0", "exhausted")
        assert (allowance["valid_from"], allowance["valid_to"]) == ("2026-01-01T02:00:00Z", "2026-01-01T07:00:00Z")
        assert allowance["quota_crossed_at"] == "2026-01-01T04:00:00Z"
        assert "grant_id" not in allowance
    await subject.evaluate()
    (stored,) = (await office.account.get(path))["features"]
    (allowance,) = stored["entitlement"]["grant_state"]["allowances"]
    assert allowance["grant_id"].startswith("eg_")
    assert allowance["last_computed_at"] == "2026-01-01T06:00:00Z"


async def test_what_grants_side_by_side_leave(office: Office) -> None:
    subject = await granted(office, terms={**HOURLY, "aggregation_mode": "parallel"})
    await office.entitle(subject.plan, subject.feature, **{**DAILY, "aggregation_mode": "parallel"})
    await subject.use(*W23)
    await office.on("2026-01-01T08:00")
    shown = (await office.account.get(f"/subscriptions/{subject.subscription.id}/entitlements"))["features"][0]
    allowances = shown["entitlement"]["grant_state"]["allowances"]
    assert [(allowance["usage"], allowance["status"]) for allowance in allowances] == [
        ("10", "active"),
        ("140", "exhausted"),
    ]
    assert [bucket["grant_quota"] for bucket in shown["entitlement"]["buckets"]] == ["100", "100"]
    assert "grant_quota" not in shown["entitlement"]


@pytest.mark.parametrize(
    ("aggregation", "terms", "field"),
    [
        pytest.param({"type": "MAX", "field": "n"}, HOURLY, "grant_measure", id="the largest value"),
        pytest.param({"type": "SUM", "field": "n", "bucket_size": "DAY"}, HOURLY, "grant_measure", id="buckets"),
        pytest.param({"type": "WEIGHTED_SUM", "field": "n"}, HOURLY, "grant_duration_unit", id="a mean level by hour"),
        pytest.param({"type": "COUNT"}, {**HOURLY, "grant_duration_value": 0}, "grant_duration_value", id="no hours"),
        pytest.param(
            {"type": "COUNT"},
            {**HOURLY, "grant_duration_unit": "subscription_period"},
            "grant_duration_value",
            id="five periods",
        ),
        pytest.param(
            {"type": "COUNT"},
            {name: value for name, value in HOURLY.items() if name != "grant_duration_value"},
            "grant_duration_value",
            id="hours, but not how many",
        ),
        pytest.param(
            {"type": "COUNT"},
            {"grant_measure": "quantity", "grant_quota": "1", "grant_duration_unit": "subscription_period",
             "grant_allocation_behavior": "unit_start"},
            "grant_allocation_behavior",
            id="the period from where a unit starts",
        ),
        pytest.param({"type": "COUNT"}, {**HOURLY, "grant_quota": "0"}, "grant_quota", id="a quota of nothing"),
        pytest.param({"type": "COUNT"}, {"grant_quota": "5"}, "grant_measure", id="a quota alone"),
        pytest.param({"type": "COUNT"}, {"aggregation_mode": "parallel"}, "aggregation_mode", id="parallel alone"),
    ],
)  # fmt: skip
async def test_a_grant_that_cannot_be_is_refused_by_its_field(
    office: Office, aggregation: Any, terms: Any, field: str
) -> None:
    feature = await office.feature("calls", **aggregation)
    plan = await office.plan()
    body = {"feature_id": feature["id"], "feature_type": "metered", "is_enabled": True, "plan_id": plan["id"]}
    refused = await office.account.post("/entitlements", {**body, **terms}, expect=400)
    assert refused["error"]["message"].startswith(field)


TIERS = {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": [{"up_to": None, "unit_amount": "1"}]}


async def test_money_is_not_granted_where_tiers_price(office: Office) -> None:
    feature = await office.feature("calls")
    plan = await office.plan(office.usage(feature, "1"))
    entitled = {"feature_id": feature["id"], "feature_type": "metered", "is_enabled": True, "plan_id": plan["id"]}
    await office.account.post("/entitlements", {**entitled, **IN_MONEY})
    tiered = {**office.usage(feature, "1"), **TIERS, "entity_type": "PLAN", "entity_id": plan["id"]}
    del tiered["amount"]
    refused = await office.account.post("/prices", tiered, expect=400)
    assert refused["error"]["message"].startswith("billing_model")
    refused = await office.account.put(f"/prices/{plan['prices'][0]['id']}", TIERS, expect=400)
    assert refused["error"]["message"].startswith("billing_model")


async def test_a_grant_must_go_with_those_of_the_same_subscriptions(office: Office) -> None:
    subject = await granted(office, terms=DAILY)
    body = {"feature_id": subject.feature["id"], "feature_type": "metered", "is_enabled": True}
    own = {"entity_type": "SUBSCRIPTION", "entity_id": subject.subscription.id}
    for terms, field in (
        (IN_MONEY, "grant_measure"),
        (HOURLY, "grant_duration_unit"),
        ({**DAILY, "grant_duration_value": 2}, "grant_duration_value"),
        ({**DAILY, "aggregation_mode": "parallel"}, "aggregation_mode"),
    ):
        refused = await office.account.post("/entitlements", {**body, **own, **terms}, expect=400)
        assert refused["error"]["message"].startswith(field)
    await office.account.post("/entitlements", {**body, **own, **DAILY})


@pytest.mark.parametrize(
    ("terms", "path", "value"),
    [
        pytest.param(HOURLY, "{over,0,over}", "29", id="less over than was used"),
        pytest.param(HOURLY, "{over,0,over}", "31", id="more over than was used"),
        pytest.param(HOURLY, "{over,0,usage}", "129", id="less used in the window"),
        pytest.param(HOURLY, "{over,0,quota}", "99", id="a smaller quota"),
        pytest.param(HOURLY, "{over}", [], id="no window at all"),
        pytest.param(IN_MONEY, "{over,0,over}", "59", id="less money over"),
        pytest.param(IN_MONEY, "{over,0,usage}", "60", id="less money used"),
    ],
)
async def test_the_doctor_finds_windows_that_were_tampered_with(
    office: Office, terms: Any, path: str, value: Any
) -> None:
    made = await granted(office, terms=terms)
    await made.use(*W23)
    await office.run("2026-02-01")
    tampered = text(
        "UPDATE invoice_line_items SET usage_windows = "
        "jsonb_set(usage_windows, CAST(:path AS text[]), CAST(:value AS jsonb)) WHERE usage_windows IS NOT NULL"
    )
    async with office.account.transaction() as session:
        changed: Any = await session.execute(tampered, {"path": path, "value": json.dumps(value)})
        assert changed.rowcount == 1
        session.expire_all()
        proof = await prove(session, (await session.scalars(select(Invoice))).all())
        assert any("quota" in difference.figure for difference in proof.differences)
        await session.rollback()
