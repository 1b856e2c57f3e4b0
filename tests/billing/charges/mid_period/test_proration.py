"""What changes in mid-period are worth: the worked examples, and that nobody gets back more than they paid."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.billing.calculation.proration import CreditPart, Proration, Served, prorated
from farthing.calendar.billing import BillingPeriod
from farthing.calendar.period import Period
from farthing.core.money import decimals, plain
from farthing.rating.pricing.price import RatedPrice, Tier, TierMode
from farthing.subscriptions.enums import ProrationBehavior
from farthing.subscriptions.item_changes import ItemAction, ItemChange
from farthing.subscriptions.snapshot.values import LineItemSnapshot
from tests.billing.values import at, item, span, subscription

APRIL = span("2026-04-01", "2026-05-01")
MARCH_2024 = span("2024-03-01", "2024-04-01")


def _net(done: Proration) -> Decimal:
    return done.charge - done.credit


def _invoiced_and_owed(done: Proration, rates_of_credits: frozenset[str] = frozenset()) -> tuple[Decimal, Decimal]:
    """What is invoiced for charges without tax, and what is owed to the payer of credits that carry certain rates."""
    changes = (replace(change, parts=(CreditPart(change.credit, rates_of_credits),)) for change in done.changes)
    proration = Proration(tuple(changes))
    netting = proration.netting()
    return sum((amount for _, amount in proration.charged(netting)), Decimal(0)), netting.amount_owed


def _added(amount: str, on: str, period: Period = APRIL, currency: str = "usd", zone: str = "UTC") -> Proration:
    new = item(amount, start=on, currency=currency)
    return prorated(
        subscription(period, currency=currency, zone=zone), [ItemChange(ItemAction.ADD, at(on), after=new)], {}
    )


@pytest.mark.parametrize(
    ("on", "charge"),
    [
        pytest.param("2026-04-01", "20", id="P1 the whole month"),
        pytest.param("2026-04-11", "13.33", id="P1 two thirds"),
        pytest.param("2026-04-21", "6.67", id="P1 one third"),
        pytest.param("2026-04-30", "0.67", id="P1 one day"),
    ],
)
def test_p1_an_item_added_in_april(on: str, charge: str) -> None:
    assert plain(_net(_added("20", on))) == charge


@pytest.mark.parametrize(
    ("amount", "on", "period", "currency", "charge"),
    [
        pytest.param("99", "2026-04-16T12:00", APRIL, "usd", "47.85", id="P2 at noon"),
        pytest.param("45", "2026-02-15", span("2026-02-01", "2026-03-01"), "usd", "22.5", id="P10 28 days"),
        pytest.param("45", "2024-02-15", span("2024-02-01", "2024-03-01"), "usd", "23.28", id="P10 29 days"),
        pytest.param(
            "100",
            "2026-03-16T04:00",
            span("2026-03-01T05:00", "2026-04-01T04:00"),
            "usd",
            "51.68",
            id="P12 a month of 743 hours",
        ),
        pytest.param("1000", "2026-04-11", APRIL, "jpy", "667", id="P13 yen have no decimals"),
        pytest.param("25", "2024-03-15", MARCH_2024, "usd", "13.71", id="P16 an item of 25"),
    ],
)
def test_an_item_added(amount: str, on: str, period: Period, currency: str, charge: str) -> None:
    assert plain(_net(_added(amount, on, period, currency))) == charge


def _changed(
    before: LineItemSnapshot, after: LineItemSnapshot | None, on: str, period: Period, **how: object
) -> Proration:
    action = how.pop("action", ItemAction.QUANTITY)
    assert isinstance(action, ItemAction)
    served = {before.id: Served(Decimal(str(how.pop("paid", "0"))), Decimal(str(how.pop("credited", "0"))))}
    return prorated(subscription(period, before), [ItemChange(action, at(on), before, after)], served)


@pytest.mark.parametrize(
    ("old", "new", "credit", "charge", "net"),
    [
        pytest.param("5", "10", "33.33", "66.67", "33.34", id="P3 sides are rounded before they are netted"),
        pytest.param("10", "4", "66.67", "26.67", "-40", id="P4 fewer seats are credited"),
    ],
)
def test_seats_at_ten_dollars_on_april_11(old: str, new: str, credit: str, charge: str, net: str) -> None:
    before = item("10", old, start="2026-04-01")
    done = _changed(
        before,
        replace(before, id="new", quantity=Decimal(new), start=at("2026-04-11")),
        "2026-04-11",
        APRIL,
        paid=10 * Decimal(old),
    )
    assert (plain(done.credit), plain(done.charge), plain(_net(done))) == (credit, charge, net)


@pytest.mark.parametrize(
    ("paid", "credited", "credit"),
    [
        pytest.param("20", "0", "13.33", id="P5 what was paid and not had"),
        pytest.param("5", "0", "3.33", id="P6 what was paid net of discount"),
        pytest.param("20", "8", "12", id="P7 less what was given back before"),
        pytest.param("0", "0", "0", id="never invoiced, nothing to give back"),
    ],
)
def test_an_item_removed(paid: str, credited: str, credit: str) -> None:
    before = item("20", start="2026-04-01")
    done = _changed(before, None, "2026-04-11", APRIL, action=ItemAction.REMOVE, paid=paid, credited=credited)
    assert plain(done.credit) == credit


def test_p8_a_quarter_is_prorated_over_itself() -> None:
    before = item("60", start="2026-02-01", period=BillingPeriod.QUARTERLY)
    snapshot = subscription(APRIL, before, start="2026-01-01")
    change = ItemChange(ItemAction.REMOVE, at("2026-04-11"), before)
    assert plain(prorated(snapshot, [change], {"item": Served(Decimal(60))}).credit) == "13.48"


def test_p9_another_plan_is_one_net() -> None:
    old, new = item("20", start="2026-04-01", id="old"), item("50", start="2026-04-11", id="new")
    changes = [
        ItemChange(ItemAction.REMOVE, at("2026-04-11"), before=old),
        ItemChange(ItemAction.ADD, at("2026-04-11"), after=new),
    ]
    done = prorated(subscription(APRIL, old, new), changes, {"old": Served(Decimal(20))})
    assert (plain(done.credit), plain(done.charge), plain(_net(done))) == ("13.33", "33.33", "20")
    assert _invoiced_and_owed(done) == (Decimal(20), 0)


def test_p11_a_year() -> None:
    before = item("1200", start="2026-01-01", period=BillingPeriod.ANNUAL)
    year = subscription(span("2026-01-01", "2027-01-01"), before, period=BillingPeriod.ANNUAL)
    change = ItemChange(ItemAction.REMOVE, at("2026-07-01"), before)
    assert plain(prorated(year, [change], {"item": Served(Decimal(1200))}).credit) == "604.93"


@pytest.mark.parametrize(
    ("old", "new", "paid", "net"),
    [
        pytest.param(("10", "1"), ("20", "1"), "10", "5.49", id="P14 upgrade"),
        pytest.param(("50", "2"), ("30", "1"), "100", "-38.39", id="P15 downgrade"),
    ],
)
def test_upgrades_and_downgrades(old: tuple[str, str], new: tuple[str, str], paid: str, net: str) -> None:
    before = item(*old, start="2024-03-01")
    after = item(*new, start="2024-03-15", id="new")
    done = _changed(before, after, "2024-03-15", MARCH_2024, action=ItemAction.REPRICE, paid=paid)
    assert plain(_net(done)) == net


def test_p16_removed_and_more_seats() -> None:
    seats = item("10", "5", start="2024-03-01")
    more = _changed(
        seats,
        replace(seats, id="new", quantity=Decimal(10), start=at("2024-03-15")),
        "2024-03-15",
        MARCH_2024,
        paid="50",
    )
    gone = item("40", start="2024-03-01")
    less = _changed(gone, None, "2024-03-15", MARCH_2024, action=ItemAction.REMOVE, paid="40")
    assert (plain(_net(more)), plain(_net(less))) == ("27.42", "-21.94")


def test_tiers_are_prorated_by_their_cost_and_not_by_a_unit_amount() -> None:
    tiers = RatedPrice.tiered(TierMode.SLAB, [Tier(Decimal(10), Decimal(3)), Tier(None, Decimal(1))])
    new = item("0", "20", start="2026-04-16", price=tiers)
    done = prorated(subscription(APRIL), [ItemChange(ItemAction.ADD, at("2026-04-16"), after=new)], {})
    assert plain(_net(done)) == "20"  # half of 30 + 10


@pytest.mark.parametrize(
    ("old", "new", "net"),
    [
        pytest.param("5", "10", "66.67", id="more seats are charged whole where nothing was paid for the others"),
        pytest.param("10", "4", "26.67", id="so are fewer"),
    ],
)
def test_seats_that_were_never_charged(old: str, new: str, net: str) -> None:
    before = item("10", quantity=old, start="2026-04-01")
    after = replace(before, id="new", quantity=Decimal(new), start=at("2026-04-11"))
    assert plain(_net(_changed(before, after, "2026-04-11", APRIL))) == net


def test_a_fee_on_a_draft_settles_nothing() -> None:
    before = item("20", start="2026-04-01")
    after = replace(before, id="new", quantity=Decimal(3), start=at("2026-04-11"))
    change = ItemChange(ItemAction.QUANTITY, at("2026-04-11"), before, after)
    assert prorated(subscription(APRIL, before), [change], {"item": Served(only_drafted=True)}).changes == ()


def test_a_stub_that_was_charged_in_part_is_credited_in_part() -> None:
    stub = span("2026-01-15", "2026-02-01")
    before = item("100", start="2026-01-15")
    snapshot = subscription(stub, before, anchor="2026-02-01", proration=ProrationBehavior.CREATE_PRORATIONS)
    change = ItemChange(ItemAction.REMOVE, at("2026-01-15"), before)
    assert plain(prorated(snapshot, [change], {"item": Served(Decimal("54.84"))}).credit) == "54.84"


amounts = st.decimals(min_value=0, max_value=10_000, places=2)


@settings(max_examples=150)
@given(old=amounts, new=amounts, paid=amounts, credited=amounts, minutes=st.integers(0, 30 * 24 * 60 - 1))
def test_credits_stay_within_what_was_paid_and_charges_within_the_price(
    old: Decimal, new: Decimal, paid: Decimal, credited: Decimal, minutes: int
) -> None:
    moment = APRIL.start + timedelta(minutes=minutes)
    before, after = item(str(old), start="2026-04-01"), item(str(new), start="2026-04-01", id="new")
    change = ItemChange(ItemAction.REPRICE, moment, before, replace(after, start=moment))
    done = prorated(subscription(APRIL, before), [change], {"item": Served(paid, credited)})
    assert 0 <= done.credit <= max(paid - credited, Decimal(0))
    assert 0 <= done.charge <= new
    assert max(decimals(done.credit), decimals(done.charge)) <= 2
    assert _invoiced_and_owed(done) == (max(_net(done), 0), max(-_net(done), 0))
    assert _invoiced_and_owed(done, frozenset({"another tax"})) == (done.charge, done.credit)
