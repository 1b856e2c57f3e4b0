from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.billing import (
    BillingCycle,
    BillingPeriod,
    InvoiceCadence,
    Recurrence,
    next_billing_date,
    periods_from,
)
from farthing.calendar.period import Period
from farthing.calendar.recurring import (
    UsageReset,
    closes_window,
    commitment_window,
    item_period_for,
    reset_windows,
    shift_for_pause,
    trial_days,
    trial_window,
)
from farthing.calendar.zones import zone
from farthing.core.errors import ValidationFailed

MONTHLY, QUARTERLY, HALF_YEARLY, ANNUAL = (
    BillingPeriod.MONTHLY,
    BillingPeriod.QUARTERLY,
    BillingPeriod.HALF_YEARLY,
    BillingPeriod.ANNUAL,
)
ADVANCE, ARREAR = InvoiceCadence.ADVANCE, InvoiceCadence.ARREAR


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(start: str, end: str) -> Period:
    return Period(at(start), at(end))


def cycle_amounts(start: str, months: int, *items: tuple[BillingPeriod, InvoiceCadence, int]) -> list[int]:
    """What each monthly invoice charges for items of several lengths: arrears of its month, advances of the next."""
    began, monthly = at(start), Recurrence(MONTHLY, at(start))
    amounts = []
    for window, following in pairwise(islice(periods_from(began, monthly), months + 1)):
        charged = 0
        for period, cadence, price in items:
            due = following if cadence is ADVANCE else window
            charged += price if item_period_for(began, Recurrence(period, began), due, cadence) else 0
        amounts.append(charged)
    return amounts


def test_longer_items_in_arrear_are_charged_when_their_own_period_ends() -> None:
    """I2: monthly 10, quarterly 100, half-yearly 200."""
    amounts = cycle_amounts(
        "2026-01-01", 12, (MONTHLY, ARREAR, 10), (QUARTERLY, ARREAR, 100), (HALF_YEARLY, ARREAR, 200)
    )
    assert amounts == [10, 10, 110, 10, 10, 310, 10, 10, 110, 10, 10, 310]


def test_longer_items_in_advance_are_charged_when_their_own_period_begins() -> None:
    """I3: monthly 20 and annual 2400 in advance, quarterly 150 in arrear; the opening invoice has 2420."""
    items = ((MONTHLY, ADVANCE, 20), (QUARTERLY, ARREAR, 150), (ANNUAL, ADVANCE, 2400))
    amounts = cycle_amounts("2026-01-01", 12, *items)
    assert (amounts[0], amounts[2], amounts[11]) == (20, 170, 2570)
    opening = span("2026-01-01", "2026-02-01")
    annual = item_period_for(opening.start, Recurrence(ANNUAL, opening.start), opening, ADVANCE)
    assert annual == span("2026-01-01", "2027-01-01")


def test_a_quarter_from_the_fifteenth_is_charged_on_the_fifteenth() -> None:
    """I4: monthly 10 and quarterly 100 in arrear."""
    assert cycle_amounts("2026-01-15", 4, (MONTHLY, ARREAR, 10), (QUARTERLY, ARREAR, 100)) == [10, 10, 110, 10]


def test_a_quarter_belongs_to_the_month_in_which_it_ends() -> None:
    """I5."""
    start, quarterly = at("2024-01-01"), Recurrence(QUARTERLY, at("2024-01-01"))
    assert item_period_for(start, quarterly, span("2024-03-01", "2024-04-01"), ARREAR) == span(
        "2024-01-01", "2024-04-01"
    )
    assert item_period_for(start, quarterly, span("2024-04-01", "2024-05-01"), ARREAR) is None


MARCH = span("2026-03-01", "2026-04-01")


@pytest.mark.parametrize(
    ("reset", "span_", "expected"),
    [
        pytest.param(None, MARCH, [MARCH], id="no reset period is the billing period"),
        pytest.param(
            UsageReset.MONTHLY,
            span("2026-03-10", "2026-03-20"),
            [MARCH],
            id="the billing period's own kind is the billing period",
        ),
        pytest.param(
            UsageReset.DAILY,
            span("2026-03-10T12:00Z", "2026-03-12"),
            [span("2026-03-10", "2026-03-11"), span("2026-03-11", "2026-03-12")],
            id="local days",
        ),
        pytest.param(
            UsageReset.WEEKLY,
            span("2026-03-10", "2026-03-17"),
            [span("2026-03-09", "2026-03-16"), span("2026-03-16", "2026-03-23")],
            id="local weeks from Monday",
        ),
        pytest.param(
            UsageReset.QUARTERLY,
            MARCH,
            [span("2026-02-01", "2026-05-01")],
            id="quarters from the start on the anchor",
        ),
        pytest.param(UsageReset.ANNUAL, MARCH, [span("2026-02-01", "2027-02-01")], id="years from the first anchor"),
        pytest.param(
            UsageReset.NEVER, MARCH, [span("2026-01-15", "2026-04-01")], id="never: from the start of the subscription"
        ),
    ],
)
def test_reset_windows(reset: UsageReset | None, span_: Period, expected: list[Period]) -> None:
    assert reset_windows(reset, MARCH, Recurrence(MONTHLY, at("2026-02-01")), at("2026-01-15"), span_) == expected


def test_monthly_resets_tile_a_longer_billing_period_on_the_anchors_clock() -> None:
    quarterly = Recurrence(QUARTERLY, at("2026-01-31T10:30Z"), zone("Europe/Berlin"))
    billing = Period(quarterly.anchor, next_billing_date(quarterly.anchor, quarterly))
    found = reset_windows(UsageReset.MONTHLY, billing, quarterly, billing.start, billing)
    assert found[0].start == billing.start
    assert found[-1].end == billing.end
    assert [window.end for window in found] == [
        at("2026-02-28T10:30Z"),
        at("2026-03-31T09:30Z"),
        at("2026-04-30T09:30Z"),
    ]


def test_commitments_roll_every_duration_from_the_start() -> None:
    start = at("2025-01-10")
    assert commitment_window(start, ANNUAL, start) == span("2025-01-10", "2026-01-10")
    assert commitment_window(start, ANNUAL, at("2026-01-09T23:59:59Z")) == span("2025-01-10", "2026-01-10")
    assert commitment_window(start, ANNUAL, at("2026-01-10")) == span("2026-01-10", "2027-01-10")
    with pytest.raises(ValueError):
        commitment_window(start, ANNUAL, at("2025-01-09"))


def test_true_up_is_owed_by_the_invoice_that_reaches_the_end_of_the_window() -> None:
    """Whether billing boundaries meet the window's end or not, exactly one invoice of twelve closes it."""
    for anchor in ("2025-01-10", "2025-02-01"):
        start, monthly = at("2025-01-10"), Recurrence(MONTHLY, at(anchor))
        billed = list(islice(periods_from(start, monthly), 13))
        closing = [period for period in billed if closes_window(period, commitment_window(start, ANNUAL, period.start))]
        assert len(closing) == 1
        assert closing[0].start < at("2026-01-10") <= closing[0].end


def test_a_trial_of_fourteen_days() -> None:
    """T1: from January 10 to 24, then a paid month to February 24."""
    trial = trial_window(at("2026-01-10"), 14)
    assert trial == span("2026-01-10", "2026-01-24")
    assert next_billing_date(trial.end, Recurrence(MONTHLY, trial.end)) == at("2026-02-24")


def test_trial_days_are_calendar_days() -> None:
    assert trial_window(at("2026-03-01T05:00Z"), 14, zone("America/New_York")) == span(
        "2026-03-01T05:00Z", "2026-03-15T04:00Z"
    )
    assert trial_window(at("2026-01-10T10:00:00.250Z"), 1) == span("2026-01-10T10:00:00.250Z", "2026-01-11T10:00Z")
    assert trial_window(at("2026-01-10"), 0) is None


@pytest.mark.parametrize(
    ("requested", "prices", "expected"),
    [
        pytest.param(7, [14, 14], 7, id="the request wins"),
        pytest.param(0, [14], 0, id="a request of zero is no trial"),
        pytest.param(None, [14, 14], 14, id="what the prices agree on"),
        pytest.param(None, [], 0, id="no price, no trial"),
    ],
)
def test_trial_days(requested: int | None, prices: list[int], expected: int) -> None:
    assert trial_days(requested, prices) == expected


@pytest.mark.parametrize(("requested", "prices"), [(None, [7, 14]), (None, [0, 14]), (-1, [])])
def test_trial_days_that_disagree_or_run_backwards_are_refused(requested: int | None, prices: list[int]) -> None:
    with pytest.raises(ValidationFailed):
        trial_days(requested, prices)


APRIL = span("2026-04-01", "2026-05-01")


def test_a_pause_of_five_days_lengthens_the_period_and_moves_an_anniversary() -> None:
    """Z1."""
    period, anchor = shift_for_pause(
        APRIL, Recurrence(MONTHLY, APRIL.start), BillingCycle.ANNIVERSARY, at("2026-04-10"), at("2026-04-15")
    )
    assert period == span("2026-04-01", "2026-05-06")
    assert next_billing_date(period.end, Recurrence(MONTHLY, anchor)) == at("2026-06-06")


@pytest.mark.parametrize(
    ("anchor", "current", "paused", "end", "following"),
    [
        pytest.param("2026-02-15", "2026-03-15 2026-04-15", 20, "2026-05-05", "2026-06-05", id="February was shorter"),
        pytest.param("2026-04-29", "2026-04-29 2026-05-29", 5, "2026-06-03", "2026-07-03", id="over the end of May"),
        pytest.param("2026-01-15", "2026-03-15 2026-04-15", 20, "2026-05-05", "2026-06-05", id="April is shorter"),
        pytest.param("2026-01-31", "2026-01-31 2026-02-28", 1, "2026-03-01", "2026-04-01", id="a clamped boundary"),
        pytest.param("2026-01-15", "2026-04-15 2026-05-15", 20, "2026-06-04", "2026-07-04", id="months of one length"),
    ],
)
def test_the_period_after_a_pause_has_its_full_length(
    anchor: str, current: str, paused: int, end: str, following: str
) -> None:
    start, ends = current.split()
    began = at(start)
    period, moved = shift_for_pause(
        span(start, ends),
        Recurrence(MONTHLY, at(anchor)),
        BillingCycle.ANNIVERSARY,
        began,
        began + timedelta(days=paused),
    )
    assert period.end == at(end)
    assert next_billing_date(period.end, Recurrence(MONTHLY, moved)) == at(following)


def test_a_calendar_keeps_its_boundaries_through_a_pause() -> None:
    period, anchor = shift_for_pause(
        APRIL, Recurrence(MONTHLY, APRIL.start), BillingCycle.CALENDAR, at("2026-04-10"), at("2026-04-15")
    )
    assert (period.end, anchor) == (at("2026-05-06"), APRIL.start)
    assert next_billing_date(period.end, Recurrence(MONTHLY, anchor)) == at("2026-06-01")


def test_a_pause_that_had_not_begun_shifts_nothing() -> None:
    unchanged = shift_for_pause(
        APRIL, Recurrence(MONTHLY, APRIL.start), BillingCycle.ANNIVERSARY, at("2026-04-20"), at("2026-04-15")
    )
    assert unchanged == (APRIL, APRIL.start)


instants = st.datetimes(
    datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2035-01-01"), timezones=st.just(UTC)
)
tz = st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]).map(zone)
kinds = st.sampled_from([period for period in BillingPeriod if period is not BillingPeriod.ONETIME])


@settings(max_examples=150)
@given(
    start=instants, anchor=instants, kind=kinds, zone_=tz, reset=st.sampled_from(UsageReset), steps=st.integers(0, 20)
)
def test_reset_windows_tile_the_billing_period(
    *, start: datetime, anchor: datetime, kind: BillingPeriod, zone_: ZoneInfo, reset: UsageReset, steps: int
) -> None:
    recurrence = Recurrence(kind, anchor, zone_)
    billing = next(islice(periods_from(start, recurrence), steps, None))
    found = reset_windows(reset, billing, recurrence, start, billing)
    assert all(before.end == after.start for before, after in pairwise(found))
    assert found[0].start <= billing.start < found[0].end
    assert found[-1].start < billing.end <= found[-1].end


@settings(max_examples=100)
@given(instants, tz, st.sampled_from([QUARTERLY, HALF_YEARLY, ANNUAL]), st.sampled_from(list(InvoiceCadence)))
def test_every_item_period_is_charged_by_exactly_one_month(
    start: datetime, zone_: ZoneInfo, kind: BillingPeriod, cadence: InvoiceCadence
) -> None:
    item = Recurrence(kind, start, zone_)
    months = islice(periods_from(start, Recurrence(MONTHLY, start, zone_)), 36)
    charged = [found for month in months if (found := item_period_for(start, item, month, cadence))]
    expected = list(islice(periods_from(start, item), len(charged)))
    assert charged == expected
    assert len(charged) == 36 // {QUARTERLY: 3, HALF_YEARLY: 6, ANNUAL: 12}[kind]
    assert all(period.duration > timedelta(days=80) for period in charged)
