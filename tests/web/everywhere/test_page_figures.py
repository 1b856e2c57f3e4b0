"""Every amount of money on a page is one that the API answers about what the page shows, read at the same moment.

The other way round from `test_figures`: there each figure of an answer is looked for on its page, here each amount on a
page is looked for in the answers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from decimal import Decimal, DecimalException
from typing import Any

import pytest

from farthing.core.money import exact_sum
from farthing.web.rendering.words.wording import money
from tests.web.everywhere.places import Place
from tests.web.stage import Stage
from tests.web.visitor import Visitor

_MAIN = re.compile(r"<main.*?</main>", re.DOTALL)
_UNSEEN = re.compile(r"<(script|svg|select|style|datalist).*?</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_AMOUNT = re.compile(r"-?(?:[$€£¥]|\b[A-Z]{3} ?)\d[\d,]*(?:\.\d+)?")


def _plain(text: str) -> str:
    """A text with one kind of minus, and one kind of space."""
    return re.sub(r"\s", " ", text.replace("\u2212", "-"))


def shown_amounts(page: str) -> set[str]:
    """The amounts of money in the main part of a page."""
    main = _MAIN.search(page)
    assert main is not None, page[:1000]
    return set(_AMOUNT.findall(_plain(html.unescape(_TAG.sub("|", _UNSEEN.sub("|", main[0]))))))


def _decimals(value: Any, code: str) -> Iterator[tuple[Decimal, str]]:
    """Every number in an answer, with the currency that it is said to be in."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _decimals(inner, value.get("currency") or code)
    elif isinstance(value, list):
        for inner in value:
            yield from _decimals(inner, code)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except DecimalException:
            return
        if number.is_finite() and abs(number) < 10**15:
            yield number, code


def answered_amounts(code: str, *answers: Any) -> set[str]:
    """Every number of answers, written as money."""
    return {_plain(money(number, its)).lstrip("-") for answer in answers for number, its in _decimals(answer, code)}


class Reader:
    """Reads pages as somebody signed in, and answers over the API."""

    def __init__(self, stage: Stage, visitor: Visitor) -> None:
        self.api, self.visitor = stage.account, visitor

    async def strange_amounts(self, path: str, code: str, *answers: Any) -> set[str]:
        """What a page shows and no answer says; there must be something on it."""
        answer = await self.visitor.http.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
        shown = {amount.lstrip("-") for amount in shown_amounts(answer.text)}
        assert shown, f"{path} shows no money"
        return shown - answered_amounts(code, *answers)

    async def of_customer(self, customer: dict[str, Any]) -> list[Any]:
        """What the API says of a customer."""
        path, mine = f"/customers/{customer['id']}", {"customer_id": customer["id"], "limit": 1000}
        wallets = await self.api.get(f"{path}/wallets")
        return [
            await self.api.get(f"{path}/invoices/summary"),
            await self.api.get(f"{path}/invoices/summary?scope=billed"),
            await self.api.get(f"{path}/invoices/aging"),
            await self.api.get("/invoices", **mine),
            await self.api.get("/payments", **mine),
            wallets,
            [await self.api.get(f"/wallets/{wallet['id']}/balance/real-time") for wallet in wallets],
            [await self.of_subscription(one["id"]) for one in (await self.api.get("/subscriptions", **mine))["items"]],
        ]

    async def of_subscription(self, subscription_id: str) -> list[Any]:
        """What the API says of a subscription, of its prices and of what it is invoiced for next."""
        subscription = await self.api.get(f"/subscriptions/{subscription_id}")
        items = subscription.get("line_items", [])  # one that others pay for has none
        return [
            subscription,
            [await self.api.get(f"/prices/{item['price_id']}") for item in items],
            await self._preview(subscription_id) if items else {},
            await self.api.get("/invoices", subscription_id=subscription_id),
            await self.api.post("/alerts/setting/search", {"limit": 100}, expect=200),
        ]

    async def _preview(self, subscription_id: str) -> Any:
        return await self.api.post("/invoices/preview", {"subscription_id": subscription_id}, expect=200)

    async def of_invoice(self, invoice_id: str) -> list[Any]:
        invoice = await self.api.get(f"/invoices/{invoice_id}")
        paid = await self.api.get("/payments", destination_type="INVOICE", destination_id=invoice_id)
        # what a void gives back is all that was paid, in whatever way
        together = [Decimal(invoice["amount_paid"]), Decimal(invoice["total_prepaid_credits_applied"])]
        notes = await self.api.get("/creditnotes", invoice_id=invoice_id)
        return [invoice, paid, notes, {"currency": invoice["currency"], "given_back": str(exact_sum(together))}]


@pytest.fixture
async def reader(stage: Stage, everywhere: list[Place]) -> Reader:
    """At the books of the stage, with what the pages of all places add to them."""
    return Reader(stage, await Visitor(stage.account).sign_in(stage))


async def test_customers_with_all_they_have(reader: Reader, stage: Stage) -> None:
    for customer in stage.customers[:4]:
        answers = await reader.of_customer(customer)
        assert await reader.strange_amounts(f"/customers/{customer['id']}", "usd", *answers) == set()
        token = (await reader.api.get(f"/customers/portal/{customer['external_id']}"))["token"]
        assert await reader.strange_amounts(f"/portal/{token}?lang=en", "usd", *answers) == set()


async def test_invoices_paid_in_part_overdue_and_in_draft(reader: Reader, stage: Stage) -> None:
    invoices = (await reader.api.get("/invoices", limit=1000))["items"]
    kinds = {
        (invoice["invoice_status"], invoice["payment_status"], invoice["currency"]): invoice for invoice in invoices
    }
    names = {customer["id"]: customer["external_id"] for customer in stage.customers}
    assert len(kinds) >= 4
    for (status, _, code), invoice in kinds.items():
        answers = await reader.of_invoice(invoice["id"])
        assert await reader.strange_amounts(f"/invoices/{invoice['id']}", code, *answers) == set()
        if status == "FINALIZED" and invoice["customer_id"] in names:
            token = (await reader.api.get(f"/customers/portal/{names[invoice['customer_id']]}"))["token"]
            path = f"/portal/{token}/invoices/{invoice['id']}?lang=en"
            assert await reader.strange_amounts(path, code, *answers) == set()


async def test_wallets_and_subscriptions(reader: Reader) -> None:
    for wallet in (await reader.api.get("/wallets", limit=10))["items"]:
        balance = await reader.api.get(f"/wallets/{wallet['id']}/balance/real-time")
        moves = await reader.api.get(f"/wallets/{wallet['id']}/transactions", limit=1000)
        code = wallet["currency"]
        # the page says in two parts what an answer says as one: usage not invoiced yet, and what is not paid
        parts = await reader.strange_amounts(f"/wallets/{wallet['id']}", code, wallet, balance, moves)
        together = exact_sum([Decimal(re.sub(r"[^\d.]", "", part)) for part in parts])
        assert together in (Decimal(0), Decimal(balance["current_period_usage"])), parts
    subscriptions = (await reader.api.get("/subscriptions", limit=20))["items"]
    for subscription in subscriptions:
        answers = await reader.of_subscription(subscription["id"])
        if "line_items" not in answers[0]:
            continue
        path, code = f"/subscriptions/{subscription['id']}", subscription["currency"]
        assert await reader.strange_amounts(path, code, *answers) == set()


async def test_a_currency_without_digits_and_one_with_three(own: Stage) -> None:
    reader = Reader(own, await Visitor(own.account).sign_in(own))
    customer = await own.account.post("/customers", {"external_id": "digits", "name": "Digits"})
    for code, amount, paid in (("jpy", "12345", "345"), ("kwd", "12.345", "2.005")):
        line = {"display_name": "Fee", "amount": amount, "quantity": "1"}
        body = {"customer_id": customer["id"], "currency": code, "total": amount, "subtotal": amount}
        invoice = await own.account.post("/invoices", {**body, "amount_due": amount, "line_items": [line]})
        payment = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "OFFLINE"}
        await own.account.post("/payments", {**payment, "amount": paid, "currency": code, "process_payment": True})
        answers = await reader.of_invoice(invoice["id"])
        assert await reader.strange_amounts(f"/invoices/{invoice['id']}", code, *answers) == set()
    answers = await reader.of_customer(customer)
    assert await reader.strange_amounts(f"/customers/{customer['id']}", "jpy", *answers) == set()
