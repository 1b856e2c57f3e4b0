"""When a coupon may be used, how often, and which attached coupons discount a period."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from farthing.calendar.period import Period
from farthing.catalogue.discounts.attaching import Attachment, attach, attached_during
from farthing.catalogue.discounts.redeeming import coupons_for, discount_of, redeemable_coupons
from farthing.core.errors import InvalidOperation, NotFound, ValidationFailed
from farthing.rating.totals import discounts as rating
from tests.account import Account

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FIXED = {"name": "Ten off", "type": "fixed", "cadence": "forever", "amount_off": "10", "currency": "usd"}
HALF = {"name": "Half", "type": "percentage", "cadence": "forever", "percentage_off": "50"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def coupon(account: Account, kind: dict[str, Any] = FIXED, **change: Any) -> str:
    made: str = (await account.post("/coupons", {**kind, **change}))["id"]
    return made


async def redemptions(account: Account, coupon_id: str) -> int:
    count: int = (await account.get(f"/coupons/{coupon_id}"))["total_redemptions"]
    return count


@pytest.mark.parametrize(
    ("change", "currency", "code"),
    [
        pytest.param({}, "usd", None, id="a plain coupon may be redeemed"),
        pytest.param({"redeem_after": "2025-01-15T12:00:00Z"}, "usd", None, id="the window opens at its first moment"),
        pytest.param({"redeem_before": "2025-01-15T12:00:00Z"}, "usd", None, id="the last moment still counts"),
        pytest.param({"redeem_after": "2025-01-15T12:00:01Z"}, "usd", "COUPON_NOT_ACTIVE", id="it is too early"),
        pytest.param({"redeem_before": "2025-01-15T11:59:59Z"}, "usd", "COUPON_EXPIRED", id="it is too late"),
        pytest.param({}, "eur", "CURRENCY_MISMATCH", id="ten dollars are not ten euros"),
        pytest.param(
            {"redeem_before": "2025-01-01T00:00:00Z"},
            "eur",
            "COUPON_EXPIRED",
            id="the window is told before the currency",
        ),
    ],
)
async def test_window_and_currency(account: Account, change: dict[str, Any], currency: str, code: str | None) -> None:
    coupon_id = await coupon(account, **change)
    if code is None:
        async with account.transaction() as session:
            assert [coupon.id for coupon in await coupons_for(session, [coupon_id], currency, NOON)] == [coupon_id]
        assert await redemptions(account, coupon_id) == 1
        return
    with pytest.raises(InvalidOperation) as refused:
        async with account.transaction() as session:
            await coupons_for(session, [coupon_id], currency, NOON)
    assert refused.value.details["code"] == code
    assert await redemptions(account, coupon_id) == 0


async def test_a_percentage_goes_with_any_currency(account: Account) -> None:
    coupon_id = await coupon(account, HALF)
    async with account.transaction() as session:
        (found,) = await coupons_for(session, [coupon_id], "jpy", NOON)
    assert discount_of(found) == rating.Coupon(coupon_id, rating.CouponType.PERCENTAGE, Decimal("50.0000"))


async def test_coupons_come_in_the_order_asked_for_and_count_once_per_mention(account: Account) -> None:
    first, second = await coupon(account), await coupon(account, HALF)
    async with account.transaction() as session:
        found = await coupons_for(session, [second, first, second], "usd", NOON)
    assert [coupon.id for coupon in found] == [second, first, second]
    assert (await redemptions(account, first), await redemptions(account, second)) == (1, 2)
    assert discount_of(found[1], "line").target == "line"


async def test_a_preview_counts_nothing_and_may_be_read_only(account: Account) -> None:
    coupon_id = await coupon(account)
    async with account.transaction(read_only=True) as session:
        assert len(await redeemable_coupons(session, [coupon_id], "usd", NOON)) == 1
    assert await redemptions(account, coupon_id) == 0


async def test_unknown_foreign_and_archived_coupons(account: Account, stranger: Account) -> None:
    foreign, archived = await coupon(stranger), await coupon(account)
    await account.delete(f"/coupons/{archived}", expect=200)
    async with account.transaction() as session:
        for unknown in ("coupon_none", foreign):
            with pytest.raises(NotFound):
                await coupons_for(session, [unknown], "usd", NOON)
        with pytest.raises(InvalidOperation) as refused:
            await coupons_for(session, [archived], "usd", NOON)
    assert refused.value.details["code"] == "COUPON_NOT_PUBLISHED"


async def test_the_last_redemption_is_given_to_one_of_many(account: Account) -> None:
    coupon_id = await coupon(account, max_redemptions=3)

    async def take() -> str:
        try:
            async with account.transaction() as session:
                await coupons_for(session, [coupon_id], "usd", NOON)
        except InvalidOperation as refused:
            return str(refused.details["code"])
        return "redeemed"

    outcomes = await asyncio.gather(*(take() for _ in range(10)))
    assert sorted(outcomes) == ["REDEMPTION_LIMIT_REACHED"] * 7 + ["redeemed"] * 3
    assert await redemptions(account, coupon_id) == 3


async def test_two_callers_with_the_same_coupons_in_opposite_order_do_not_wait_for_each_other(account: Account) -> None:
    ids = [await coupon(account), await coupon(account, HALF)]

    async def take(order: list[str]) -> None:
        async with account.transaction() as session:
            await coupons_for(session, order, "usd", NOON)

    await asyncio.gather(*(take(ids if n % 2 else ids[::-1]) for n in range(10)))
    assert [await redemptions(account, coupon) for coupon in ids] == [10, 10]


def months(n: int) -> datetime:
    """n months after 15 January 2025."""
    return datetime(2025, 1 + n, 15, tzinfo=UTC)


def attachment(**change: Any) -> Attachment:
    start = at("2025-01-15")
    return Attachment(
        **{"subscription_id": "subs_1", "currency": "usd", "start": start, "after_periods": months, **change}
    )


async def test_a_repeated_coupon_ends_a_second_before_its_last_period_does(account: Account) -> None:
    coupon_id = await coupon(account, cadence="repeated", duration_in_periods=3)
    async with account.transaction() as session:
        made = await attach(session, coupon_id, attachment(), NOON)
    seen = await account.get(f"/coupons/associations/{made.id}", expand="coupon")
    assert (seen["start_date"], seen["end_date"]) == ("2025-01-15T00:00:00Z", "2025-04-14T23:59:59Z")
    assert seen["coupon"]["total_redemptions"] == 1


@pytest.mark.parametrize(
    ("kind", "applied", "code"),
    [
        pytest.param({"cadence": "once"}, 0, None, id="a once coupon may be attached"),
        pytest.param({"cadence": "once"}, 1, "ONCE_CADENCE_VIOLATION", id="not again after it has discounted"),
        pytest.param({"cadence": "repeated", "duration_in_periods": 2}, 1, None, id="a period of two is left"),
        pytest.param(
            {"cadence": "repeated", "duration_in_periods": 2}, 2, "REPEATED_CADENCE_LIMIT_REACHED", id="both are used"
        ),
        pytest.param({"cadence": "forever"}, 99, None, id="forever is forever"),
    ],
)
async def test_cadence_is_checked_when_attaching(
    account: Account, kind: dict[str, Any], applied: int, code: str | None
) -> None:
    coupon_id = await coupon(account, **kind)
    if code is None:
        async with account.transaction() as session:
            await attach(session, coupon_id, attachment(applied_invoices=applied), NOON)
        return
    with pytest.raises(InvalidOperation) as refused:
        async with account.transaction() as session:
            await attach(session, coupon_id, attachment(applied_invoices=applied), NOON)
    assert refused.value.details["code"] == code
    assert await redemptions(account, coupon_id) == 0


async def test_an_end_that_is_not_after_the_start_is_refused(account: Account) -> None:
    coupon_id = await coupon(account)
    async with account.transaction() as session:
        with pytest.raises(ValidationFailed):
            await attach(session, coupon_id, attachment(end=at("2025-01-15")), NOON)


@pytest.mark.parametrize(
    ("start", "end", "applies"),
    [
        pytest.param("2025-01-15", None, True, id="without an end it applies"),
        pytest.param("2025-02-28T23:59:59", None, True, id="starting in the last second it applies"),
        pytest.param("2025-03-01", None, False, id="starting at the period's end it does not"),
        pytest.param("2025-01-01", "2025-02-01", False, id="ending at the period's start it does not"),
        pytest.param("2025-01-01", "2025-02-01T00:00:01", True, id="ending a second later it does"),
    ],
)
async def test_an_association_discounts_the_periods_it_overlaps(
    account: Account, start: str, end: str | None, applies: bool
) -> None:
    coupon_id = await coupon(account)
    to = attachment(start=at(start), end=at(end) if end else None)
    async with account.transaction() as session:
        await attach(session, coupon_id, to, NOON)
        found = await attached_during(session, ["subs_1", "subs_2"], Period(at("2025-02-01"), at("2025-03-01")))
    assert [applied.coupon.id for applied in found["subs_1"]] == ([coupon_id] if applies else [])
    assert found["subs_2"] == []


async def test_an_archived_coupon_runs_on_where_it_is_attached_and_order_is_that_of_attaching(account: Account) -> None:
    first, second = await coupon(account, HALF), await coupon(account)
    for coupon_id in (first, second):
        async with account.transaction() as session:
            await attach(session, coupon_id, attachment(), NOON)
    await account.delete(f"/coupons/{first}", expect=200)
    async with account.transaction() as session:
        found = await attached_during(session, ["subs_1"], Period(NOON, NOON + DAY))
    assert [applied.coupon.id for applied in found["subs_1"]] == [first, second]


async def test_associations_are_listed(account: Account, stranger: Account) -> None:
    await account.freeze(NOON)
    coupon_id = await coupon(account)
    ids = {}
    attached: dict[str, dict[str, Any]] = {
        "running": {},
        "over": {"start": at("2024-01-01"), "end": at("2024-02-01")},
        "line": {"subscription_id": "subs_2", "line_item_id": "subs_line_1", "phase_id": "phase_1"},
    }
    for name, change in attached.items():
        async with account.transaction() as session:
            ids[name] = (await attach(session, coupon_id, attachment(**change), NOON)).id

    async def listed(**query: Any) -> set[str]:
        page = await account.get("/coupons/associations", **query)
        assert page["pagination"]["total"] == len(page["items"])
        return {name for name, id_of_coupon in ids.items() if id_of_coupon in [item["id"] for item in page["items"]]}

    assert await listed() == {"running", "over", "line"}
    assert await listed(subscription_ids="subs_1,subs_3") == {"running", "over"}
    assert await listed(subscription_line_item_ids="subs_line_1") == {"line"}
    assert await listed(subscription_phase_ids="phase_1") == {"line"}
    assert await listed(active_only="true") == {"running", "line"}
    assert await listed(active_only="true", period_start="2024-01-10T00:00:00Z", period_end="2024-01-20T00:00:00Z") == {
        "over"
    }
    assert (await account.get("/coupons/associations", limit=1))["pagination"] == {"total": 3, "limit": 1, "offset": 1}
    line = await account.get(f"/coupons/associations/{ids['line']}", expand="coupon,subscription_line_items.prices")
    assert (line["subscription_line_item_id"], line["coupon"]["id"]) == ("subs_line_1", coupon_id)
    assert (await stranger.get("/coupons/associations"))["items"] == []
    await stranger.get(f"/coupons/associations/{ids['line']}", expect=404)
    await account.get("/coupons/associations", expand="invoice", expect=400)
    await account.get("/coupons/associations", coupon_ids=",".join(f"c{n}" for n in range(101)), expect=400)
    await account.get(
        "/coupons/associations", period_start="2024-02-01T00:00:00Z", period_end="2024-01-01T00:00:00Z", expect=400
    )

    sdk = account.sdk()
    found = await sdk.coupon_associations.list_coupon_associations_async(subscription_ids=["subs_1"], expand="coupon")
    assert {association.coupon.name for association in found.items or [] if association.coupon} == {"Ten off"}
    assert (await sdk.coupon_associations.get_coupon_association_async(id=ids["over"])).subscription_id == "subs_1"
