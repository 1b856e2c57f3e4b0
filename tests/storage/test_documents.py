"""Stored terms: their version is written, an older one becomes today's on purpose, a later one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from farthing.invoices.figures.terms import CouponTerm, coupons_on, stored, taxes_on
from farthing.rating.totals.discounts import CouponType
from farthing.storage.documents import Document, decode, decode_all, encode
from farthing.subscriptions.changes.planned_terms import (
    PlannedChangeInPlace,
    PlannedReplacement,
    StoredTimeBucket,
    planned_change,
    planned_end,
    shown_configuration,
)
from farthing.subscriptions.enums import AddonPolicy

COUPON = {"coupon_id": "c", "type": "fixed", "off": "5"}
REPLACEMENT = {"target_plan_id": "p", "billing_period": "MONTHLY", "proration_behavior": "none"}


class Rate(Document, frozen=True, kw_only=True):
    """A rate in per mille; version 1 gave it in percent."""

    stored_version: ClassVar[int] = 2
    first_version: ClassVar[int] = 1

    per_mille: int

    @classmethod
    def upgraded(cls, version: int, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"per_mille": fields["percent"] * 10} if version == 1 else super().upgraded(version, fields)


def test_the_version_is_written() -> None:
    assert encode(Rate(per_mille=190)) == {"version": 2, "per_mille": 190}
    assert stored([CouponTerm(coupon_id="c", type=CouponType.FIXED, off="5")]) == [{"version": 1, **COUPON}]


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"version": 2, "per_mille": 190}, id="today's form"),
        pytest.param({"version": 1, "percent": 19}, id="the form before"),
        pytest.param({"percent": 19}, id="what was stored before versions were written"),
    ],
)
def test_each_form_is_read_as_todays(kept: Mapping[str, Any]) -> None:
    assert decode(Rate, kept) == Rate(per_mille=190)


@pytest.mark.parametrize("version", [0, 3])
def test_a_form_that_nobody_knows_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match=f"Rate of version {version}"):
        decode(Rate, {"version": version, "per_mille": 190})


def test_terms_of_invoices_from_before_versions_are_read() -> None:
    assert coupons_on([COUPON]) == coupons_on([{"version": 1, **COUPON}])
    (tax,) = taxes_on([{"tax_rate_id": "t", "type": "percentage", "value": "19"}])
    assert (tax.value, tax.code) == ("19", "")


def test_times_of_day_from_before_versions_are_read() -> None:
    kept = {
        "id": "b",
        "start": {"hour": 8, "minute": 30},
        "end": {"hour": 24, "minute": 0},
        "price_id": "p",
        "commitment_type": "amount",
        "commitment_value": "10",
        "overage_factor": "1.25",
        "true_up_enabled": True,
    }
    (bucket,) = decode_all(StoredTimeBucket, [kept])
    assert (bucket.start.minutes, bucket.end.minutes, str(bucket.factor)) == (510, 1440, "1.25")
    assert encode(bucket) == {"version": 1, **kept}


def test_the_version_of_a_plan_change_says_which_of_two_it_is() -> None:
    assert isinstance(planned_change(REPLACEMENT), PlannedReplacement)
    assert planned_change(encode(planned_change(REPLACEMENT))) == planned_change(REPLACEMENT)
    in_place = planned_change(
        {"version": 2, "target_plan_id": "p", "entity_policies": {"addons": {"overrides": {"a": "drop"}}}}
    )
    assert isinstance(in_place, PlannedChangeInPlace)
    assert in_place.addon_policies == (AddonPolicy.CARRY, {"a": AddonPolicy.DROP})


def test_the_wire_shows_the_version_of_a_change_in_place_alone() -> None:
    assert "version" not in shown_configuration(encode(planned_change(REPLACEMENT)))
    assert shown_configuration({"version": 2, "target_plan_id": "p"}) == {"version": 2, "target_plan_id": "p"}


def test_a_planned_end_from_before_versions_is_read() -> None:
    end = planned_end({"cancellation_type": "immediate", "original_end_date": "2026-05-01T00:00:00Z"})
    assert (end.original_end_date, end.original_cancel_at_period_end) == ("2026-05-01T00:00:00Z", False)
