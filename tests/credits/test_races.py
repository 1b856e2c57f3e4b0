"""Thirty-two requests at once on each call that moves money: what one of them would have done is done, and no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.credits.notes.notebook import Notebook
from tests.invoices.desk import fixed, usage

AT_ONCE = 32
Body = dict[str, Any]


class Race:
    """One customer of an account, and requests that are sent at the same time."""

    def __init__(self, account: Account) -> None:
        self.account, self.notebook = account, Notebook(account)
        self.desk, self.till = LedgerDesk(account), self.notebook.till
        self.customer = ""

    async def begun(self, loaded: str = "100", **terms: Any) -> Body:
        """A wallet with credits, of a new customer."""
        self.customer = await self.desk.customer()
        return await self.desk.wallet(self.customer, loaded, **terms)

    async def invoice(self, amount: str = "100", **more: Any) -> Body:
        return await self.desk.billed(self.customer, [fixed(amount)], **more)

    async def run(self, path: str, body: Callable[[int], Body | None] = lambda number: {}) -> Counter[int]:
        """The statuses that all at once were answered with."""
        posts = [self.account.http.post(path, json=body(number)) for number in range(AT_ONCE)]
        return Counter(answer.status_code for answer in await asyncio.gather(*posts))

    async def require_sound(self) -> None:
        await self.desk.require_sound()
        assert await self.notebook.faults() == []


@pytest.fixture
def race(account: Account) -> Race:
    return Race(account)


async def top_ups(race: Race) -> None:
    wallet = await race.begun("0")
    body = {"transaction_reason": "PURCHASED_CREDIT_DIRECT", "bonus_credits_to_add": "1"}
    path = f"/wallets/{wallet['id']}/top-up"
    await race.run(path, lambda number: {**body, "credits_to_add": "10", "idempotency_key": f"{number % 8}"})
    assert await race.desk.balance(wallet) == "88"


async def debits(race: Race) -> None:
    wallet = await race.begun("10")
    body = {"credits": "1", "transaction_reason": "MANUAL_BALANCE_DEBIT"}
    await race.run(f"/wallets/{wallet['id']}/debit", lambda number: {**body, "idempotency_key": f"{number % 16}"})
    assert await race.desk.balance(wallet) == "-6"


async def terminations(race: Race) -> None:
    wallet = await race.begun()
    assert await race.run(f"/wallets/{wallet['id']}/terminate") == {200: 1, 400: 31}
    assert len(await race.desk.rows(wallet)) == 2


async def conversions(race: Race) -> None:
    wallet = await race.begun()
    answers = await race.run(f"/wallets/{wallet['id']}/modify", lambda _: {"modification_type": "prepaid_to_postpaid"})
    assert answers[200] == 1
    (after,) = await race.account.get(f"/customers/{race.customer}/wallets")
    assert (after["wallet_type"], after["credit_balance"]) == ("POST_PAID", "100")


async def freezes(race: Race) -> None:
    wallet = await race.begun()
    await race.run(f"/wallets/{wallet['id']}/freeze")
    await race.run(f"/wallets/{wallet['id']}/unfreeze")
    assert (await race.account.get(f"/wallets/{wallet['id']}"))["wallet_status"] == "active"


async def voided_lots(race: Race) -> None:
    wallet = await race.begun()
    (lot,) = await race.desk.rows(wallet)
    assert await race.run(f"/wallets/transactions/{lot['id']}/void") == {200: 32}
    assert [row["credit_amount"] for row in await race.desk.rows(wallet)] == ["100", "100"]


async def paid_purchases(race: Race) -> None:
    wallet = await race.begun("0")
    terms: dict[str, Any] = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "bonus_credits_to_add": "2"}
    bought = await race.desk.top_up(wallet, "32", **terms)
    invoice = await race.account.get(f"/invoices/{bought['invoice_id']}")
    await race.run("/payments", lambda number: {**race.till.order(invoice, "1"), "idempotency_key": f"{number}"})
    assert await race.desk.balance(wallet) == "34"


async def voided_and_paid_purchases(race: Race) -> None:
    wallet = await race.begun("0")
    bought = await race.desk.top_up(wallet, "10", transaction_reason="PURCHASED_CREDIT_INVOICED")
    invoice = await race.account.get(f"/invoices/{bought['invoice_id']}")
    voids = race.run(f"/invoices/{invoice['id']}/void")
    order = race.till.order(invoice, "10")
    paid, voided = await asyncio.gather(race.run("/payments", lambda _: {**order, "idempotency_key": "paid"}), voids)
    assert paid[500] == voided[500] == 0
    assert (voided[200] == 1) != (await race.desk.balance(wallet) == "10")


async def payments_by_wallet(race: Race) -> None:
    wallet = await race.begun("100", wallet_type="POST_PAID")
    invoice = await race.invoice("50")
    order = race.till.order(invoice, "3", payment_method_type="CREDITS")
    answers = await race.run("/payments", lambda number: {**order, "idempotency_key": f"{number}"})
    assert answers == {201: 16, 400: 16}
    assert await race.desk.balance(wallet) == "52"


async def adjusted_invoices(race: Race) -> None:
    wallet = await race.begun("100")
    orders = [race.desk.order(race.customer, [usage("7")], idempotency_key=f"{number}") for number in range(AT_ONCE)]
    await race.run("/invoices", lambda number: orders[number])
    assert await race.desk.balance(wallet) == "0"


async def voided_invoices(race: Race) -> None:
    wallet = await race.begun("30")
    invoice = await race.desk.billed(race.customer, [usage("50")])
    await race.till.pay(invoice, "20")
    assert await race.run(f"/invoices/{invoice['id']}/void") == {200: 1, 400: 31}
    assert await race.desk.balance(wallet) == "50"


async def notes(race: Race) -> None:
    await race.begun()
    invoice = await race.invoice("100")
    order = race.notebook.order(invoice, "7")
    answers = await race.run("/creditnotes", lambda number: {**order, "idempotency_key": f"{number}"})
    assert answers == {201: 14, 400: 18}


async def refunding_notes(race: Race) -> None:
    wallet = await race.begun("0")
    invoice = await race.invoice("100")
    await race.till.pay(invoice, "100")
    order = race.notebook.order(invoice, "7")
    answers = await race.run("/creditnotes", lambda number: {**order, "idempotency_key": f"{number}"})
    assert answers == {201: 14, 400: 18}
    assert await race.desk.balance(wallet) == "98"


async def finalized_notes(race: Race) -> None:
    wallet = await race.begun("0")
    invoice = await race.invoice("100")
    await race.till.pay(invoice, "100")
    note = await race.notebook.credit(invoice, "40", process_credit_note=False)
    assert await race.run(f"/creditnotes/{note['id']}/finalize") == {200: 1, 400: 31}
    assert await race.desk.balance(wallet) == "40"


async def voided_notes(race: Race) -> None:
    await race.begun()
    invoice = await race.invoice("100")
    note = await race.notebook.credit(invoice, "40")
    assert await race.run(f"/creditnotes/{note['id']}/void") == {200: 1, 400: 31}
    assert (await race.notebook.figures(invoice))["amount_remaining"] == "100"


async def moved_overpayments(race: Race) -> None:
    await race.begun()
    invoice = await race.invoice("100")
    await race.till.pay(invoice, "140")
    answers = await race.run(f"/invoices/{invoice['id']}/overpayment/move", lambda _: {"amount": "3"})
    assert answers == {200: 13, 400: 19}
    assert await race.notebook.unapplied(race.customer) == {"usd": "39"}


async def allocations(race: Race) -> None:
    await race.begun()
    invoices = [await race.invoice("10") for _ in range(4)]
    body = {"destination_type": "CUSTOMER", "destination_id": race.customer, "amount": "25", "currency": "usd"}
    await race.account.post("/payments", {**body, "payment_method_type": "OFFLINE", "process_payment": True})
    path = f"/customers/{race.customer}/unapplied-money/allocate"
    given = [[{"invoice_id": invoices[number % 4]["id"], "amount": "5"}] for number in range(AT_ONCE)]
    answers = await race.run(path, lambda number: {"currency": "usd", "allocations": given[number]})
    assert answers == {200: 5, 400: 27}


async def everything_at_once(race: Race) -> None:
    """Whatever wins, the books hold."""
    wallet = await race.begun("40", wallet_type="POST_PAID")
    prepaid = await race.desk.wallet(race.customer, "40")
    paid, unpaid = await race.invoice("60"), await race.invoice("60")
    await race.till.pay(paid, "60")
    dice, path = Random(7), f"/wallets/{wallet['id']}"
    requests: list[tuple[str, Body]] = []
    for number in range(AT_ONCE):
        key = {"idempotency_key": f"{number}"}
        requests.append(
            dice.choice(
                [
                    (f"{path}/debit", {"credits": "3", "transaction_reason": "MANUAL_BALANCE_DEBIT", **key}),
                    (f"{path}/top-up", {"credits_to_add": "2", "transaction_reason": "FREE_CREDIT_GRANT", **key}),
                    ("/payments", {**race.till.order(unpaid, "4", payment_method_type="CREDITS"), **key}),
                    ("/payments", {**race.till.order(unpaid, "5"), **key}),
                    ("/creditnotes", {**race.notebook.order(paid, "6"), **key}),
                    ("/creditnotes", {**race.notebook.order(unpaid, "6"), **key}),
                    ("/invoices", {**race.desk.order(race.customer, [usage("9")]), **key}),
                    (f"/invoices/{paid['id']}/void", {}),
                    (f"/wallets/{prepaid['id']}/terminate", {}),
                ]
            )
        )
    answers = await asyncio.gather(*(race.account.http.post(path, json=body) for path, body in requests))
    assert {answer.status_code for answer in answers} <= {200, 201, 400}, [answer.text for answer in answers]


RACES: list[Callable[[Race], Awaitable[None]]] = [
    top_ups,
    debits,
    terminations,
    conversions,
    freezes,
    voided_lots,
    paid_purchases,
    voided_and_paid_purchases,
    payments_by_wallet,
    adjusted_invoices,
    voided_invoices,
    notes,
    refunding_notes,
    finalized_notes,
    voided_notes,
    moved_overpayments,
    allocations,
    everything_at_once,
]


@pytest.mark.parametrize("requests", RACES)
async def test_many_at_once(race: Race, requests: Callable[[Race], Awaitable[None]]) -> None:
    await requests(race)
    await race.require_sound()
