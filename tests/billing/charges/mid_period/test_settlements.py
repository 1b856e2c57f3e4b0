"""What changes in mid-period cost and give back, through the engine, measured against what was invoiced."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from farthing.billing.changes.prepaid_fees import FeeTransfer, Settled, fee_balances
from farthing.core.money import plain
from tests.billing.counter import Body, cancel, coupon, credited, do, drop, open_items, opened, percent, read, seats
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def april(office: Office, *prices: dict[str, Any], quantity: int = 1, **more: Any) -> tuple[Body, list[Body]]:
    """A subscription from the first of April, with the items of its plan."""
    await office.on(more.pop("on", "2026-04-01"))
    plan = await office.plan(*prices)
    if quantity != 1:
        more["override_line_items"] = [{"price_id": price["id"], "quantity": str(quantity)} for price in plan["prices"]]
    made = await opened(office, plan, **more)
    return made, made["line_items"]


class TestCredits:
    async def test_p5_what_was_paid_and_not_had(self, office: Office) -> None:
        _, (item,) = await april(office, fixed("20"))
        await office.on("2026-04-11")
        await drop(office, item)
        assert await credited(office) == ["13.33"]

    async def test_p6_unused_time_is_worth_what_was_paid_net_of_discount(self, office: Office) -> None:
        await coupon(office, "fifteen", type="fixed", amount_off="15", currency="usd", cadence="once")
        _, (item,) = await april(office, fixed("20"), subscription_coupons=[{"coupon_code": "fifteen"}])
        await office.on("2026-04-11")
        await drop(office, item)
        assert await credited(office) == ["3.33"]

    async def test_p7_less_what_was_given_back_before(self, office: Office) -> None:
        """20 were invoiced, 8 given back when the price fell; of the fee that is left 12 could be."""
        made, (item,) = await april(office, fixed("20"))
        await office.account.put(
            f"/subscriptions/lineitems/{item['id']}", {"amount": "12", "proration_behavior": "create_prorations"}
        )
        (cheaper,) = await open_items(office, made)
        await drop(office, cheaper)
        assert await credited(office) == ["8", "12"]

    async def test_p8_a_quarter_is_measured_over_itself(self, office: Office) -> None:
        made, _ = await april(office, fixed("1", **ARREAR), on="2026-02-01")
        item = await office.account.post(
            f"/subscriptions/{made['id']}/lineitems",
            {"price": fixed("60", billing_period="QUARTERLY"), "proration_behavior": "create_prorations"},
        )
        assert "60.00" in await office.totals()
        await office.run("2026-04-01")
        await office.on("2026-04-11")
        await drop(office, item)
        assert (await credited(office))[-1] == "13.48"

    async def test_never_invoiced_nothing_given_back(self, office: Office) -> None:
        made, _ = await april(office, fixed("10"))
        await office.on("2026-04-05")
        item = await office.account.post(f"/subscriptions/{made['id']}/lineitems", {"price": fixed("20")})
        await office.on("2026-04-11")
        await drop(office, item)
        assert await credited(office) == ["0"]

    async def test_an_ended_item_gives_nothing_twice(self, office: Office) -> None:
        _, (item,) = await april(office, fixed("20"))
        await office.on("2026-04-11")
        await drop(office, item, effective_from="2026-04-21T00:00:00Z")
        assert await credited(office) == ["6.67"]
        await drop(office, item)
        await drop(office, item, expect=400)
        assert await credited(office) == ["6.67"]

    async def test_arrears_and_usage_are_never_settled(self, office: Office) -> None:
        calls = await office.feature("calls")
        _, items = await april(office, fixed("20", **ARREAR), office.usage(calls, "1"))
        await office.on("2026-04-11")
        for item in items:
            await drop(office, item)
        assert await credited(office) == []

    @pytest.mark.parametrize(
        ("price", "on", "removed", "credit"),
        [
            pytest.param(fixed("45"), "2026-02-01", "2026-02-15", "22.5", id="P10 28 days"),
            pytest.param(fixed("45"), "2024-02-01", "2024-02-15", "23.28", id="P10 29 days"),
            pytest.param(fixed("1200", billing_period="ANNUAL"), "2026-01-01", "2026-07-01", "604.93", id="P11 a year"),
            pytest.param(fixed("1000", currency="jpy"), "2026-04-01", "2026-04-11", "667", id="P13 yen"),
            pytest.param(fixed("40"), "2024-03-01", "2024-03-15", "21.94", id="P16 removed"),
        ],
    )
    async def test_by_elapsed_time(self, office: Office, price: Body, on: str, removed: str, credit: str) -> None:
        period = {"billing_period": price["billing_period"], "currency": price["currency"]}
        _, (item,) = await april(office, price, on=on, **period)
        await office.on(removed)
        await drop(office, item)
        assert await credited(office) == [credit]

    async def test_p12_a_month_of_743_hours(self, office: Office) -> None:
        await office.on("2026-03-01T05:00")
        customer = await office.customer(timezone="America/New_York")
        made = await opened(office, await office.plan(fixed("100")), customer)
        assert made["current_period_end"] == "2026-04-01T04:00:00Z"
        await office.on("2026-03-16T04:00")
        await drop(office, made["line_items"][0])
        assert await credited(office) == ["51.68"]


class TestDifferences:
    async def test_p14_and_p15_a_version_with_another_price(self, office: Office) -> None:
        up, (item,) = await april(office, fixed("10"), on="2024-03-01")
        down, (other,) = await april(office, fixed("50"), quantity=2, on="2024-03-01")
        await office.on("2024-03-15")
        changed = {"proration_behavior": "create_prorations"}
        await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "20", **changed})
        assert (await office.totals())[-1] == "5.49"
        await office.account.put(f"/subscriptions/lineitems/{other['id']}", {"amount": "15", **changed})
        assert await credited(office) == ["0", "38.39"]
        assert [subscription["subscription_status"] for subscription in (up, down)] == ["active", "active"]

    async def test_p16_more_seats_and_one_item_more(self, office: Office) -> None:
        made, (item,) = await april(office, fixed("10"), quantity=5, on="2024-03-01")
        await office.on("2024-03-15")
        await seats(office, made, item, 10)
        added = {"price": fixed("25"), "proration_behavior": "create_prorations"}
        await office.account.post(f"/subscriptions/{made['id']}/lineitems", added)
        assert (await office.totals())[1:] == ["27.42", "13.71"]

    async def test_what_paid_for_few_seats_is_worth_as_much_when_more_are_given_up(self, office: Office) -> None:
        """5 seats at 10, then 10 on the 11th, then none: all that was not had comes back, not the difference alone."""
        made, (item,) = await april(office, fixed("10"), quantity=5)
        await office.on("2026-04-11")
        await seats(office, made, item, 10)
        (more,) = await open_items(office, made)
        await office.on("2026-04-21")
        await drop(office, more)
        assert await office.totals() == ["50.00", "33.34"]
        assert await credited(office) == ["0", "33.33"]

    async def test_fewer_seats_keep_their_worth(self, office: Office) -> None:
        made, (item,) = await april(office, fixed("10"), quantity=10)
        await office.on("2026-04-11")
        await seats(office, made, item, 4)
        (fewer,) = await open_items(office, made)
        await office.on("2026-04-21")
        await drop(office, fewer)
        assert await credited(office) == ["40", "13.33"]

    async def test_seats_that_were_free_give_nothing_back(self, office: Office) -> None:
        await percent(office, "gift", "100")
        made, (item,) = await april(office, fixed("10"), quantity=10, subscription_coupons=[{"coupon_code": "gift"}])
        assert made["latest_invoice"]["total"] == "0"
        await office.on("2026-04-11")
        await seats(office, made, item, 4)
        assert await credited(office) == ["0"]

    async def test_a_plan_change_settled_by_credit_is_worth_its_price(self, office: Office) -> None:
        """From 20 to 50 on the 11th, cancelled at once: 33.33 were paid for, though 20 were invoiced."""
        made, _ = await april(office, fixed("20"))
        target = await office.plan(fixed("50"), name="Large")
        await office.on("2026-04-11")
        change = {"target_plan_id": target["id"], "proration_behavior": "create_prorations"}
        await do(office, made, "change/v2/execute", change)
        done = await cancel(office, made, proration_behavior="create_prorations")
        assert await office.totals() == ["20.00", "20.00"]
        assert done["total_credit_amount"] == "33.33"

    async def test_a_settlement_that_was_voided_is_worth_nothing(self, office: Office) -> None:
        made, (item,) = await april(office, fixed("10"), quantity=5)
        await office.on("2026-04-11")
        done = await seats(office, made, item, 10)
        (told,) = done["changed_resources"]["invoices"]
        await office.account.post(f"/invoices/{told['id']}/void", {}, 200)
        await cancel(office, made, proration_behavior="create_prorations")
        assert await credited(office) == ["0", "33.33"]


class TestDrafts:
    """While the invoice that charges the fee is a draft nothing is settled: it is computed with what there is then."""

    async def draft(self, office: Office, quantity: int = 5) -> tuple[Body, Body]:
        made, (item,) = await april(office, fixed("10"), quantity=quantity, on="2026-03-01")
        await office.settings(finalization_delay_seconds=7200)
        await office.run("2026-04-01")
        await office.on("2026-04-01T01:00")
        return made, item

    async def closed(self, office: Office) -> list[str]:
        await office.run("2026-04-01T03:00")
        return [plain(invoice.total) for invoice in await office.invoices()]

    async def test_more_seats_twice(self, office: Office) -> None:
        made, item = await self.draft(office)
        await seats(office, made, item, 10)
        (more,) = await open_items(office, made)
        await office.on("2026-04-01T02:00")
        await seats(office, made, more, 20)
        # 50 for 1 of 720 hours, 100 for another, 200 for 718
        assert await self.closed(office) == ["50", "199.65"]
        assert await credited(office) == []

    async def test_an_item_added_and_one_ended(self, office: Office) -> None:
        made, item = await self.draft(office)
        added = {"price": fixed("720"), "proration_behavior": "create_prorations"}
        await office.account.post(f"/subscriptions/{made['id']}/lineitems", added)
        await drop(office, item)
        # 50 for 1 hour of 720, and 720 for 719
        assert await self.closed(office) == ["50", "719.07"]
        assert await credited(office) == []

    async def test_before_it_was_computed(self, office: Office) -> None:
        await office.settings(compute_delay_seconds=7200)
        made, item = await self.draft(office)
        await seats(office, made, item, 10)
        assert await self.closed(office) == ["50", "99.93"]

    async def test_another_plan(self, office: Office) -> None:
        made, _ = await self.draft(office, quantity=1)
        target = await office.plan(fixed("720"), name="Large")
        change = {"target_plan_id": target["id"], "proration_behavior": "create_prorations"}
        await do(office, made, "change/v2/execute", change)
        assert await self.closed(office) == ["10", "719.01"]

    async def test_its_claims_are_settled_again(self, office: Office) -> None:
        made, item = await self.draft(office)
        await seats(office, made, item, 10)
        await self.closed(office)
        (more,) = await open_items(office, made)
        await office.on("2026-04-16")
        await drop(office, more)
        assert await credited(office) == ["50"]


Step = tuple[int, str, int]
"""(hours until it, what, how many)"""
steps = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from(["seats", "price", "drop"]), st.integers(1, 30)),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(
    max_examples=12,
    # an example is a life of a subscription over HTTP: its seeds are fixed, and none is worth shrinking for minutes
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
)
@given(steps=steps, off=st.sampled_from(["0", "35", "100"]), price=st.sampled_from(["10", "7.77", "0.01"]))
async def test_never_more_given_back_than_was_invoiced(office: Office, steps: list[Step], off: str, price: str) -> None:
    """And, without a discount, what was invoiced less what was given back is what was had, to a cent per change."""
    code = f"off-{office.customers}"
    if off != "0":
        await percent(office, code, off)
    coupons = [] if off == "0" else [{"coupon_code": code}]
    made, (item,) = await april(office, fixed(price), quantity=5, subscription_coupons=coupons)
    hours, rate, count, had = 0, Decimal(price), 5, Fraction(0)
    done = 0
    for wait, what, number in steps:
        passed = min(hours + wait, 719)
        had += Fraction(rate * count) * Fraction(passed - hours, 720)
        hours = passed
        await office.on(f"2026-04-{1 + hours // 24:02}T{hours % 24:02}:00")
        if what == "seats":
            await seats(office, made, item, number)
            count = number
        elif what == "price":
            body = {"amount": str(number), "proration_behavior": "create_prorations"}
            await office.account.put(f"/subscriptions/lineitems/{item['id']}", body)
            rate = Decimal(number)
        else:
            await drop(office, item)
            rate = Decimal(0)
        done += 1
        still = await open_items(office, made)
        if not still:
            break
        (item,) = still
    had += Fraction(rate * count) * Fraction(720 - hours, 720)
    mine = [invoice for invoice in await office.invoices() if invoice.subscription_id == made["id"]]
    back = sum((Decimal(amount) for amount in await credited(office, made)), Decimal(0))
    invoiced = sum((invoice.total for invoice in mine), Decimal(0))
    assert 0 <= back <= invoiced
    if off == "0":
        assert abs(Fraction(invoiced - back) - had) <= Fraction(2 * done, 100)
    await cancel(office, await read(office, made))


names = st.sampled_from(["a", "b", "c", "d"])
money = st.decimals(min_value=0, max_value=1000, places=2)


@st.composite
def moves(draw: st.DrawFn) -> FeeTransfer:
    credit = draw(money)
    given_back = draw(st.decimals(min_value=0, max_value=credit, places=2))
    return FeeTransfer(draw(st.none() | names), draw(st.none() | names), credit, draw(money), given_back)


@given(
    invoiced=st.dictionaries(names, money),
    settled=st.lists(st.builds(Settled, st.lists(moves(), max_size=3).map(tuple), money), max_size=4),
)
def test_nothing_stands_behind_a_fee_that_nobody_was_asked_for(
    invoiced: dict[str, Decimal], settled: list[Settled]
) -> None:
    found = fee_balances(invoiced, settled)
    assert all(fee.left >= 0 for fee in found.values())
    asked = sum(invoiced.values(), Decimal(0)) + sum((settlement.invoiced for settlement in settled), Decimal(0))
    assert sum((fee.left for fee in found.values()), Decimal(0)) <= asked
