"""The state table of payments, as data and over HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import InvalidOperation
from farthing.invoices.receivable import PaymentStatus
from farthing.payments.states import BY_SYSTEM, PAYMENT, SETTLING, may_move_by_system
from tests.payments.till import Till

STATES = st.sampled_from(PaymentStatus)
WRITTEN = {
    "INITIATED": "INITIATED PENDING PROCESSING SUCCEEDED OVERPAID FAILED",
    "PENDING": "PENDING PROCESSING SUCCEEDED OVERPAID FAILED",
    "PROCESSING": "PROCESSING SUCCEEDED OVERPAID FAILED",
    "SUCCEEDED": "SUCCEEDED OVERPAID REFUNDED PARTIALLY_REFUNDED VOIDED",
    "OVERPAID": "OVERPAID REFUNDED PARTIALLY_REFUNDED",
    "PARTIALLY_REFUNDED": "PARTIALLY_REFUNDED REFUNDED",
    "FAILED": "FAILED",
    "REFUNDED": "REFUNDED",
    "VOIDED": "VOIDED",
}


def test_the_table_is_the_written_one() -> None:
    assert {at.value: {to.value for to in tos} for at, tos in PAYMENT.moves.items()} == {
        at: set(tos.split()) for at, tos in WRITTEN.items()
    }


@given(at=STATES, to=STATES)
def test_a_refused_move_names_both_states_and_what_is_allowed(at: PaymentStatus, to: PaymentStatus) -> None:
    if to.value in WRITTEN[at.value].split():
        PAYMENT.check(at, to)
        return
    with pytest.raises(InvalidOperation) as refusal:
        PAYMENT.check(at, to)
    assert refusal.value.details["current_status"] == at.value
    assert set(refusal.value.details["allowed_statuses"]) == set(WRITTEN[at.value].split())


@given(path=st.lists(STATES, max_size=8), start=STATES)
def test_money_that_was_taken_only_leaves_by_being_voided(start: PaymentStatus, path: list[PaymentStatus]) -> None:
    at, settled = start, start in SETTLING
    for to in path:
        if PAYMENT.allows(at, to):
            at = to
            settled = settled or at in SETTLING
    if settled:
        assert at in SETTLING or at is PaymentStatus.VOIDED


@given(at=STATES, to=STATES)
def test_the_system_may_do_all_that_callers_may_and_its_own_moves_no_caller(
    at: PaymentStatus, to: PaymentStatus
) -> None:
    assert may_move_by_system(at, to) >= PAYMENT.allows(at, to)
    if BY_SYSTEM.allows(at, to):
        assert not PAYMENT.allows(at, to)


@pytest.mark.parametrize("at", ["INITIATED", "PENDING", "PROCESSING", "SUCCEEDED", "FAILED", "OVERPAID", "REFUNDED"])
async def test_put_follows_the_table_and_settles_as_it_says(till: Till, at: str) -> None:
    reached = {"OVERPAID": ["SUCCEEDED", "OVERPAID"], "REFUNDED": ["SUCCEEDED", "REFUNDED"]}.get(at, [at])
    for to in PaymentStatus:
        invoice = await till.invoice()
        payment = await till.account.post(
            "/payments", till.order(invoice, payment_method_type="CARD", process_payment=False)
        )
        for step in reached:
            await till.account.put(f"/payments/{payment['id']}", {"payment_status": step})
        allowed = to.value in WRITTEN[at].split()
        answer = await till.account.put(
            f"/payments/{payment['id']}", {"payment_status": to.value}, 200 if allowed else 400
        )
        if not allowed:
            assert answer["code"] == "invalid_operation"
            assert answer["details"]["current_status"] == at
            assert set(answer["details"]["allowed_statuses"]) == set(WRITTEN[at].split())
        stands = to.value if allowed else at
        _, paid, _ = await till.standing(invoice)
        assert paid == ("100" if PaymentStatus(stands) in SETTLING else "0")
        assert await till.settled(invoice) == (100 if PaymentStatus(stands) in SETTLING else 0)
