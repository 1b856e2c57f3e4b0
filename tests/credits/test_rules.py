"""The rules of credits: worked numbers as tables, and properties against a model that thinks credit by credit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.credits.rules.bonus import BonusDurationUnit, BonusKind, Slab, bonus_for
from farthing.credits.rules.conversion import credits_for, value_of
from farthing.credits.rules.lots import (
    Lot,
    opened_with,
    plan_debit,
    plan_everything,
    plan_manual_debit,
    usable_credits,
)

NOW = datetime(2026, 2, 10, tzinfo=UTC)


def day(month: int, number: int) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


def lot(
    id: str,
    credits: str,
    priority: int | None = None,
    expiry: datetime | None = None,
    available: str | None = None,
    valid_from: datetime | None = None,
    age: int = 0,
) -> Lot:
    left = Decimal(available if available is not None else credits)
    return Lot(id, Decimal(credits), left, NOW - timedelta(days=age), priority, expiry, valid_from)


@pytest.mark.parametrize(
    ("lots", "need", "expected"),
    [
        pytest.param([lot("1", "100"), lot("2", "50")], "30", {"1": "30"}, id="the larger lot first"),
        pytest.param(
            [lot("1", "100", available="70"), lot("2", "50")],
            "120",
            {"1": "70", "2": "50"},
            id="the larger lot, then the smaller one",
        ),
        pytest.param(
            [
                lot("A", "50"),
                lot("B", "30", 3),
                lot("C", "40", 1),
                lot("D", "20", 2),
                lot("E", "60", 1, datetime(2036, 3, 1, tzinfo=UTC)),
            ],
            "90",
            {"E": "60", "C": "30"},
            id="priority, then expiry",
        ),
        pytest.param(
            [
                lot("a", "50", 1, day(3, 1)),
                lot("b", "30", 1, day(3, 1)),
                lot("c", "100", 1, day(3, 15)),
                lot("d", "75", 2, day(2, 20)),
                lot("e", "200"),
            ],
            "150",
            {"a": "50", "b": "30", "c": "70"},
            id="priority beats expiry",
        ),
        pytest.param([lot("x", "20", expiry=NOW)], "5", {"x": "5"}, id="a lot that expires at this very instant"),
        pytest.param([lot("y", "9"), lot("x", "9")], "9", {"x": "9"}, id="equal lots by id"),
        pytest.param([lot("y", "9", age=2), lot("x", "9")], "9", {"y": "9"}, id="equal lots by age"),
        pytest.param([lot("a", "9", 0), lot("b", "9", -1)], "9", {"b": "9"}, id="a negative priority is lower"),
        pytest.param(
            [lot("a", "9", valid_from=NOW), lot("b", "5", valid_from=day(2, 9))],
            "5",
            {"b": "5"},
            id="a grant of the period that begins now does not pay for the one before",
        ),
        pytest.param([lot("a", "1.000000001")], "1.000000001", {"a": "1.000000001"}, id="to the last decimal"),
    ],
)
def test_lots_are_consumed_in_order(lots: list[Lot], need: str, expected: dict[str, str]) -> None:
    plan = plan_debit(lots, Decimal(need), NOW)
    assert [(part.lot_id, part.credits) for part in plan.consumptions] == [
        (id, Decimal(credits)) for id, credits in expected.items()
    ]
    assert plan.uncovered == 0


def test_a_manual_debit_takes_expired_lots_when_every_other_is_used_up() -> None:
    lots = [lot("old", "20", 1, NOW - timedelta(hours=1)), lot("new", "5")]
    assert plan_debit(lots, Decimal(8), NOW).uncovered == 3
    plan = plan_manual_debit(lots, Decimal(8), NOW)
    assert [(part.lot_id, part.credits) for part in plan.consumptions] == [("new", 5), ("old", 3)]
    assert plan_manual_debit(lots, Decimal(30), NOW).uncovered == 5


@pytest.mark.parametrize(
    ("amount", "rate", "expected"),
    [
        ("10", "2", "5"),
        ("80", "0.8", "100"),
        ("10", "3", "3.333333333"),
        ("33.33", "0.7", "47.614285714"),
        ("0.000000001", "2", "0.000000001"),
        ("1", "0.00001", "100000"),
        ("2", "3", "0.666666667"),
        ("100", "7.77777", "12.857155714"),
    ],
)
def test_currency_becomes_credits(amount: str, rate: str, expected: str) -> None:
    assert credits_for(Decimal(amount), Decimal(rate)) == Decimal(expected)


@pytest.mark.parametrize(
    ("credits", "rate", "expected"),
    [("5", "2", "10"), ("100", "0.8", "80"), ("0.333333333", "0.33333", "0.11111"), ("-30", "1.5", "-45")],
)
def test_credits_are_worth(credits: str, rate: str, expected: str) -> None:
    assert value_of(Decimal(credits), Decimal(rate)) == Decimal(expected)


@pytest.mark.parametrize(
    ("credits", "before", "left"),
    [("100", "-30", "70"), ("10", "-30", "0"), ("30", "-30", "0"), ("10", "0", "10"), ("10", "5", "10")],
)
def test_a_new_lot_first_repays_a_negative_balance(credits: str, before: str, left: str) -> None:
    assert opened_with(Decimal(credits), Decimal(before)) == Decimal(left)


SLABS = (
    Slab(Decimal(1000), BonusKind.PERCENTAGE, Decimal(15)),
    Slab(Decimal(500), BonusKind.PERCENTAGE, Decimal(10)),
    Slab(Decimal(100), BonusKind.FLAT, Decimal(5), 1, BonusDurationUnit.MONTH),
)


@pytest.mark.parametrize(
    ("credits", "bonus"),
    [("500", "50"), ("499", "5"), ("99", None), ("1000", "150"), ("100", "5"), ("999.999999999", "100"), ("1", None)],
)
def test_the_first_slab_that_is_reached_gives_the_bonus(credits: str, bonus: str | None) -> None:
    given_bonus = bonus_for(Decimal(credits), SLABS, NOW, None)
    assert (given_bonus.credits if given_bonus else None) == (Decimal(bonus) if bonus else None)


@pytest.mark.parametrize(
    ("now", "duration", "unit", "expiry"),
    [
        (datetime(2026, 1, 31, 5, tzinfo=UTC), 1, "MONTH", datetime(2026, 2, 28, 5, tzinfo=UTC)),
        (datetime(2024, 2, 29, tzinfo=UTC), 1, "YEAR", datetime(2025, 2, 28, tzinfo=UTC)),
        (day(2, 10), 2, "WEEK", day(2, 24)),
        (day(2, 10), 3, "DAY", day(2, 13)),
        (datetime(2026, 12, 31, tzinfo=UTC), 2, "MONTH", datetime(2027, 2, 28, tzinfo=UTC)),
    ],
)
def test_a_bonus_expires_at_a_day_that_exists(now: datetime, duration: int, unit: str, expiry: datetime) -> None:
    slabs = [Slab(Decimal(1), BonusKind.FLAT, Decimal(1), duration, BonusDurationUnit(unit))]
    bonus = bonus_for(Decimal(1), slabs, now, None)
    assert bonus is not None
    assert bonus.expiry == expiry
    pinned = bonus_for(Decimal(1), slabs, now, day(7, 1))
    assert pinned is not None
    assert pinned.expiry == day(7, 1)


moments = st.one_of(st.none(), st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days)))
few = st.integers(0, 6)


@st.composite
def books_of_lots(draw: st.DrawFn) -> list[Lot]:
    return [
        Lot(
            f"lot{number}",
            Decimal(credits := draw(st.integers(1, 6))),
            Decimal(draw(st.integers(0, credits))),
            NOW - timedelta(days=draw(st.integers(0, 2))),
            draw(st.one_of(st.none(), st.integers(0, 2))),
            draw(moments),
            draw(moments),
        )
        for number in range(draw(few))
    ]


def naive_debit(lots: list[Lot], need: int, *, manual: bool) -> tuple[dict[str, int], int]:
    """Take one credit at a time from the best lot that is there, by comparing lots pair by pair."""

    def usable(candidate: Lot) -> bool:
        expired = candidate.expiry is not None and candidate.expiry < NOW
        early = candidate.valid_from is not None and candidate.valid_from >= NOW
        return not expired and not early

    def before(one: Lot, other: Lot) -> bool:
        if one.priority != other.priority:
            return other.priority is None or (one.priority is not None and one.priority < other.priority)
        if one.expiry != other.expiry:
            return other.expiry is None or (one.expiry is not None and one.expiry < other.expiry)
        if one.credits != other.credits:
            return one.credits > other.credits
        if one.created_at != other.created_at:
            return one.created_at < other.created_at
        return one.id < other.id

    left = {candidate.id: int(candidate.available) for candidate in lots}
    taken: dict[str, int] = {}
    while need:
        pools = [[c for c in lots if left[c.id] and usable(c)]]
        if manual:
            pools.append([c for c in lots if left[c.id]])
        pool = next((pool for pool in pools if pool), None)
        if pool is None:
            break
        best = pool[0]
        for candidate in pool[1:]:
            if before(candidate, best):
                best = candidate
        left[best.id] -= 1
        taken[best.id] = taken.get(best.id, 0) + 1
        need -= 1
    return taken, need


@given(books_of_lots(), st.integers(0, 25), st.booleans())
def test_plans_are_those_of_a_naive_model(lots: list[Lot], need: int, manual: bool) -> None:
    plan = (plan_manual_debit if manual else plan_debit)(lots, Decimal(need), NOW)
    taken, uncovered = naive_debit(lots, need, manual=manual)
    assert [(part.lot_id, part.credits) for part in plan.consumptions] == list(taken.items())
    assert plan.uncovered == uncovered
    assert plan.covered + plan.uncovered == need
    assert usable_credits(lots, NOW) == sum(naive_debit(lots, 1_000, manual=False)[0].values())


@given(books_of_lots())
def test_everything_is_everything(lots: list[Lot]) -> None:
    plan = plan_everything(lots)
    assert plan.covered == sum(candidate.available for candidate in lots)
    assert plan.uncovered == 0
