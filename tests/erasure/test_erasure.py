"""Erasing a customer: nothing names the person any more, and the books are whole."""

from __future__ import annotations

import io
from typing import Any

import pypdf
import pytest
from sqlalchemy import text

from farthing.doctor.examination import audit
from farthing.jobs.duties.duty import perform
from farthing.jobs.duties.schedule import duties
from tests.account import Account
from tests.erasure.person import EXACT, PERSON, live, traces


async def _figures(account: Account, customer: str) -> dict[str, Any]:
    """What the books say in numbers."""
    invoices = (await account.get("/invoices", customer_id=customer, limit=100))["items"]
    return {
        "invoices": {row["id"]: (row["invoice_number"], row["total"], row["amount_paid"]) for row in invoices},
        "summary": await account.get(f"/customers/{customer}/invoices/summary", currency="usd"),
    }


async def test_no_trace_is_left_in_any_table_and_the_books_are_whole(account: Account) -> None:
    life = await live(account)
    before = await _figures(account, life.customer_id)
    named = await traces(account)
    assert {"customers.name", "events.properties", "meter_usage.key", "system_events.payload"} <= named.keys()
    answer = await account.post(f"/customers/{life.customer_id}/erase", {"documents": "erase"}, expect=200)
    assert await traces(account) == {}
    assert "documents" not in answer
    assert answer["rows"]["events"] == 2
    assert await _figures(account, life.customer_id) == before
    findings = await audit(account.database, only=[account.environment_id])
    assert findings.differences == []
    customer = await account.get(f"/customers/{life.customer_id}")
    assert (customer["name"], customer["status"], customer["timezone"]) == (
        "Erased customer",
        "archived",
        "Europe/London",
    )


async def test_events_count_what_they_counted(account: Account) -> None:
    life = await live(account)
    query = {"start_time": "2026-04-01T00:00:00Z", "end_time": "2026-05-01T00:00:00Z"}
    meter = {"meter_id": life.feature["meter_id"], **query}

    async def counted(external_id: str) -> Any:
        usage = {**meter, "external_customer_id": external_id}
        return (await account.post("/events/usage/meter", usage, expect=200))["value"]

    before = await counted(PERSON["external_id"])
    erased = await account.post(f"/customers/{life.customer_id}/erase", expect=200)
    assert await counted(erased["external_id"]) == before
    async with account.transaction() as session:
        exact = await session.scalars(text("SELECT DISTINCT properties ->> 'exact' FROM events"))
        assert exact.all() == [EXACT]


@pytest.mark.slow
async def test_issued_documents_name_their_buyer_until_they_are_old_enough(account: Account) -> None:
    life = await live(account)
    answer = await account.post(f"/customers/{life.customer_id}/erase", expect=200)
    assert answer["documents"]["count"] >= 2
    assert answer["documents"]["until"].endswith("-01-01T00:00:00Z")
    left = await traces(account)
    assert {place.split(".")[0] for place in left} <= {
        "party_versions",
        "invoices",
        "invoice_line_items",
        "credit_notes",
    }
    for path in (f"/invoices/{life.invoice['id']}/pdf", f"/creditnotes/{life.note['id']}/pdf"):
        pages = pypdf.PdfReader(io.BytesIO((await account.http.get(path)).content)).pages
        assert "Ada Quillfeather" in pages[0].extract_text()

    await _let_years_pass(account, life.customer_id)
    assert await traces(account) == {}
    pages = pypdf.PdfReader(io.BytesIO((await account.http.get(f"/invoices/{life.invoice['id']}/pdf")).content)).pages
    assert "Erased customer" in pages[0].extract_text()


async def _let_years_pass(account: Account, customer: str) -> None:
    async with account.transaction() as session:
        await session.execute(
            text("UPDATE customers SET documents_kept_until = '2020-01-01' WHERE id = :id"), {"id": customer}
        )
    (duty,) = (duty for duty in duties(account.database, account.settings) if duty.name == "document_erasure")
    await perform(account.database, duty, account.database.clock.now())


async def test_an_erasure_is_an_activity_and_can_be_repeated(account: Account) -> None:
    life = await live(account)
    for _ in range(2):
        await account.post(f"/customers/{life.customer_id}/erase", expect=200)
    query = {"customer_id": life.customer_id, "actions": ["customer.erased"], "expand": ["state"]}
    activities = (await account.post("/activity", query, expect=200))["items"]
    assert [activity["entity"]["label"] for activity in activities] == ["Erased customer"] * 2


@pytest.mark.parametrize(
    ("years", "is_kept"), [pytest.param(10, True, id="ten years"), pytest.param(0, True, id="to the end of the year")]
)
async def test_how_long_documents_stay_is_a_setting(account: Account, years: int, is_kept: bool) -> None:
    await account.put("/settings/erasure_config", {"value": {"document_retention_years": years}})
    life = await live(account)
    answer = await account.post(f"/customers/{life.customer_id}/erase", expect=200)
    assert ("documents" in answer) is is_kept
    year = int(life.invoice["finalized_at"][:4])
    assert answer["documents"]["until"] == f"{year + 1 + years}-01-01T00:00:00Z"


async def test_who_has_something_open_is_not_erased(account: Account) -> None:
    customer = await account.post("/customers", PERSON)
    wallet = await account.post("/wallets", {"customer_id": customer["id"], "currency": "usd"}, expect=200)
    await account.post(f"/customers/{customer['id']}/erase", expect=400)
    await account.post(f"/wallets/{wallet['id']}/terminate", {}, expect=200)
    await account.post(f"/customers/{customer['id']}/erase", expect=200)
    assert await traces(account) == {}


async def test_another_customer_of_the_same_name_and_place_stays(account: Account) -> None:
    life = await live(account)
    twin = await account.post("/customers", {**PERSON, "external_id": "twin"})
    await account.post(f"/customers/{life.customer_id}/erase", {"documents": "erase"}, expect=200)
    read = await account.get(f"/customers/{twin['id']}")
    assert {name: read[name] for name in ("name", "email", "address_city")} == {
        name: PERSON[name] for name in ("name", "email", "address_city")
    }


async def test_only_somebody_in_charge_may_erase(account: Account) -> None:
    customer = await account.post("/customers", PERSON)
    key = await account.new_key(["all_writer"])
    headers = {"x-api-key": key}
    refused = await account.http.post(f"/customers/{customer['id']}/erase", json={}, headers=headers)
    assert refused.status_code == 403


async def test_the_log_and_the_ledger_stay_append_only(account: Account) -> None:
    life = await live(account)
    for statement in (
        "UPDATE system_events SET entity_label = 'x' WHERE customer_id = :id",
        "UPDATE wallet_transactions SET description = 'x' WHERE customer_id = :id",
    ):
        with pytest.raises(Exception, match="append-only"):
            async with account.transaction() as session:
                await session.execute(text(statement), {"id": life.customer_id})
