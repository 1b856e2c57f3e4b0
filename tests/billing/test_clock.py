"""Test clocks: a year of billing in a moment, the same as a year of waiting."""

from __future__ import annotations

from tests.account import Account
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def _move(account: Account, to: str | None, expect: int = 200) -> dict[str, object]:
    path = f"/environments/{account.environment_id}/clock"
    answer: dict[str, object] = await account.post(path, {"frozen_time": to}, expect=expect)
    return answer


async def test_a_year_passes_period_by_period(office: Office) -> None:
    await office.settings(compute_delay_seconds=900, finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for month in range(1, 13):
        await office.used("calls", customer, month, f"2026-{month:02}-15")
    answer = await _move(office.account, "2027-01-01T03:00:00Z")
    assert answer["frozen_time"] == "2027-01-01T03:00:00Z"
    assert answer["progress"]["finished"] is True  # type: ignore[index]
    totals = await office.totals(subscription)
    assert totals == ["50.00", *(f"{50 + month * 0.02:.2f}" for month in range(1, 13))]
    invoices = await office.invoices(subscription)
    assert {str(invoice.invoice_status) for invoice in invoices} == {"FINALIZED"}
    # each became a claim when its time had come, not when the clock stopped
    finalized = [invoice.finalized_at for invoice in invoices[1:]]
    assert [at.month for at in finalized if at is not None] == [*range(2, 13), 1]
    events = await office.account.get(f"/subscriptions/{subscription.id}")
    assert events["current_period_start"] == "2027-01-01T00:00:00Z"


async def test_the_clock_does_not_go_back(office: Office) -> None:
    await office.subscribed(await office.plan(fixed("50")))
    await _move(office.account, "2026-01-15T00:00:00Z")
    refused = await _move(office.account, "2026-01-14T00:00:00Z", expect=400)
    assert "a clock does not go back" in str(refused)


async def test_null_lets_it_run_again(office: Office) -> None:
    answer = await _move(office.account, None)
    assert "frozen_time" not in answer
    read = await office.account.get(f"/environments/{office.account.environment_id}/clock")
    assert "frozen_time" not in read


async def test_a_stranger_cannot_move_it(office: Office, stranger: Account) -> None:
    path = f"/environments/{office.account.environment_id}/clock"
    await stranger.post(path, {"frozen_time": "2030-01-01T00:00:00Z"}, expect=404)


async def test_a_trial_ends_when_the_clock_passes_it(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("30")), trial_period_days=14)
    await _move(office.account, "2026-01-16T00:00:00Z")
    assert await office.billed(subscription) == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-15..02-15", "30.00"),
    ]
