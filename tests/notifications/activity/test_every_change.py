"""Every route that changes something leaves its activity, once for each entity, without anything secret."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select

import farthing
from farthing.storage.record.outbox import SystemEvent
from farthing.storage.tables import Base
from tests.account import Account
from tests.api.endpoints import BY_ID
from tests.api.tour.building import build
from tests.api.tour.calls import Call, OverHttp
from tests.api.tour.changing import change, end
from tests.storage.all_tables import load_all_tables

CHANGES_NOTHING = {
    "previewWalletDebit",
    "previewSubscriptionLineItem",
    "previewSubscriptionLineItemUpdate",
    "previewSubscriptionLineItemEnd",
    "previewSubscriptionChange",
    "previewSubscriptionPlanChangeV2",
    "previewSubscriptionCancellation",
    "createSetupIntent",
    "ingestEvent",
    "ingestEventsBulk",
    "syncPlanPrices",
    "syncAddonPrices",
    "testWebhookEndpoint",
    "recoverWebhookEndpoint",
    "resendWebhookMessage",
    "retryWebhook",
    "triggerInvoiceWebhook",
    "scheduleUpdateBillingPeriod",
    "scheduleDraftFinalization",
    "uploadTaskFile",
    "importReferenceRates",  # but for the market rates that it moves, and there is none
}
"""Writes that change no entity: previews, pages at a provider, usage, what finds nothing to do, deliveries."""
COMMITS_ON_THE_WAY = {"createCheckoutSession", "processPayment"}
"""Before a provider is asked: an entity may have one activity before and one after."""

NOT_AUDITED = {
    "alert_logs": "a journal",
    "attachment_contents": "part of an attachment",
    "coupon_applications": "part of an invoice",
    "credit_grant_applications": "progress of a grant; what it pays in is a wallet transaction",
    "credit_note_line_items": "part of a credit note",
    "credit_note_sequences": "a counter",
    "customer_search_terms": "follow from customers",
    "emails": "a journal",
    "entitlement_grants": "follow from entitlements",
    "euro_reference_rates": "figures of a bank; rates that follow them are audited",
    "event_arrival": "a counter",
    "event_store": "where events are",
    "events": "usage",
    "event_versions": "usage",
    "events_withdrawn": "usage",
    "external_id_tenures": "follows from customers",
    "idempotent_responses": "answers that are kept for repeats",
    "invoice_correction_lines": "part of a correction",
    "invoice_line_items": "part of an invoice",
    "invoice_sequences": "a counter",
    "invoice_settlements": "part of an invoice",
    "invoice_totals": "follows from invoices",
    "invoice_write_offs": "part of an invoice",
    "job_runs": "a journal",
    "master_keys": "the deployment's",
    "meter_backfills": "progress",
    "meter_usage": "usage",
    "meter_versions": "a counter",
    "migrated_records": "progress of a migration",
    "migrations": "progress of a migration",
    "party_versions": "follow from customers and settings",
    "password_links": "lead to a change of a user",
    "password_mails": "lead to a change of a user",
    "payment_attempts": "part of a payment",
    "pending_event_writes": "usage on its way to a store elsewhere",
    "proration_settlements": "part of a change of a subscription",
    "provider_events": "a journal",
    "saved_list_views": "how a person looks at a list",
    "second_factors": "sign-in",
    "sign_in_attempts": "sign-in",
    "sign_in_sessions": "sign-in",
    "subscription_changes": "answers that are kept for repeats",
    "stored_file_pieces": "part of an upload",
    "stored_files": "wait for an import",
    "system_events": "the log itself",
    "task_problems": "part of an import",
    "taxes_applied": "part of an invoice",
    "test_gateway_charges": "the test provider's",
    "test_gateway_events": "the test provider's",
    "test_gateway_methods": "the test provider's",
    "test_gateway_refunds": "the test provider's",
    "test_gateway_sessions": "the test provider's",
    "undelivered_counts": "counted from deliveries and mails",
    "usage_evaluations": "progress",
    "usage_recordings": "progress",
    "usage_records": "follow from usage",
    "usage_report_parts": "follow from usage",
    "usage_reports": "follow from usage",
    "usage_notices": "progress",
    "wallet_consumptions": "part of the ledger",
    "webhook_attempts": "a journal",
    "webhook_deliveries": "a journal",
    "webhook_environments": "a gauge",
}


class WatchedCalls(OverHttp):
    """Calls whose request ids are remembered, and every secret that an answer shows."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.requests: dict[str, Call] = {}
        self.secrets: set[str] = set()

    async def __call__(self, call: Call) -> Any:
        answer = await super().__call__(call)
        self.requests[self.last.headers["x-request-id"]] = call
        self.secrets |= set(secrets_in(answer))
        return answer


def secrets_in(answer: Any, name: str = "") -> Iterator[str]:
    """Whatever an answer calls a secret: keys, passwords, tokens."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield from secrets_in(value, key)
    elif isinstance(answer, list):
        for item in answer:
            yield from secrets_in(item, name)
    elif isinstance(answer, str) and name in {"api_key", "secret", "password", "token", "previous_secret"}:
        yield answer


def writes(call: Call) -> bool:
    return BY_ID[call.operation].writes or call.operation in {"deleteEvent", "voidEvents", "amendEvents"}


@pytest.fixture
async def walked(account: Account) -> tuple[WatchedCalls, list[Row[Any]]]:
    """A walk through everything that can be changed, and what it left in the log, oldest first."""
    go = WatchedCalls(account)
    made = await build(go)
    await change(go, made)
    await end(go, made)
    async with account.transaction(read_only=True) as session:
        rows = await session.execute(select(*SystemEvent.__table__.columns).order_by(SystemEvent.id))
        return go, list(rows)


async def test_each_change_left_one_activity_for_each_entity(
    account: Account, walked: tuple[WatchedCalls, list[Row[Any]]]
) -> None:
    go, rows = walked
    listed = [row for row in rows if not row.is_echo and row.request_id is not None]
    by_request = Counter(row.request_id for row in listed)
    silent = {call.operation for id, call in go.requests.items() if writes(call) and not by_request[id]}
    assert silent - CHANGES_NOTHING == set()
    spoken = {go.requests[row.request_id].operation for row in listed}
    assert spoken & CHANGES_NOTHING == set()
    twice = {
        go.requests[request_id].operation
        for (request_id, _), count in Counter((row.request_id, row.entity_id) for row in listed).items()
        if count > 1
    }
    assert twice - COMMITS_ON_THE_WAY == set()
    # every request is the key's, through the API, from here
    assert {(row.actor_type, row.actor_label, row.owner_id, row.source) for row in listed} == {
        ("api_key", "test", account.user_id, "api")
    }
    assert {row.ip for row in listed} == {"127.0.0.1"}
    assert all(row.user_agent.startswith("python-httpx") for row in listed)
    updates = [row for row in listed if row.payload is None and row.event_name.endswith(".updated") and not row.changes]
    assert {row.event_name for row in updates} <= {"settings.updated"}  # its first value replaces no row

    # and nothing secret stands in any of it
    assert len(go.secrets) >= 4
    text = repr([(row.payload, row.state, row.changes, row.entity_label) for row in rows])
    stored = await stored_secrets(account)
    assert [secret for secret in {*go.secrets, *stored, account.key} if secret in text] == []


async def stored_secrets(account: Account) -> set[str]:
    """Hashes and sealed credentials of the account, as text."""
    from farthing.identity.tables import Secret, User

    async with account.transaction(read_only=True) as session:
        hashes = set(await session.scalars(select(Secret.hash)))
        passwords = set(await session.scalars(select(User.password_hash).where(User.password_hash.is_not(None))))
    return hashes | {password for password in passwords if password}


def test_each_table_says_whether_its_changes_are_activities() -> None:
    load_all_tables()
    audited = {mapper.local_table.name for mapper in Base.registry.mappers if mapper.class_.audit is not None}  # type: ignore[attr-defined]
    tables = {mapper.local_table.name for mapper in Base.registry.mappers}  # type: ignore[attr-defined]
    assert audited.isdisjoint(NOT_AUDITED)
    assert tables - audited == NOT_AUDITED.keys()


BOOKKEEPING_STATEMENTS = {
    "farthing/invoices/lifecycle/numbering.py": {"invoices"},  # the number, beside the event that tells of it
    "farthing/notifications/webhooks/delivery/queue.py": {"webhook_endpoints"},  # since when it fails
    "farthing/credits/ledger/posting.py": {"wallet_transactions"},  # what is left of a lot, as the ledger says
}
"""Statements in plain SQL on audited tables, which the log does not see."""
_WRITES = re.compile(r"\b(?:UPDATE|INSERT INTO|DELETE FROM) ([a-z_]+)\b")


def test_plain_sql_writes_to_audited_tables_for_bookkeeping_alone() -> None:
    audited = {mapper.local_table.name for mapper in Base.registry.mappers if mapper.class_.audit is not None}  # type: ignore[attr-defined]
    root = Path(farthing.__file__).parent
    written: dict[str, set[str]] = {}
    for module in sorted(root.rglob("*.py")):
        if "migrations" not in module.parts:
            tables = set(_WRITES.findall(module.read_text())) & audited
            if tables:
                written[f"farthing/{module.relative_to(root)}"] = tables
    assert written == BOOKKEEPING_STATEMENTS


def test_what_tables_declare_names_their_attributes() -> None:
    for mapper in Base.registry.mappers:
        audit = mapper.class_.audit
        if audit is None:
            continue
        attributes = {attribute.key for attribute in mapper.column_attrs}
        named = {*audit.named_by, *audit.named_after, *audit.secret, *audit.bookkeeping, *audit.part_of}
        assert named <= attributes, mapper.class_.__name__
