"""What a subscription's customer may use, from entitlements of its plan, addons and its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.calendar.period import Period
from farthing.catalogue.entitlements.effective import EffectiveEntitlement, effective_entitlements, summed_limit
from farthing.catalogue.entitlements.enums import (
    AggregationMode,
    EntitlementOwner,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
    UsageResetPeriod,
)
from farthing.catalogue.entitlements.grants import require_compatible
from farthing.catalogue.entitlements.overriding import overriding
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.products.enums import FeatureType
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed

JUNE = Period(datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC))
MONTHLY, DAILY, NEVER = UsageResetPeriod.MONTHLY, UsageResetPeriod.DAILY, UsageResetPeriod.NEVER


def one(id: str, owner: EntitlementOwner = EntitlementOwner.PLAN, **given: Any) -> Any:
    """A metered, enabled entitlement to feature f with a limit of 1000, but for what is given."""
    values = {
        "entity_type": owner,
        "entity_id": "owner",
        "feature_id": "f",
        "feature_type": FeatureType.METERED,
        "is_enabled": True,
        "usage_limit": 1000,
        "usage_reset_period": MONTHLY,
        "is_soft_limit": False,
        "static_value": "",
        "display_order": 0,
        "aggregation_mode": AggregationMode.ADDITIVE,
        "status": Status.PUBLISHED,
    }
    return Entitlement(id=id, **{**values, **given})


def addon(id: str, **given: Any) -> Any:
    return one(id, EntitlementOwner.ADDON, **{"usage_limit": 500, **given})


def own(id: str, **given: Any) -> Any:
    return one(id, EntitlementOwner.SUBSCRIPTION, **given)


def at(day: int, month: int = 6) -> datetime:
    return datetime(2025, month, day, tzinfo=UTC)


def only(
    plan: Sequence[Any] = (), addons: Sequence[Sequence[Any]] = (), subscription: Sequence[Any] = ()
) -> EffectiveEntitlement[Any]:
    (found,) = effective_entitlements(plan, addons, subscription, JUNE)
    return found


@pytest.mark.parametrize(
    ("plan", "addons", "subscription", "limit"),
    [
        pytest.param([one("a")], [], [], 1000, id="a plan alone"),
        pytest.param([one("a")], [[addon("b")], [addon("b")]], [], 2000, id="two instances of an addon count twice"),
        pytest.param(
            [one("a")],
            [[addon("b")]],
            [own("c", usage_limit=5000, parent_entitlement_id="a")],
            5500,
            id="a subscription's own stands in for the plan's, the addon adds to it",
        ),
        pytest.param([one("a", usage_limit=None)], [[addon("b")]], [], None, id="unlimited plus 500 is unlimited"),
        pytest.param([one("a", usage_limit=0)], [], [], 0, id="none is none, not unlimited"),
        pytest.param([one("a")], [], [own("c", usage_limit=1)], 1001, id="without a parent it adds"),
        pytest.param([one("a")], [[addon("b", is_enabled=False)]], [], 1000, id="a disabled one does not count"),
        pytest.param([one("a")], [[addon("b", status=Status.ARCHIVED)]], [], 1000, id="an archived one does not count"),
        pytest.param(
            [one("a")],
            [],
            [own("c", end_date=at(1), usage_limit=1)],
            1000,
            id="ended when the period starts: not in it",
        ),
        pytest.param(
            [one("a")],
            [],
            [own("c", end_date=at(2), usage_limit=1, parent_entitlement_id="a")],
            1,
            id="ended within the period: in it, though the invoice is computed later",
        ),
        pytest.param(
            [one("a")], [], [own("c", start_date=at(1, 7), usage_limit=1)], 1000, id="starting when the period ends"
        ),
    ],
)
def test_limits_add_up(
    plan: list[Entitlement], addons: list[list[Entitlement]], subscription: list[Entitlement], limit: int | None
) -> None:
    assert only(plan, addons, subscription).usage_limit == limit


def test_a_disabled_override_takes_the_feature_away() -> None:
    assert effective_entitlements([one("a")], [], [own("c", is_enabled=False, parent_entitlement_id="a")], JUNE) == []


def test_one_soft_limit_makes_it_soft() -> None:
    assert only([one("a")], [[addon("b", is_soft_limit=True)]]).is_soft_limit
    assert not only([one("a")], [[addon("b")]]).is_soft_limit


@pytest.mark.parametrize(
    ("plan", "addons", "subscription", "reset"),
    [
        pytest.param([one("a")], [[addon("b", usage_reset_period=DAILY)]] * 2, [], DAILY, id="the most frequent"),
        pytest.param([one("z")], [[addon("a", usage_reset_period=DAILY)]], [], MONTHLY, id="a tie: plan before addon"),
        pytest.param([one("a")], [], [own("z", usage_reset_period=NEVER)], NEVER, id="a tie: subscription before plan"),
        pytest.param(
            [],
            [[addon("b", usage_reset_period=DAILY)], [addon("a", usage_reset_period=NEVER)]],
            [],
            NEVER,
            id="a tie of two addons: the lowest id",
        ),
    ],
)
def test_the_reset_period_that_prevails(
    plan: list[Entitlement], addons: list[list[Entitlement]], subscription: list[Entitlement], reset: UsageResetPeriod
) -> None:
    assert only(plan, addons, subscription).usage_reset_period is reset


def test_other_types_of_features() -> None:
    static, config, boolean = FeatureType.STATIC, FeatureType.CONFIG, FeatureType.BOOLEAN
    found = effective_entitlements(
        [
            one("a", feature_id="s", feature_type=static, static_value="gold"),
            one("b", feature_id="c", feature_type=config, config_value={"x": 1}),
            one("c", feature_id="b", feature_type=boolean, is_enabled=False),
        ],
        [
            [
                addon("d", feature_id="s", feature_type=static, static_value="silver"),
                addon("e", feature_id="s", feature_type=static, static_value="gold"),
                addon("f", feature_id="c", feature_type=config, config_value={"x": 2}),
                addon("g", feature_id="b", feature_type=boolean),
            ]
        ],
        [],
        JUNE,
    )
    by_feature = {entitlement.feature_id: entitlement for entitlement in found}
    assert by_feature["s"].static_values == ("gold", "silver")
    assert by_feature["c"].config_values == ({"x": 1}, {"x": 2})
    assert [source.id for source in by_feature["b"].sources] == ["g"]
    assert by_feature["b"].usage_limit is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**12)), min_size=1))
def test_a_sum_is_unlimited_if_and_only_if_a_part_is(limits: list[int | None]) -> None:
    total = summed_limit(limits)
    assert (total is None) == (None in limits)
    assert total is None or total == sum(limit or 0 for limit in limits)


@given(st.permutations([("plan", 1), ("addon", 2), ("own", 3), ("addon", 4)]))
def test_order_does_not_change_a_limit(order: list[tuple[str, int]]) -> None:
    rows: dict[str, list[Entitlement]] = {"plan": [], "addon": [], "own": []}
    for kind, limit in order:
        rows[kind].append(one(f"{kind}{limit}", usage_limit=limit))
    assert only(rows["plan"], [rows["addon"]], rows["own"]).usage_limit == 10


GRANT: dict[str, Any] = {
    "grant_measure": GrantMeasure.QUANTITY,
    "grant_quota": 100,
    "grant_duration_unit": GrantDurationUnit.DAY,
    "grant_duration_value": 1,
    "grant_allocation_behavior": GrantAllocation.FIRST_USAGE,
}


def test_an_override_is_its_parent_but_for_what_it_says() -> None:
    parent = one("a", usage_reset_period=UsageResetPeriod.BILLING_PERIOD, is_soft_limit=True, **GRANT)
    made = overriding(parent, "subs_1", at(1), usage_limit=5)
    assert (made.usage_limit, made.parent_entitlement_id, made.start_date, made.end_date) == (5, "a", at(1), None)
    assert (made.usage_reset_period, made.is_soft_limit) == (UsageResetPeriod.BILLING_PERIOD, True)
    assert {name: getattr(made, name) for name in GRANT} == GRANT
    assert overriding(parent, "subs_1", at(1)).usage_limit == 1000
    assert overriding(parent, "subs_1", at(1), usage_limit=None).usage_limit is None
    assert overriding(parent, "subs_1", at(1), is_enabled=False).is_enabled is False


@pytest.mark.parametrize(
    ("parent", "change"),
    [
        pytest.param(addon("b"), {}, id="an addon's entitlement cannot be overridden"),
        pytest.param(one("a"), {"static_value": "x"}, id="a metered one has no text"),
        pytest.param(one("a"), {"config_value": {}}, id="a metered one has no values"),
        pytest.param(one("a", feature_type=FeatureType.BOOLEAN), {"usage_limit": 1}, id="a switch has no limit"),
        pytest.param(one("a", feature_type=FeatureType.BOOLEAN), {"usage_limit": None}, id="not even an unlimited one"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(parent: Entitlement, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed):
        overriding(parent, "subs_1", at(1), **change)


PARALLEL: dict[str, Any] = {**GRANT, "aggregation_mode": AggregationMode.PARALLEL}


@pytest.mark.parametrize(
    ("first", "second", "compatible"),
    [
        pytest.param({}, {}, True, id="two without grants"),
        pytest.param(GRANT, {**GRANT, "grant_quota": 7}, True, id="additive quotas of one duration"),
        pytest.param(GRANT, {**GRANT, "grant_duration_value": 2}, False, id="additive ones of different durations"),
        pytest.param(
            PARALLEL, {**PARALLEL, "grant_duration_value": 2}, True, id="parallel ones may differ in duration"
        ),
        pytest.param(PARALLEL, {**PARALLEL, "grant_measure": GrantMeasure.AMOUNT}, False, id="not in measure"),
        pytest.param(GRANT, PARALLEL, False, id="not in mode"),
        pytest.param({}, GRANT, False, id="not one with and one without a grant"),
    ],
)
def test_which_grants_stand_side_by_side(first: dict[str, Any], second: dict[str, Any], compatible: bool) -> None:
    pair = [one("a", **first), addon("b", **second)]
    if compatible:
        require_compatible(pair)
    else:
        with pytest.raises(ValidationFailed):
            require_compatible(pair)
