"""Every figure on a page is one that the API answers about what the page shows, read at the same moment: amounts of
money and quantities with their signs, and times.

The other way round from `test_figures`: there each figure of an answer is looked for on its page, here each figure on a
page is looked for in the answers. Reports are held against the API cell by cell (test_report_figures).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from farthing.calendar.zones import to_local, to_utc
from farthing.core.clock import instant
from farthing.core.money import exact_sum
from tests.application import routed_application
from tests.web.everywhere.figures_on_pages import Figures, answered_figures, shown_figures
from tests.web.everywhere.places import Place
from tests.web.stage import Stage
from tests.web.visitor import Visitor


class Reader:
    """Reads pages as somebody signed in, and answers over the API."""

    def __init__(self, stage: Stage, visitor: Visitor) -> None:
        self.api, self.visitor, self.now = stage.account, visitor, stage.now

    async def strange(self, path: str, code: str, *answers: Any) -> Figures:
        """What a page shows and no answer says; there must be something on it."""
        answer = await self.visitor.http.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
        shown = shown_figures(answer.text)
        assert shown, f"{path} shows no figure"
        return shown - answered_figures(code, instant(self.now), *answers)  # where the clock stands, each page says

    async def strange_amounts(self, path: str, code: str, *answers: Any) -> frozenset[str]:
        """What money a page shows that no answer says."""
        strange = await self.strange(path, code, *answers)
        return strange.amounts

    async def of_customer(self, customer: dict[str, Any]) -> list[Any]:
        """What the API says of a customer."""
        path, mine = f"/customers/{customer['id']}", {"customer_id": customer["id"], "limit": 1000}
        wallets = await self.api.get(f"{path}/wallets")
        activity = {"customer_id": customer["id"], "limit": 100}
        return [
            customer,
            await self.api.get(f"{path}/invoices/summary"),
            await self.api.get(f"{path}/invoices/summary", scope="billed"),
            await self.api.get(f"{path}/invoices/aging"),
            await self.api.get("/invoices", **mine),
            await self.api.get("/payments", **mine),
            wallets,
            [await self.api.get(f"/wallets/{wallet['id']}/balance/real-time") for wallet in wallets],
            [await self.api.get(f"/wallets/{wallet['id']}/transactions", limit=1000) for wallet in wallets],
            await self.api.get(f"{path}/unapplied-money"),
            await self.api.get(f"{path}/notes"),
            await self.api.get(f"{path}/emails"),
            await self.api.post("/activity", activity, expect=200),
            await self.usage_by_day(customer["timezone"], customer_id=customer["id"]),
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

    async def usage_by_day(self, zone: str = "UTC", **of: str) -> Any:
        """How much of each feature was used on each of the last thirty days of a zone, and in all of them."""
        midnight = to_local(self.now, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        edges = [to_utc(midnight + timedelta(days=days), ZoneInfo(zone)) for days in (-29, 1)]
        asked = {"start_time": instant(edges[0]), "end_time": instant(edges[1]), "window_size": "DAY", **of}
        features = (await self.api.get("/features", limit=100))["items"]
        return [
            await self.api.post(
                "/events/usage/meter", {**asked, "timezone": zone, "meter_id": feature["meter_id"]}, expect=200
            )
            for feature in features
            if feature.get("meter_id")
        ]

    async def analytics(self, **definition: Any) -> list[dict[str, Any]]:
        """The rows that answer a question, by the names of their columns."""
        body = {"definition": {"limit": 1000, **definition}}
        answer = await self.api.post("/analytics/query", body, expect=200)
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["rows"]]

    async def _preview(self, subscription_id: str) -> Any:
        return await self.api.post("/invoices/preview", {"subscription_id": subscription_id}, expect=200)

    async def of_invoice(self, invoice_id: str) -> list[Any]:
        invoice = await self.api.get(f"/invoices/{invoice_id}")
        paid = await self.api.get("/payments", destination_type="INVOICE", destination_id=invoice_id)
        # what a void gives back is all that was paid, in whatever way
        together = [Decimal(invoice["amount_paid"]), Decimal(invoice["total_prepaid_credits_applied"])]
        notes = await self.api.get("/creditnotes", invoice_id=invoice_id)
        activity = await self.api.post("/activity", {"entity_id": invoice_id, "limit": 100}, expect=200)
        return [
            invoice,
            paid,
            notes,
            activity,
            {"currency": invoice["currency"], "given_back": str(exact_sum(together))},
        ]


@pytest.fixture
async def reader(stage: Stage, everywhere: list[Place]) -> Reader:
    """At the books of the stage, with what the pages of all places add to them."""
    return Reader(stage, await Visitor(stage.account).sign_in(stage))


async def test_customers_with_all_they_have(reader: Reader, stage: Stage) -> None:
    for customer in stage.customers[:4]:
        answers = await reader.of_customer(customer)
        assert not await reader.strange(f"/customers/{customer['id']}", "usd", *answers)
        token = (await reader.api.get(f"/customers/portal/{customer['external_id']}"))["token"]
        assert not await reader.strange(f"/portal/{token}?lang=en", "usd", *answers)


async def test_invoices_paid_in_part_overdue_and_in_draft(reader: Reader, stage: Stage) -> None:
    invoices = (await reader.api.get("/invoices", limit=1000))["items"]
    kinds = {
        (invoice["invoice_status"], invoice["payment_status"], invoice["currency"]): invoice for invoice in invoices
    }
    names = {customer["id"]: customer["external_id"] for customer in stage.customers}
    assert len(kinds) >= 4
    for (status, _, code), invoice in kinds.items():
        answers = await reader.of_invoice(invoice["id"])
        assert not await reader.strange(f"/invoices/{invoice['id']}", code, *answers)
        if status == "FINALIZED" and invoice["customer_id"] in names:
            token = (await reader.api.get(f"/customers/portal/{names[invoice['customer_id']]}"))["token"]
            path = f"/portal/{token}/invoices/{invoice['id']}?lang=en"
            assert not await reader.strange(path, code, *answers)


async def test_wallets_and_subscriptions(reader: Reader) -> None:
    for wallet in (await reader.api.get("/wallets", limit=10))["items"]:
        balance = await reader.api.get(f"/wallets/{wallet['id']}/balance/real-time")
        moves = await reader.api.get(f"/wallets/{wallet['id']}/transactions", limit=1000)
        code = wallet["currency"]
        # the page says in two parts what an answer says as one: usage not invoiced yet, and what is not paid
        strange = await reader.strange(f"/wallets/{wallet['id']}", code, wallet, balance, moves)
        together = exact_sum([Decimal(re.sub(r"[^\d.-]", "", part)) for part in strange.amounts])
        assert -together in (Decimal(0), Decimal(balance["current_period_usage"])), strange
        assert not strange.numbers, strange
    subscriptions = (await reader.api.get("/subscriptions", limit=20))["items"]
    for subscription in subscriptions:
        answers = await reader.of_subscription(subscription["id"])
        if "line_items" not in answers[0]:
            continue
        path, code = f"/subscriptions/{subscription['id']}", subscription["currency"]
        assert await reader.strange_amounts(path, code, *answers) == set()


START, END = "2026-06-01T00:00:00Z", "2026-12-01T00:00:00Z"
YEAR = "2025-12-01..2026-12-01"
MOVED = ("mrr_new", "mrr_expansion", "mrr_contraction", "mrr_churn", "mrr_reactivation")


async def _overview(reader: Reader) -> list[Any]:
    """What the API says of what the first page shows, each currency by itself."""
    ages = {"metrics": ["receivables_aging"], "dimensions": ["bucket", "currency"], "time": {"range": "this_year"}}
    found: list[Any] = [await reader.usage_by_day(), await reader.analytics(**ages, shape="breakdown")]
    for metrics in (("net_billing_issued", "collected"), ("mrr", "net_revenue_retention"), MOVED):
        asked = {"metrics": metrics, "dimensions": ["currency"]}
        found += await reader.analytics(**asked, shape="breakdown", time={"range": YEAR}, compare="previous_period")
        found += await reader.analytics(**asked, shape="timeseries", time={"range": YEAR, "grain": "month"})
    hours = {"range": "last_30_days", "grain": "hour"}
    found.append(await reader.analytics(metrics=["events_volume"], shape="timeseries", time=hours))
    return found


def _sums(rows: Iterable[dict[str, Any]], *fields: str) -> list[dict[str, Any]]:
    """What amounts of answers come to, each currency and each field by itself."""
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        for field in fields:
            sums[row["currency"], field] += Decimal(row[field])
    return [{"currency": code, field: str(amount)} for (code, field), amount in sums.items()]


def _counts(rows: Iterable[dict[str, Any]], *fields: str) -> list[int]:
    """How many rows there are of each value of some fields together."""
    return [*Counter(tuple(str(row.get(field)) for field in fields) for row in rows).values()]


async def _all_answers(reader: Reader, stage: Stage) -> list[Any]:
    """All that the books hold, as the API answers it: every list, and what there is of each customer and invoice."""
    api, answers = reader.api, []
    for path, item in (routed_application().openapi_schema.paths or {}).items():
        if "{" not in path and item.get is not None:
            answer = await api.http.get(path.removeprefix("/v1"))
            answers += [answer.json()] if answer.status_code == 200 and "json" in answer.headers["content-type"] else []
    for path in ("/activity", "/usage-records/search", "/alerts/search"):
        answers.append(await api.post(path, {"limit": 100}, expect=200))
    summaries = []
    for customer in (await api.get("/customers", limit=1000))["items"]:
        answers.append(await reader.of_customer(customer))
        billed = await api.get(f"/customers/{customer['id']}/invoices/summary", scope="billed")
        summaries += billed["summaries"]
        for row in billed["summaries"]:
            path, code = f"/customers/{customer['id']}/statement", row["currency"]
            answers.append(await api.get(path, currency=code, start_time=START, end_time=END))
    answers.append(_sums(summaries, "total_unpaid_amount", "total_overdue_amount"))
    invoices = (await api.get("/invoices", limit=1000, invoice_status="DRAFT,FINALIZED,VOIDED"))["items"]
    answers += [await reader.of_invoice(invoice["id"]) for invoice in invoices]
    answers.append(_counts(invoices, "invoice_status", "payment_status"))
    for kind in ("plans", "features", "addons", "coupons"):
        answers += [await api.get(f"/{kind}/{one['id']}") for one in (await api.get(f"/{kind}", limit=100))["items"]]
    payments = (await api.get("/payments", limit=1000))["items"]
    answers.append(_sums([row for row in payments if row["payment_status"] == "SUCCEEDED"], "amount"))
    token = (await api.get(f"/customers/portal/{stage.customers[0]['external_id']}"))["token"]
    usage = await api.http.get("/customer/portal/usage", headers={"X-Session-Token": token})
    return [*answers, usage.json(), await _overview(reader)]


ELSEWHERE = ("report-", "portal-german", "portal-usage-german", "portal-japanese", "checkout-german")
"""Held against the API by other tests, or written in another language."""
OF_NO_ANSWER = {
    "erasure": "until when documents are kept",
    "credit-note-new": "what may still be credited of a line",
    "portal-sample": "an invoice that is made up",
    "clock": "the machine's time",
    "keys": "when a key was used last",
    "workflows": "how long they took, on the wall",
    "webhook-message": "how long a receiver took, on the wall",
    "portal-usage": "what the period comes to if it goes on like this",
    "account": "since when the browser is signed in",
    "team": "when people were seen last",
    "duties": "when duties run next",
    "wallet": "in two parts what the API says in one, above",
}


async def test_every_other_page(reader: Reader, stage: Stage, everywhere: list[Place]) -> None:
    answers = await _all_answers(reader, stage)
    answered, strange = answered_figures("usd", *answers), {}
    shown: Counter[str] = Counter()
    for place in everywhere:
        if place.status != 200 or place.name.startswith(ELSEWHERE) or place.name in OF_NO_ANSWER:
            continue
        answer = await reader.visitor.http.get(place.path, follow_redirects=True)
        if "<main" in answer.text:
            figures = shown_figures(answer.text)
            shown.update(amounts=len(figures.amounts), numbers=len(figures.numbers), instants=len(figures.instants))
            strange[place.name] = figures - answered
    assert {name: str(figures) for name, figures in strange.items() if figures} == {}
    assert min(shown.values()) > 100, shown


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
