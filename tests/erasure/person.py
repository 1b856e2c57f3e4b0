"""A person whose name stands wherever a customer's can, and a look through every table for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.payments.till import Till
from tests.subscriptions.shop import Shop, fixed
from tests.transfer.office import TransferOffice

PERSON: dict[str, Any] = {
    "external_id": "ada.lovelace@ockham.example",
    "name": "Ada Quillfeather",
    "email": "ada.private@ockham.example",
    "contact": "+44 1632 960",
    "address_line1": "12 St James's Square",
    "address_line2": 'Attic "Left"',
    "address_city": "Horsleydown",
    "address_state": "Surrey",
    "address_postal_code": "KT11 9ZZ",
    "address_country": "GB",
    "tax_id": "GB999999973",
    "timezone": "Europe/London",
    "contact_persons": [
        {"first_name": "Charles", "last_name": "Babbage", "email": "cb@engines.example", "mobile": "+44 1632 961"}
    ],
    "metadata": {"buyer_reference": "REF-OCKHAM", "nickname": "Enchantress"},
}
EXACT = "0.1234567890123456789"
"""A number that no float holds."""
FORMER_NAME = "Ada Byronhart"
TRACES = (
    "ada.lovelace@ockham",
    "Quillfeather",
    "ada.private",
    "1632 960",
    "St James",
    "Attic",
    "Horsleydown",
    "Surrey",
    "KT11 9ZZ",
    "GB999999973",
    "Babbage",
    "cb@engines",
    "REF-OCKHAM",
    "Enchantress",
    "Byronhart",
    "203.0.113.77",
)


@dataclass
class Life:
    """What a customer did until it is to be erased: what is open is closed, what is owed is paid."""

    customer_id: str
    invoice: dict[str, Any]
    note: dict[str, Any]
    wallet_id: str
    feature: dict[str, Any]


async def live(account: Account) -> Life:
    """Do what leaves a customer's name in every part of the books."""
    shop, till = Shop(account), Till(account)
    await account.put("/settings/email_config", {"value": {"enabled": True}})
    await account.post("/webhooks/endpoints", {"url": "https://ockham-receiver.invalid/"})
    made = await account.post("/customers", {**PERSON, "name": FORMER_NAME})
    customer = made["id"]
    await account.put(f"/customers/{customer}", {"name": PERSON["name"]})
    feature = await shop.feature("calls", type="COUNT_UNIQUE", field="who")
    plan = await shop.plan(fixed("30"), shop.usage(feature, "1"))
    body = {"customer_id": customer, "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    body |= {"metadata": {"owner": "Ada Quillfeather"}, "start_date": "2026-04-01T00:00:00Z"}
    subscription = await account.post("/subscriptions", body)
    for number, who in enumerate((PERSON["email"], PERSON["email"], "somebody else", "a third")):
        event = {"event_name": "calls", "event_id": f"call-{number}", "external_customer_id": PERSON["external_id"]}
        event |= {"properties": {"who": who, "exact": 0}, "timestamp": "2026-04-02T00:00:00Z"}
        body_text = json.dumps(event).replace('"exact": 0', f'"exact": {EXACT}')
        sent = await account.http.post("/events", content=body_text, headers={"content-type": "application/json"})
        assert sent.status_code == 202
    await _correct(account)
    await _be_among_others(account, customer, subscription["id"])
    wallet = await account.post("/wallets", {"customer_id": customer, "currency": "usd"}, expect=200)
    path = f"/wallets/{wallet['id']}"
    top_up = {"credits_to_add": "20", "transaction_reason": "FREE_CREDIT_GRANT", "description": "For Ada Quillfeather"}
    await account.post(f"{path}/top-up", top_up, expect=200)
    invoice = await till.invoice("100", customer=customer, description="Advice to Ada Quillfeather")
    token = (await account.get(f"/customers/portal/{PERSON['external_id']}"))["token"]
    headers = {"x-session-token": token, "user-agent": "Quillfeather's browser"}
    line = {"address_line2": PERSON["address_line2"]}
    (await account.http.put("/customer/portal/info", json=line, headers=headers)).raise_for_status()
    await till.pay(invoice, metadata={"paid_by": PERSON["email"]})
    line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "25"}
    note = {
        "invoice_id": invoice["id"],
        "reason": "BILLING_ERROR",
        "memo": "Sorry, Ada Quillfeather",
        "line_items": [line],
    }
    issued = await account.post("/creditnotes", {**note, "process_credit_note": True})
    await account.post(f"/subscriptions/{subscription['id']}/cancel", {"cancellation_type": "immediate"}, expect=200)
    for unpaid in (await account.get("/invoices", customer_id=customer, limit=100))["items"]:
        if unpaid["invoice_status"] == "DRAFT":
            await account.post(f"/invoices/{unpaid['id']}/void", {}, expect=200)
        elif unpaid["amount_remaining"] != "0":
            await account.put(f"/invoices/{unpaid['id']}/payment", {"payment_status": "SUCCEEDED"})
    for open_wallet in await account.get(f"/customers/{customer}/wallets"):
        await account.post(f"/wallets/{open_wallet['id']}/terminate", {}, expect=200)
    return Life(customer, invoice, issued, wallet["id"], feature)


async def _correct(account: Account) -> None:
    """Correct an event, with a word about whose it was."""
    event = {"id": "call-1", "event_name": "calls", "external_customer_id": PERSON["external_id"]}
    event |= {"properties": {"who": PERSON["email"], "exact": 0}, "timestamp": "2026-04-03T00:00:00Z"}
    body = json.dumps({"reason": "Ada Quillfeather asked", "events": [event]}).replace(
        '"exact": 0', f'"exact": {EXACT}'
    )
    amended = await account.http.post("/events/amend", content=body, headers={"content-type": "application/json"})
    assert amended.status_code == 200, amended.text


async def _be_among_others(account: Account, customer: str, subscription: str) -> None:
    """Stand in what is of nobody in particular: a file that was imported, a view, a report to a marketplace."""
    office = TransferOffice(account, account.database, account.settings)
    bad_row = f"external_id,email\n{PERSON['external_id']},Ada Quillfeather\n".encode()
    upload_id = await office.upload(bad_row, "Ada Quillfeather.csv")
    task: dict[str, Any] = {
        "task_type": "IMPORT",
        "entity_type": "CUSTOMERS",
        "file_type": "CSV",
        "file_provider": "farthing",
    }
    task |= {"upload_id": upload_id, "file_name": "Ada Quillfeather.csv", "metadata": {"asked_by": PERSON["email"]}}
    await account.post("/tasks", task, expect=200)
    await office.work()
    definition = {"metrics": ["net_billing"], "shape": "scalar", "time": {"range": "2026-01-01..2027-01-01"}}
    await account.post("/analytics/views", {"name": "What Ada Quillfeather paid", "definition": definition})
    rate = {"from_currency": "usd", "to_currency": "xts", "rate": "2"}
    await account.post("/forex", {**rate, "scope": "tenant"})
    own = {"scope": "customer", "scope_id": customer, "start_date": "2090-01-01T00:00:00Z"}
    await account.post("/forex", {**rate, **own, "metadata": {"for": FORMER_NAME}})
    given = {"customer": customer, "subscription": subscription, "external_id": PERSON["external_id"]}
    given |= {
        "record": f"rec_{customer}"[:50],
        "tenant": account.tenant_id,
        "environment": account.environment_id,
        "about": PERSON["email"],
    }
    async with account.transaction() as session:
        for statement in _REPORTED:
            await session.execute(text(statement), given)


_REPORTED = (
    "INSERT INTO usage_records (id, tenant_id, environment_id, status, created_at, updated_at, created_by, updated_by, "
    "customer_id, customer_external_id, subscription_id, plan_id, currency, period_start, period_end, amount, "
    "quantity, synced, syncs) VALUES (:record, :tenant, :environment, 'published', now(), now(), '', '', "
    ":customer, :external_id, :subscription, '', 'usd', '2026-04-01', '2026-04-02', 0, 0, true, '[]')",
    "INSERT INTO provider_events (id, tenant_id, environment_id, provider, event_id, kind, body, received_at) VALUES "
    "(:record, :tenant, :environment, 'stripe', 'evt', 'payment', CAST(:about AS text), now())",
)
"""What else reports about a customer: to a marketplace, and from a provider."""


async def traces(account: Account) -> dict[str, list[str]]:
    """Every text of every table in which the person is named: which of its words, by table and column."""
    columns = text(
        "SELECT table_name, column_name, data_type, EXISTS (SELECT FROM information_schema.columns AS owner "
        "WHERE owner.table_schema = 'public' AND owner.table_name = columns.table_name "
        "AND owner.column_name = 'tenant_id') FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type IN ('text', 'character varying', 'jsonb', 'json', 'ARRAY', 'bytea') "
        "AND table_name NOT LIKE 'pg\\_%'"
    )
    seen: dict[str, list[str]] = {}
    for scope in (account.scope, SYSTEM):
        async with account.database.transaction(scope, read_only=True) as session:
            for table, column, type, is_of_tenant in (await session.execute(columns)).all():
                readable = f"encode({column}, 'escape')" if type == "bytea" else f"CAST({column} AS text)"
                query = text(f"SELECT {readable} FROM {table} WHERE {readable} ILIKE ANY(:words)")
                words: dict[str, Any] = {"words": [f"%{trace}%" for trace in TRACES]}
                if is_of_tenant or table == "tenants":
                    # other tests have persons of their own, who are not erased
                    owner = "tenant_id" if is_of_tenant else "id"
                    query = text(f"{query.text} AND ({owner} = :tenant OR {owner} = '' OR {owner} IS NULL)")
                    words["tenant"] = account.tenant_id
                for (value,) in (await session.execute(query, words)).all():
                    named = [trace for trace in TRACES if trace.lower() in value.lower()]
                    seen.setdefault(f"{table}.{column}", []).extend(named)
    return {place: sorted(set(named)) for place, named in seen.items()}
