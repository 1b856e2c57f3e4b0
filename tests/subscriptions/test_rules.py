"""The pure rules: what may follow what, what entitlements come to, how plans are paired."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.billing import BillingCycle, BillingPeriod, InvoiceCadence, Recurrence
from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import EntitlementOwner, UsageResetPeriod
from farthing.catalogue.products.enums import FeatureType
from farthing.core.enums import PriceType
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.rating.pricing.price import RatedPrice
from farthing.subscriptions.enums import (
    CollectionMethod,
    LineItemOwner,
    PaymentBehavior,
    ProrationBehavior,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.item_changes import closing
from farthing.subscriptions.line_items.revise import QuantityWanted, planned_quantities
from farthing.subscriptions.plan_change.in_place import planned_change
from farthing.subscriptions.snapshot.entitlements import Entitled, by_meter, effective
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot, longer, mixes_periods
from farthing.subscriptions.states import SUBSCRIPTION, move
from farthing.subscriptions.tables import Subscription
from tests.subscriptions.shop import at

APRIL = Period(at("2026-04-01"), at("2026-05-01"))


def item(id: str, amount: str, **more: Any) -> LineItemSnapshot:
    given: dict[str, Any] = {
        "id": id, "subscription_id": "subs_1", "customer_id": "cust_1", "entity_type": LineItemOwner.PLAN,
        "entity_id": "plan_1", "plan_display_name": "", "display_name": "", "price_id": f"price_{id}",
        "price": RatedPrice.flat(Decimal(amount)), "price_type": PriceType.FIXED, "min_quantity": None,
        "group_id": None, "meter_id": None, "meter_display_name": "", "quantity": Decimal(1), "currency": "usd",
        "billing_period": BillingPeriod.MONTHLY, "billing_period_count": 1, "cadence": InvoiceCadence.ADVANCE,
        "start": APRIL.start, "end": None,
    }  # fmt: skip
    return LineItemSnapshot(**{**given, **more})


def subscription(*items: LineItemSnapshot, **more: Any) -> SubscriptionSnapshot:
    given: dict[str, Any] = {
        "id": "subs_1", "customer_id": "cust_1", "payer_id": "cust_1", "invoicing_customer_id": None,
        "parent_id": None, "plan_id": "plan_1", "plan_name": "", "status": SubscriptionStatus.ACTIVE,
        "type": SubscriptionType.STANDALONE, "currency": "usd",
        "recurrence": Recurrence(BillingPeriod.MONTHLY, APRIL.start), "cycle": BillingCycle.ANNIVERSARY,
        "start": APRIL.start, "end": None, "current": APRIL, "full_period_start": APRIL.start, "trial": None,
        "cancel_at": None, "cancel_at_period_end": False, "cancelled_at": None, "commitment": None, "threshold": None,
        "proration": ProrationBehavior.NONE, "end_proration": None, "payment_behavior": PaymentBehavior.DEFAULT_ACTIVE,
        "collection_method": CollectionMethod.CHARGE_AUTOMATICALLY, "payment_method_id": "", "payment_terms": None,
        "invoices_begun": 0, "version": 1, "metadata": {}, "items": items, "addons": (), "entitled": (),
        "usage_customers": (), "pauses": (),
    }  # fmt: skip
    return SubscriptionSnapshot(**{**given, **more})


class TestStates:
    @pytest.mark.parametrize("before", SubscriptionStatus)
    @pytest.mark.parametrize("after", SubscriptionStatus)
    def test_only_what_the_table_lists(self, before: SubscriptionStatus, after: SubscriptionStatus) -> None:
        row = Subscription(id="subs_1", subscription_status=before)
        if SUBSCRIPTION.allows(before, after):
            move(row, after)
            assert row.subscription_status is after
        else:
            with pytest.raises(InvalidOperation, match=f"{before.value}.*{after.value}"):
                move(row, after)
            assert row.subscription_status is before

    def test_cancelled_is_the_end(self) -> None:
        assert SUBSCRIPTION.after(SubscriptionStatus.CANCELLED) == ()


def entitled(id: str, limit: int | None, **more: Any) -> Entitled:
    given: dict[str, Any] = {
        "id": id, "entity_type": EntitlementOwner.PLAN, "entity_id": "plan_1", "feature_id": "feat_1",
        "feature_type": FeatureType.METERED, "meter_id": "meter_1", "usage_limit": limit,
    }  # fmt: skip
    return Entitled(**{**given, **more})


ADDON: dict[str, Any] = {"entity_type": EntitlementOwner.ADDON, "entity_id": "addon_1"}
OWN: dict[str, Any] = {"entity_type": EntitlementOwner.SUBSCRIPTION, "entity_id": "subs_1"}


class TestEntitlements:
    @pytest.mark.parametrize(
        ("given_", "limit"),
        [
            pytest.param(
                [entitled("e1", 1000), entitled("e2", 500, **ADDON, association_id="a"),
                 entitled("e2", 500, **ADDON, association_id="b")],
                2000,
                id="an addon attached twice counts twice",
            ),
            pytest.param(
                [entitled("e1", 1000), entitled("e3", 5000, **OWN, parent_entitlement_id="e1"),
                 entitled("e2", 500, **ADDON, association_id="a")],
                5500,
                id="an override takes the place of its parent",
            ),
            pytest.param(
                [entitled("e1", None), entitled("e2", 500, **ADDON, association_id="a")],
                None,
                id="unlimited plus anything is unlimited",
            ),
            pytest.param(
                [entitled("e1", 1000), entitled("e2", 500, **ADDON, association_id="a", end_date=APRIL.start)],
                1000,
                id="an addon that ended before the period counts no more",
            ),
            pytest.param(
                [entitled("e1", 1000),
                 entitled("e3", 548, **OWN, parent_entitlement_id="e1", end_date=at("2026-04-01"))],
                1000,
                id="an override for an earlier period leaves this one alone",
            ),
        ],
    )  # fmt: skip
    def test_limits(self, given_: list[Entitled], limit: int | None) -> None:
        found = effective(given_, APRIL)["feat_1"]
        assert found.limit == limit
        assert by_meter(given_, APRIL)["meter_1"] == found

    def test_a_disabled_override_takes_the_feature_away(self) -> None:
        off = entitled("e3", 0, **OWN, parent_entitlement_id="e1", is_enabled=False)
        assert effective([entitled("e1", 1000), off], APRIL) == {}

    def test_a_tie_of_resets_is_the_subscriptions(self) -> None:
        daily = entitled("e3", 1, **OWN, usage_reset_period=UsageResetPeriod.DAILY)
        weekly = entitled("e1", 1, usage_reset_period=UsageResetPeriod.WEEKLY)
        reset = effective([weekly, daily], APRIL)["feat_1"].reset
        assert reset is not None
        assert reset.value == "DAILY"

    @given(limits=st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
    @settings(max_examples=50)
    def test_limits_add_up(self, limits: list[int]) -> None:
        sources = [entitled(f"e{n}", limit, **ADDON, association_id=str(n)) for n, limit in enumerate(limits)]
        assert effective(sources, APRIL)["feat_1"].limit == sum(limits)


class TestPairing:
    def test_alike_is_carried_with_its_quantity(self) -> None:
        seats = item("a", "10", quantity=Decimal(5))
        target = item("t", "10", entity_id="plan_2", price_id="price_2")
        planned = planned_change(subscription(seats), [target], at("2026-04-11"))
        ((was, becomes),) = planned.carried
        assert (was.id, becomes.price_id, becomes.entity_id) == ("a", "price_2", "plan_2")
        assert becomes.quantity == 5
        assert (planned.closing, planned.opening, planned.change_type) == ((), (), "lateral")

    def test_each_target_is_paired_once(self) -> None:
        planned = planned_change(subscription(item("a", "10"), item("b", "10")), [item("t", "10")], at("2026-04-11"))
        assert [was.id for was, _ in planned.carried] == ["a"]
        assert [item.id for item in planned.closing] == ["b"]
        assert planned.change_type == "downgrade"

    @given(before=st.lists(st.integers(0, 5), max_size=6), after=st.lists(st.integers(0, 5), max_size=6))
    @settings(max_examples=100)
    def test_every_item_is_carried_closed_or_opened_exactly_once(self, before: list[int], after: list[int]) -> None:
        present = [item(f"a{n}", str(amount)) for n, amount in enumerate(before)]
        target = [item(f"t{n}", str(amount)) for n, amount in enumerate(after)]
        planned = planned_change(subscription(*present), target, at("2026-04-11"))
        assert sorted([was.id for was, _ in planned.carried] + [item.id for item in planned.closing]) == sorted(
            item.id for item in present
        )
        assert sorted([now.price_id for _, now in planned.carried] + [item.price_id for item in planned.opening]) == (
            sorted(item.price_id for item in target)
        )
        difference = sum(after) - sum(before)
        assert planned.change_type == ("upgrade" if difference > 0 else "downgrade" if difference else "lateral")


class TestQuantities:
    @pytest.mark.parametrize(
        ("wanted", "because"),
        [
            pytest.param(QuantityWanted("x", Decimal(2)), "not a fixed line item", id="another's item"),
            pytest.param(QuantityWanted("usage", Decimal(2)), "not a fixed line item", id="usage is metered"),
            pytest.param(QuantityWanted("seats", Decimal(2)), "at least 3", id="below the price's minimum"),
            pytest.param(
                QuantityWanted("seats", Decimal(5), at("2026-04-25")), "life of the line item", id="after its end"
            ),
        ],
    )
    def test_refused(self, wanted: QuantityWanted, because: str) -> None:
        seats = item("seats", "10", quantity=Decimal(4), min_quantity=Decimal(3), end=at("2026-04-20"))
        usage = item("usage", "1", price_type=PriceType.USAGE, meter_id="meter_1", quantity=Decimal(0))
        with pytest.raises(ValidationFailed, match=because):
            planned_quantities(subscription(seats, usage), [wanted], at("2026-04-11"))

    def test_only_active_subscriptions(self) -> None:
        trialing = subscription(item("a", "1"), status=SubscriptionStatus.TRIALING)
        with pytest.raises(InvalidOperation):
            planned_quantities(trialing, [QuantityWanted("a", Decimal(2))], at("2026-04-11"))


class TestClosing:
    def test_what_was_to_end_anyway_gives_nothing_back(self) -> None:
        items = [
            item("open", "1"),
            item("bounded", "1", end=at("2026-04-20")),
            item("with-it", "1", end=at("2027-01-01")),
            item("over", "1", end=at("2026-04-05")),
            item("to-come", "1", start=at("2026-04-15")),
        ]
        found = closing(subscription(*items, end=at("2027-01-01")), at("2026-04-11"))
        assert [change.before.id for change in found if change.before] == ["open", "with-it"]


class TestPeriods:
    @pytest.mark.parametrize(
        ("period", "count", "expected"),
        [
            (BillingPeriod.MONTHLY, 1, False),
            (BillingPeriod.MONTHLY, 2, True),
            (BillingPeriod.QUARTERLY, 1, True),
            (BillingPeriod.ANNUAL, 1, True),
            (BillingPeriod.WEEKLY, 9, False),
        ],
    )
    def test_longer_than_monthly(self, period: BillingPeriod, count: int, expected: bool) -> None:
        assert longer(period, count, Recurrence(BillingPeriod.MONTHLY, APRIL.start)) is expected

    def test_items_charged_once_mix_nothing(self) -> None:
        once = item("once", "1", billing_period=BillingPeriod.ONETIME)
        monthly = Recurrence(BillingPeriod.MONTHLY, APRIL.start)
        assert not mixes_periods([item("a", "1"), once], monthly)
        assert mixes_periods([replace(once, billing_period=BillingPeriod.ANNUAL)], monthly)
