"""Reading invoices: lists, searches, one by one, as a document, by strangers.

Rule: docs/rules/invoices-and-payments.md#reading-invoices
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import update

from farthing.core.enums import Status
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import Database
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.statements import statements_sent
from tests.subscriptions.shop import Shop
from tests.subscriptions.shop import fixed as fee


async def found(account: Account, **query: Any) -> list[str]:
    """Ids that a search and, where it can be said in a URL, the list both answer with."""
    posted = await account.post("/invoices/search", query, 200)
    ids = [item["id"] for item in posted["items"]]
    if not {"filters", "sort"} & query.keys():
        listed = await account.get("/invoices", **query)
        assert [item["id"] for item in listed["items"]] == ids
    assert posted["pagination"]["total"] >= len(ids)
    return ids


async def test_filters(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer(external_id="acme")
    january: dict[str, Any] = {"period_start": "2025-01-01T00:00:00Z", "period_end": "2025-02-01T00:00:00Z"}
    march: dict[str, Any] = {"period_start": "2025-03-01T00:00:00Z", "period_end": "2025-04-01T00:00:00Z"}
    a = (await desk.invoice([fixed("10")], customer, **january))["id"]
    b = (await desk.invoice([fixed("20")], customer, currency="EUR", **march, amount_paid="5"))["id"]
    c = (await desk.invoice([fixed("30")], invoice_status="DRAFT"))["id"]
    d = (await desk.invoice([fixed("0")], invoice_type="CREDIT"))["id"]
    skipped = (await desk.invoice([fixed("40")], invoice_status="DRAFT"))["id"]
    async with account.transaction() as session:
        await session.execute(update(Invoice).where(Invoice.id == skipped).values(invoice_status=InvoiceStatus.SKIPPED))
    await account.post(f"/invoices/{c}/void", expect=200)

    assert await found(account) == [d, c, b, a]
    assert await found(account, external_customer_id="acme") == [b, a]
    assert await found(account, external_customer_id="acme", limit=1) == [b]
    assert await found(account, customer_id=customer, offset=1) == [a]
    assert await found(account, invoice_ids=[a, c]) == [c, a]
    assert await found(account, invoice_status=["SKIPPED"]) == [skipped]
    assert await found(account, invoice_status=["VOIDED", "SKIPPED"]) == [skipped, c]
    assert await found(account, payment_status=["SUCCEEDED"]) == [d]
    assert await found(account, invoice_type="CREDIT") == [d]
    assert await found(account, currency="EUR") == [b]
    assert await found(account, billing_reason="PRORATION") == []
    assert await found(account, amount_due_gt=10) == [c, b]
    assert await found(account, amount_remaining_gt=14.99) == [c, b]
    assert await found(account, amount_remaining_gt=15) == [c]
    assert await found(account, start_time="2025-01-01T00:00:00Z", end_time="2025-02-01T00:00:00Z") == [a]
    assert await found(account, period_start_gte="2025-03-01T00:00:00Z") == [b]
    assert await found(account, period_end_lte="2025-03-31T00:00:00Z") == [a]
    assert await found(account, period_start_lte="2025-02-01T00:00:00Z") == [a]
    assert await found(account, voided_at_gte="2025-02-01T00:00:00Z") == [c]
    assert await found(account, finalized_at_gte="2199-02-01T00:00:00Z") == []
    assert await found(account, sort=[{"field": "total", "direction": "desc"}]) == [c, b, a, d]
    total = {"field": "total", "operator": "gte", "data_type": "number", "value": {"number": 20}}
    assert await found(account, filters=[total]) == [c, b]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        pytest.param({"external_customer_id": "nobody"}, 404, "external_customer_id", id="an unknown customer"),
        pytest.param({"invoice_status": ["PAID"]}, 400, "invoice_status", id="a status that is none"),
        pytest.param({"limit": 1001}, 400, "limit", id="more than a thousand"),
        pytest.param({"expand": "wallet"}, 400, "expand", id="an expansion that is none"),
        pytest.param({"amount_due_gt": "a lot"}, 400, "amount_due_gt", id="an amount that is none"),
        pytest.param({"amount_due_gt": 1e300}, 400, "amount_due_gt", id="an amount beyond all measure"),
        pytest.param({"sort": [{"field": "coupon_terms", "direction": "asc"}]}, 400, "field", id="a secret column"),
    ],
)
async def test_a_search_is_refused(account: Account, query: dict[str, Any], status: int, field: str) -> None:
    answer = await account.post("/invoices/search", query, status)
    assert any(field in name for name in answer["details"]), answer


async def test_pages_tell_where_they_are(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    for _ in range(3):
        await desk.invoice([fixed("1")], customer)
    answer = await account.post("/invoices/search", {"limit": 2, "offset": 1, "skip_line_items": True}, 200)
    assert answer["pagination"] == {"total": 3, "limit": 2, "offset": 1}
    assert len(answer["items"]) == 2
    assert all("line_items" not in item for item in answer["items"])


async def test_a_page_of_many_costs_as_many_statements_as_a_page_of_one(account: Account, database: Database) -> None:
    desk = Desk(account)
    coupon, tax = await desk.coupon("10%"), await desk.tax("10%")
    for _ in range(12):
        await desk.invoice([usage("10"), fixed("10")], coupons=[coupon], tax_rates=[tax])
    counts = []
    for limit in (1, 12):
        with statements_sent(database) as statements:
            answer = await account.post("/invoices/search", {"limit": limit, "expand": "tax_applied.tax_rate"}, 200)
        counts.append(len(statements))
        assert len(answer["items"]) == limit
        for item in answer["items"]:
            assert len(item["line_items"]) == 2
            assert len(item["taxes"]) == len(item["coupon_applications"]) == 1
            assert item["customer"]["id"] == item["customer_id"]
            assert item["taxes"][0]["tax_rate"]["id"] == tax
    assert counts[0] == counts[1]


async def subscribed(account: Account, count: int) -> list[dict[str, Any]]:
    """So many subscriptions to one plan, each with its opening invoice under `latest_invoice`."""
    shop = Shop(account)
    await shop.on("2026-04-01")
    plan = await shop.plan(fee("10"), name="Gold")
    terms = {"plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    return [
        await account.post("/subscriptions", {"customer_id": (await shop.customer())["id"], **terms})
        for _ in range(count)
    ]


async def test_an_invoice_is_read_with_its_subscription(account: Account, stranger: Account) -> None:
    (made,) = await subscribed(account, 1)
    path = f"/invoices/{made['latest_invoice']['id']}"
    read = await account.get(path)
    assert read["subscription_id"] == made["id"]
    whole = await account.get(f"/subscriptions/{made['id']}")
    assert read["subscription"]["subscription_status"] == "active"
    assert read["subscription"].items() <= whole.items()
    assert not {"line_items", "plan", "latest_invoice"} & read["subscription"].keys()
    one_off = await Desk(account).invoice([fixed("10")])
    assert "subscription" not in await account.get(f"/invoices/{one_off['id']}")
    await stranger.get(path, 404)

    shown = await account.sdk().invoices.get_invoice_async(id=read["id"])
    assert shown.subscription is not None
    assert shown.subscription.id == made["id"]


async def test_a_list_has_subscriptions_only_when_asked(account: Account) -> None:
    made = await subscribed(account, 2)
    await Desk(account).invoice([fixed("10")])
    assert all("subscription" not in item for item in (await account.get("/invoices"))["items"])
    listed = (await account.get("/invoices", expand="subscription"))["items"]
    assert [item.get("subscription", {}).get("id") for item in listed] == [None, made[1]["id"], made[0]["id"]]
    assert all("plan" not in item.get("subscription", {}) for item in listed)
    found = await account.post("/invoices/search", {"expand": "subscription.plan", "limit": 2}, 200)
    assert found["items"][1]["subscription"]["plan"]["name"] == "Gold"
    await account.post("/invoices/search", {"expand": "subscription.customer"}, 400)


async def test_the_subscriptions_of_a_page_cost_one_statement(account: Account, database: Database) -> None:
    await subscribed(account, 4)
    counts = {}
    for limit in (1, 4):
        for expand in ("", "subscription"):
            with statements_sent(database) as statements:
                await account.post("/invoices/search", {"limit": limit, "expand": expand}, 200)
            counts[limit, expand] = len(statements)
    # a page alone is read past the session; here it is the session's
    assert counts[1, ""] == counts[4, ""] == 0
    assert counts[1, "subscription"] == counts[4, "subscription"] == 1


async def test_one_invoice(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")])
    assert await desk.get(made) == made
    for token in ("subscription", "customer", "tax_applied.rate"):
        assert "expand" in (await account.get(f"/invoices/{made['id']}", 400, expand=token))["details"]
    missing = await account.get("/invoices/inv_nobody", 404)
    assert missing["details"] == {"invoice_id": "inv_nobody"}
    async with account.transaction() as session:
        await session.execute(update(Invoice).values(status=Status.DELETED))
    await account.get(f"/invoices/{made['id']}", 404)


EVERY_ENDPOINT: list[tuple[str, str, dict[str, Any] | None]] = [
    ("get", "", None),
    ("put", "", {"metadata": {}}),
    ("post", "/compute", None),
    ("post", "/finalize", None),
    ("post", "/void", None),
    (
        "post",
        "/modify/execute",
        {"type": "line_item", "line_item_params": {"action": "remove", "line_item_ids": ["x"]}},
    ),
    ("put", "/payment", {"payment_status": "SUCCEEDED"}),
    ("get", "/pdf", None),
    ("get", "/pdf?url=true", None),
    ("post", "/comms/trigger", None),
    ("post", "/webhook/trigger?event_name=invoice.update.voided", None),
]


async def test_a_stranger_sees_and_changes_nothing(account: Account, stranger: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    elsewhere = await account.new_key(["super_admin"], environment_id=await account.new_environment())
    async with account.client(elsewhere) as next_door:
        for client in (stranger.http, next_door):
            for method, path, body in EVERY_ENDPOINT:
                answer = await client.request(method, f"/invoices/{draft['id']}{path}", json=body)
                assert answer.status_code == 404, (method, path, answer.text)
            assert (await client.get("/invoices")).json()["pagination"]["total"] == 0
            order = desk.order(draft["customer_id"], [fixed("1")])
            assert (await client.post("/invoices", json=order)).status_code == 404
    assert await desk.get(draft) == draft


async def test_reading_needs_read_and_writing_needs_write(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    async with account.client(await account.new_key(["all_reader"])) as reader:
        for method, path, body in EVERY_ENDPOINT:
            answer = await reader.request(method, f"/invoices/{draft['id']}{path}", json=body)
            assert answer.status_code == (200 if method == "get" else 403), (method, path, answer.text)
    async with account.client() as nobody:
        for method, path, body in EVERY_ENDPOINT:
            answer = await nobody.request(method, f"/invoices/{draft['id']}{path}", json=body)
            assert answer.status_code == 401, (method, path, answer.text)


# --- documents --------------------------------------------------------------------------------------------------------


def text_of(content: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


async def test_the_document_says_what_the_invoice_says(account: Account) -> None:
    desk = Desk(account)
    await account.put("/settings/invoice_config", {"value": {"timezone": "Asia/Kolkata"}})
    await account.freeze(datetime(2025, 1, 31, 23, 30, tzinfo=UTC))
    customer = await desk.customer(name="Brightwater GmbH", address_city="Berlin", address_country="DE")
    made = await desk.invoice(
        [usage("80", "1234.5", price_id="p", metadata={"description": "in the cloud"}), fixed("20")],
        customer,
        coupons=[await desk.coupon("10", name="Welcome")],
        line_item_coupons=[{"coupon_id": await desk.coupon("25%", name="Loyal"), "line_item_id": "p"}],
        tax_rates=[await desk.tax("8.25%", name="Sales tax")],
        metadata={"notes": "Thank you", "vat": "not a number"},
        amount_paid="30.03",
    )
    answer = await account.http.get(f"/invoices/{made['id']}/pdf")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    page = text_of(answer.content)
    wanted = [
        "Brightwater GmbH",
        "Berlin",
        "INV-202502-00001",
        "Feb 1, 2025",
        "usage 80",
        "in the cloud",
        "1,234.5",
        "Welcome",
        "USD 10 off",
        "Loyal",
        "25%",
        "Sales tax",
        "8.25%",
        "75.78",
        "30.03",
        "45.75",
        "Thank you",
    ]
    assert [text for text in wanted if text not in page] == []


@pytest.mark.parametrize(("status", "mark"), [("DRAFT", "DRAFT"), ("FINALIZED", "VOIDED")])
async def test_a_document_that_is_no_claim_says_so(account: Account, status: str, mark: str) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")], invoice_status=status)
    if mark == "VOIDED":
        await account.post(f"/invoices/{made['id']}/void", expect=200)
    answer = await account.http.get(f"/invoices/{made['id']}/pdf")
    assert mark in text_of(answer.content)


async def test_a_link_opens_the_document_for_a_quarter_of_an_hour(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")])
    url = (await account.get(f"/invoices/{made['id']}/pdf", url="true"))["presigned_url"]
    async with account.client() as anybody:
        opened = await anybody.get(url)
        assert (opened.status_code, opened.headers["content-type"]) == (200, "application/pdf")
        assert made["invoice_number"] in text_of(opened.content)
        head, body, signature = url.rsplit("/", 1)[1].split(".")
        forged = url.rsplit("/", 1)[0] + f"/{head}.{body}.{signature[::-1]}"
        assert (await anybody.get(forged)).status_code == 403


async def test_a_document_kept_elsewhere_is_linked_unless_one_is_made(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")], invoice_pdf_url="https://files.example.com/1.pdf")
    path = f"/invoices/{made['id']}/pdf"
    assert (await account.get(path, url="true"))["presigned_url"] == "https://files.example.com/1.pdf"
    own = (await account.get(path, url="true", force_generate="true"))["presigned_url"]
    assert own.startswith(account.base_url)
