"""The customer invoice summary: the answer to what a customer owes, case by case."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from flexprice.models.errors import FlexpriceError
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, update

from farthing.core.enums import Status
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.identity.tables import SecretType, UserType
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.subscriptions.enums import SubscriptionStatus
from tests.account import Account
from tests.invoices.books import AS_OF, Bill, Books, Live, fixed, usage

US = (Live(),)
FIELDS = (
    "total_revenue_amount",
    "total_unpaid_amount",
    "total_overdue_amount",
    "total_invoice_count",
    "unpaid_invoice_count",
    "overdue_invoice_count",
    "unpaid_usage_charges",
    "unpaid_fixed_charges",
)


def shown(body: dict[str, Any]) -> list[str]:
    """Each row as the cases state it: `usd 450/250/100/3/2/1/60/190`."""
    return [f"{s['currency']} " + "/".join(str(s[name]) for name in FIELDS) for s in body["summaries"]]


async def write(account: Account, bills: tuple[Bill, ...], live: tuple[Live, ...], billing_currency: str | None = None):
    books = Books()
    async with account.transaction() as session:
        await books.customer(session, "A", billing_currency=billing_currency)
        for subscription in live:
            await books.subscribe(session, subscription)
        for bill in bills:
            await books.invoice(session, bill)
    await account.freeze(AS_OF)
    return books


CASES = [
    pytest.param(
        (
            Bill(due="100", late=True, lines=(usage("60"), fixed("40"))),
            Bill(due="200", paid="200"),
            Bill(due="300", currency="eur", lines=(usage("300"),)),
            Bill(due="150", lines=(fixed("150"),)),
        ),
        US,
        ["usd 450/250/100/3/2/1/60/190", "eur 300/300/0/1/1/0/300/0"],
        id="1 each currency has its own row, the subscription's first",
    ),
    pytest.param(
        (Bill(due="80", late=True, lines=(fixed("80"),)),),
        (Live(status=SubscriptionStatus.CANCELLED),),
        ["usd 80/80/80/1/1/1/0/80"],
        id="2 a churned debtor still owes",
    ),
    pytest.param(
        (Bill(due="20", currency="eur", lines=(fixed("20"),)),),
        (),
        ["eur 20/20/0/1/1/0/0/20"],
        id="3 a one-off needs no subscription",
    ),
    pytest.param(
        (Bill(due="100", paid="30", late=True, lines=(usage("60"), fixed("40"))),),
        US,
        ["usd 100/70/70/1/1/1/42/28"],
        id="4 part payment splits by what is left",
    ),
    pytest.param(
        (
            Bill(
                due="106.2",
                lines=(
                    usage("80", line_discount="20", invoice_discount="6"),
                    fixed("40", invoice_discount="4"),
                ),
            ),
        ),
        US,
        ["usd 106.2/106.2/0/1/1/0/63.72/42.48"],
        id="5 tax is spread over what each line stands for",
    ),
    pytest.param(
        (Bill(due="40", lines=(usage("50", credits="50"), fixed("40"))),),
        US,
        ["usd 40/40/0/1/1/0/0/40"],
        id="6 usage paid by credits is not owed",
    ),
    pytest.param(
        (Bill(due="10", lines=(usage("1"), fixed("2"))),), US, ["usd 10/10/0/1/1/0/3.33/6.67"], id="7 thirds in cents"
    ),
    pytest.param(
        (Bill(due="1000", currency="jpy", lines=(usage("1"), fixed("2"))),),
        (),
        ["jpy 1000/1000/0/1/1/0/333/667"],
        id="7b thirds in yen",
    ),
    pytest.param(
        (Bill(due="10", currency="kwd", lines=(usage("1"), fixed("2"))),),
        (),
        ["kwd 10/10/0/1/1/0/3.333/6.667"],
        id="7c thirds in fils",
    ),
    pytest.param(
        (Bill(due="0.01", lines=(usage("1"), fixed("1"))),), US, ["usd 0.01/0.01/0/1/1/0/0.01/0"], id="8 half rounds up"
    ),
    pytest.param(
        (
            Bill(due="100", status=InvoiceStatus.DRAFT),
            Bill(due="0", status=InvoiceStatus.SKIPPED),
            Bill(due="100", status=InvoiceStatus.VOIDED),
            Bill(due="50", paid="50", refunded="50"),
            Bill(due="80", paid="80", refunded="30"),
            Bill(due="100", paid="130"),
            Bill(due="25", late=True, payment=PaymentStatus.FAILED, lines=(fixed("25"),)),
            Bill(due="0", payment=PaymentStatus.PENDING),
        ),
        US,
        ["usd 175/25/25/5/1/1/0/25"],
        id="9 every status counts as it should",
    ),
    pytest.param(
        (Bill(due="100", paid="130", refunded="30"),),
        US,
        ["usd 100/0/0/1/0/0/0/0"],
        id="10 returning only the excess takes nothing from revenue",
    ),
    pytest.param(
        (Bill(due="75", adjustment="25", late=True, lines=(usage("60"), fixed("40"))),),
        US,
        ["usd 75/75/75/1/1/1/45/30"],
        id="11 an adjustment is spread over the lines",
    ),
    pytest.param(
        (Bill(due="9", lines=(usage("50", line_discount="50"), fixed("0"))),),
        US,
        ["usd 9/9/0/1/1/0/0/9"],
        id="12 a tax-only rest is fixed",
    ),
    pytest.param((Bill(due="9"),), US, ["usd 9/9/0/1/1/0/0/9"], id="12 without lines all is fixed"),
    pytest.param(
        (
            Bill(due="10", due_date=AS_OF, lines=(fixed("10"),)),
            Bill(
                due="10",
                due_date=AS_OF.replace(hour=11, minute=59, second=59, microsecond=999999),
                lines=(fixed("10"),),
            ),
            Bill(due="10", lines=(fixed("10"),)),
        ),
        US,
        ["usd 30/30/10/3/3/1/0/30"],
        id="13 due exactly now is not overdue",
    ),
    pytest.param(
        (Bill(due="5", owner="A", lines=(fixed("5"),)),), US, ["usd 5/5/0/1/1/0/0/5"], id="15 own invoice counts once"
    ),
    pytest.param(
        (Bill(due="7", paid="7", currency="eur"),),
        (Live(currency="gbp"),),
        ["gbp 0/0/0/0/0/0/0/0", "eur 7/0/0/1/0/0/0/0"],
        id="17 a live currency that was never invoiced has a row",
    ),
    pytest.param(
        (Bill(due="40", type=InvoiceType.CREDIT),),
        US,
        ["usd 0/0/0/0/0/0/0/0"],
        id="22 a credit invoice is no claim",
    ),
    pytest.param((), (), [], id="21 nothing at all"),
    pytest.param(
        (Bill(due="40", lines=(usage("90", archived=True), usage("10"), fixed("30"))),),
        US,
        ["usd 40/40/0/1/1/0/10/30"],
        id="28 a replaced line no longer stands",
    ),
    pytest.param(
        (Bill(due="10", currency="eur", status=InvoiceStatus.DRAFT),),
        US,
        ["usd 0/0/0/0/0/0/0/0"],
        id="29 drafts alone make no row",
    ),
    pytest.param(
        (Bill(due="60", late=True, payment=PaymentStatus.PROCESSING, lines=(fixed("60"),)),),
        US,
        ["usd 60/60/60/1/1/1/0/60"],
        id="30 money under way is not paid",
    ),
    pytest.param(
        (Bill(due="100"), Bill(due="12.50000000"), Bill(due="0E-8", payment=PaymentStatus.PENDING), Bill(due="1E+3")),
        US,
        ["usd 1112.5/1112.5/0/4/3/0/0/1112.5"],
        id="25 plain notation",
    ),
]


@pytest.mark.parametrize(("bills", "live", "expected"), CASES)
async def test_case(account: Account, bills: tuple[Bill, ...], live: tuple[Live, ...], expected: list[str]) -> None:
    books = await write(account, bills, live)
    body = await account.get(f"/customers/{books.ids['A']}/invoices/summary")
    assert shown(body) == expected
    assert body["default_currency"] == (expected[0].split()[0] if expected else "")
    assert body["customer_id"] == books.ids["A"]


async def test_case_4_to_the_letter(account: Account) -> None:
    books = await write(account, (Bill(due="100", paid="30", late=True, lines=(usage("60"), fixed("40"))),), US)
    id = books.ids["A"]
    assert await account.get(f"/customers/{id}/invoices/summary") == {
        "customer_id": id,
        "default_currency": "usd",
        "summaries": [
            {
                "customer_id": id,
                "currency": "usd",
                "total_revenue_amount": "100",
                "total_unpaid_amount": "70",
                "total_overdue_amount": "70",
                "total_invoice_count": 1,
                "unpaid_invoice_count": 1,
                "overdue_invoice_count": 1,
                "unpaid_usage_charges": "42",
                "unpaid_fixed_charges": "28",
            }
        ],
    }


DELEGATED = ["usd 100/100/0/1/1/0/0/100"]


@pytest.mark.parametrize(
    ("who", "scope", "expected"),
    [
        ("P", "all", DELEGATED),
        ("K", "all", DELEGATED),
        ("P", "billed", DELEGATED),
        ("K", "billed", []),
        ("P", "incurred", []),
        ("K", "incurred", DELEGATED),
    ],
)
async def test_a_delegated_invoice_shows_for_whom_the_scope_says(
    account: Account, who: str, scope: str, expected: list[str]
) -> None:
    live = (Live(owner="K", payer="P"),)
    books = await write(account, (Bill(due="100", payer="P", owner="K", lines=(fixed("100"),)),), live)
    body = await account.get(f"/customers/{books.ids[who]}/invoices/summary", scope=scope)
    assert shown(body) == expected


async def test_the_billing_currency_comes_first_and_the_rest_by_code(account: Account) -> None:
    books = await write(account, (), (Live(currency="eur"), Live(currency="usd")), billing_currency="inr")
    body = await account.get(f"/customers/{books.ids['A']}/invoices/summary")
    assert body["default_currency"] == "inr"
    assert shown(body) == [f"{code} 0/0/0/0/0/0/0/0" for code in ("inr", "eur", "usd")]


async def test_the_newest_live_subscription_gives_the_default(account: Account) -> None:
    books = await write(account, (), (Live(currency="usd"), Live(currency="eur")))
    body = await account.get(f"/customers/{books.ids['A']}/invoices/summary")
    assert body["default_currency"] == "eur"


async def test_unknown_and_foreign_customers_answer_alike(account: Account, stranger: Account) -> None:
    theirs = (await stranger.post("/customers", {"external_id": "x", "name": "X"}))["id"]
    other = await account.new_environment()
    key = await account.new_key(["super_admin"], owner_type=UserType.USER, environment_id=other)
    async with account.client(key) as elsewhere:
        made = (await elsewhere.post("/customers", json={"external_id": "x", "name": "X"})).json()["id"]
    bodies = set()
    for id in ("cust_unknown", theirs, made):
        answer = await account.http.get(f"/customers/{id}/invoices/summary")
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
        bodies.add(answer.text.replace(id, "ID"))
    assert len(bodies) == 1


async def test_an_archived_customer_may_still_owe(account: Account) -> None:
    books = await write(account, (Bill(due="80", late=True, lines=(fixed("80"),)),), ())
    async with account.transaction() as session:
        await session.execute(update(Customer).where(Customer.id == books.ids["A"]).values(status=Status.ARCHIVED))
    body = await account.get(f"/customers/{books.ids['A']}/invoices/summary")
    assert shown(body) == ["usd 80/80/80/1/1/1/0/80"]


async def test_reading_twice_changes_nothing(account: Account) -> None:
    books = await write(account, (Bill(due="80", late=True, lines=(fixed("80"),)),), US)
    path = f"/customers/{books.ids['A']}/invoices/summary"
    assert await account.get(path) == await account.get(path)
    from sqlalchemy import func, select

    from farthing.storage.record.outbox import SystemEvent

    async with account.transaction() as session:
        told = await session.scalar(
            select(func.count()).select_from(SystemEvent).where(SystemEvent.payload.is_not(None))
        )
    assert told == 0


async def test_an_ingest_key_may_not_read_it(account: Account) -> None:
    for key in (
        await account.new_key(["event_ingestor"]),
        await account.new_key(["super_admin"], type=SecretType.PUBLISHABLE_KEY),
    ):
        async with account.client(key) as client:
            answer = await client.get("/customers/cust_x/invoices/summary")
        assert answer.status_code == 403
        assert answer.json()["message"] == "insufficient permissions"


async def test_a_bad_scope_is_named(account: Account) -> None:
    body = await account.get("/customers/cust_x/invoices/summary", expect=400, scope="everything")
    assert body["code"] == "validation_error"
    assert "scope" in str(body["details"])


@pytest.mark.parametrize("count", [51, 120, 1000])
async def test_every_invoice_counts_however_many(account: Account, count: int) -> None:
    books = Books()
    async with account.transaction() as session:
        for _ in range(count):
            await books.invoice(session, Bill(due="1.01", lines=(usage("1.01"),)))
    body = await account.get(f"/customers/{books.ids['A']}/invoices/summary")
    total = plain(Decimal("1.01") * count)
    assert shown(body) == [f"usd {total}/{total}/0/{count}/{count}/0/{total}/0"]


async def test_a_payment_in_between_is_seen_whole_or_not_at_all(account: Account) -> None:
    customer = (await account.post("/customers", {"external_id": "acme", "name": "Acme"}))["id"]
    made = {"customer_id": customer, "currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100"}
    invoices = [(await account.post("/invoices", made))["id"] for _ in range(5)]
    stop = False

    async def pay() -> None:
        nonlocal stop
        for id in invoices:
            await account.put(f"/invoices/{id}/payment", {"payment_status": "SUCCEEDED"})
        stop = True

    paying = asyncio.create_task(pay())
    while not stop:
        summary = (await account.get(f"/customers/{customer}/invoices/summary"))["summaries"][0]
        unpaid = summary["unpaid_invoice_count"]
        assert summary["total_unpaid_amount"] == plain(Decimal(100 * unpaid))
        assert summary["unpaid_fixed_charges"] == summary["total_unpaid_amount"]
        assert summary["total_revenue_amount"] == "500"
    await paying


async def test_a_storage_that_fails_halfway_is_no_partial_answer(
    account: Account, sockets: str, database_url: str
) -> None:
    books = await write(account, (Bill(due="80", lines=(fixed("80"),)), Bill(due="7", currency="eur")), US)
    path = f"/customers/{books.ids['A']}/invoices/summary"
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True) as superuser:
        superuser.execute("REVOKE SELECT ON invoice_totals FROM farthing")
        try:
            body = await account.get(path, expect=500)
        finally:
            superuser.execute("GRANT SELECT ON invoice_totals TO farthing")
    assert (body["code"], body["success"]) == ("database_error", False)
    assert "summaries" not in body
    assert "invoice_totals" not in str(body)
    assert len((await account.get(path))["summaries"]) == 2


async def test_the_published_client_reads_it(account: Account) -> None:
    books = await write(account, (Bill(due="100", paid="30", late=True, lines=(usage("60"), fixed("40"))),), US)
    async with account.sdk() as client:
        answer = await client.invoices.get_customer_invoice_summary_async(id=books.ids["A"])
        assert answer.default_currency == "usd"
        assert answer.summaries[0].unpaid_usage_charges == "42"
        with pytest.raises(FlexpriceError) as refused:
            await client.invoices.get_customer_invoice_summary_async(id="cust_unknown")
    assert refused.value.status_code == 404


async def test_the_number_of_statements_does_not_grow(account: Account) -> None:
    from farthing.invoices.receivables.summary import summarise

    books = Books()
    async with account.transaction() as session:
        for n in range(30):
            await books.invoice(session, Bill(due="1", currency=("usd", "eur", "jpy", "kwd")[n % 4]))
    statements: list[str] = []

    def count(_conn, _cursor, statement, *_):
        statements.append(statement)

    event.listen(account.database.engine.sync_engine, "before_cursor_execute", count)
    try:
        answer = await summarise(account.database, account.scope, books.ids["A"], AS_OF)
    finally:
        event.remove(account.database.engine.sync_engine, "before_cursor_execute", count)
    assert len(answer.summaries) == 4
    assert statements == []  # the one statement goes past the session, prepared, in a single message


def claimed(bill: Bill) -> Decimal:
    """What an invoice claimed, less what was given back of it; giving back an excess takes nothing."""
    due, paid, refunded = Decimal(bill.due), Decimal(bill.paid), Decimal(bill.refunded)
    excess = max(paid - due, Decimal(0))
    return max(due - max(refunded - excess, Decimal(0)), Decimal(0))


amounts = st.decimals(min_value=0, max_value=1000, places=2)


@st.composite
def bills(draw: st.DrawFn) -> Bill:
    lines = tuple((usage if draw(st.booleans()) else fixed)(str(draw(amounts))) for _ in range(draw(st.integers(0, 3))))
    due = draw(amounts)
    paid = draw(st.one_of(st.just(Decimal(0)), amounts))
    return Bill(
        due=str(due),
        paid=str(paid),
        refunded=str(draw(st.decimals(min_value=0, max_value=paid, places=2)) if draw(st.booleans()) else 0),
        currency=draw(st.sampled_from(["usd", "eur"])),
        late=draw(st.booleans()),
        lines=lines,
        status=draw(st.sampled_from([InvoiceStatus.FINALIZED, InvoiceStatus.FINALIZED, InvoiceStatus.DRAFT])),
    )


@settings(max_examples=25)
@given(st.lists(bills(), max_size=6))
async def test_what_is_always_true(account: Account, given_bills: list[Bill]) -> None:
    books = Books()
    async with account.transaction() as session:
        await books.customer(session, "A")
        for bill in given_bills:
            await books.invoice(session, bill)
    body = await account.get(f"/customers/{books.ids['A']}/invoices/summary")
    issued = [bill for bill in given_bills if bill.status is InvoiceStatus.FINALIZED]
    assert sum(s["total_invoice_count"] for s in body["summaries"]) == len(issued)
    assert {s["currency"] for s in body["summaries"]} == {bill.currency for bill in issued}
    for summary in body["summaries"]:
        figures = {name: Decimal(str(summary[name])) for name in FIELDS}
        assert all(figure >= 0 for figure in figures.values())
        assert figures["unpaid_usage_charges"] + figures["unpaid_fixed_charges"] == figures["total_unpaid_amount"]
        assert figures["total_overdue_amount"] <= figures["total_unpaid_amount"]
        assert figures["overdue_invoice_count"] <= figures["unpaid_invoice_count"] <= figures["total_invoice_count"]
        of_currency = [bill for bill in issued if bill.currency == summary["currency"]]
        revenue = sum(claimed(bill) for bill in of_currency)
        assert figures["total_revenue_amount"] == revenue
    if body["summaries"]:
        assert body["summaries"][0]["currency"] == body["default_currency"]
