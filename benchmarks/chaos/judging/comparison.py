"""The ledger held against the database: what was acknowledged is there, once, with its content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.traffic.catalogue import Tenant
from benchmarks.chaos.traffic.ledger import Entry, Kind, Ledger, State

SHOWN = 3
"""How many examples of one defect are printed; all are counted."""
SUMMARIES = 30
_PERIODS_TWICE = """
    SELECT subscription_id, period_start, count(*) FROM invoices
    WHERE status = 'published' AND invoice_status <> 'VOIDED' AND subscription_id IS NOT NULL
    AND billing_reason IN ('SUBSCRIPTION_CREATE', 'SUBSCRIPTION_CYCLE')
    GROUP BY subscription_id, billing_reason, period_start, period_end HAVING count(*) > 1
"""
_OPENING_INVOICES = """
    SELECT customer_id, count(*) FROM invoices WHERE billing_reason = 'SUBSCRIPTION_CREATE'
    AND status = 'published' AND invoice_status <> 'VOIDED' GROUP BY customer_id
"""
_CHANGE_INVOICES = """
    SELECT subscription_id, count(*) FROM invoices WHERE billing_reason IN ('SUBSCRIPTION_UPDATE', 'PRORATION')
    AND status = 'published' AND invoice_status <> 'VOIDED' GROUP BY subscription_id
"""
_PERIODS_BILLED = """
    SELECT count(*) FROM (SELECT DISTINCT subscription_id, period_start FROM invoices WHERE environment_id = %s
    AND status = 'published' AND invoice_status <> 'VOIDED' AND billing_reason = 'SUBSCRIPTION_CYCLE') AS period
"""
_PAID = """
    SELECT invoices.id, invoices.amount_paid, coalesce(sum(payments.amount), 0) FROM invoices
    LEFT JOIN payments ON payments.destination_id = invoices.id AND payments.status = 'published'
        AND payments.payment_status IN ('SUCCEEDED', 'OVERPAID')
    WHERE invoices.metadata ? 'reference' GROUP BY invoices.id, invoices.amount_paid
"""
_USAGE = """
    SELECT external_customer_id, count(*), count(DISTINCT sequence), sum(quantity) FROM meter_usage
    WHERE meter_id = %s GROUP BY external_customer_id
"""
_SUMMARY = """
    SELECT coalesce(sum(amount_remaining) FILTER (WHERE payment_status NOT IN ('SUCCEEDED', 'OVERPAID', 'REFUNDED')), 0)
    FROM invoices WHERE customer_id = %s AND status = 'published' AND invoice_status = 'FINALIZED'
"""


@dataclass(slots=True)
class Tally:
    """How often each defect was seen for each kind of thing."""

    lost: Counter[Kind] = field(default_factory=Counter)
    doubled: Counter[Kind] = field(default_factory=Counter)
    different: int = 0


@dataclass(slots=True)
class Comparison:
    """One comparison of a ledger with a database that nobody writes to any more."""

    ledger: Ledger
    admin: psycopg.Connection[Any]
    running: Tenant
    findings: Findings
    tally: Tally = field(default_factory=Tally)
    _shown: Counter[str] = field(default_factory=Counter)

    async def run(self) -> Tally:
        self._compare_events()
        self._compare_customers()
        self._compare_rows(Kind.INVOICE, "invoices", _has_total)
        self._compare_rows(Kind.PAYMENT, "payments", _has_amount)
        self._compare_rows(Kind.SUBSCRIPTION, "subscriptions", None)
        self._compare_opening_invoices()
        self._compare_plan_changes()
        self._compare_clock()
        self._compare_periods()
        self._compare_shared_runs()
        self._compare_paid()
        await self._compare_summaries()
        return self.tally

    def _rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self.admin.execute(statement, arguments).fetchall()

    def _add(self, defect: Defect, kind: Kind, detail: str, times: int = 1) -> None:
        if defect is Defect.LOST:
            self.tally.lost[kind] += times
        elif defect is Defect.DOUBLED:
            self.tally.doubled[kind] += times
        else:
            self.tally.different += times
        self._shown[f"{defect} {kind}"] += 1
        if self._shown[f"{defect} {kind}"] <= SHOWN:
            self.findings.add(defect, f"{kind}: {detail}")

    def _compare_events(self) -> None:
        stored = {
            row[0]: row[1:]
            for row in self._rows("SELECT id, external_customer_id, (properties->>'x')::numeric FROM events")
        }
        sent = {entry.reference: entry for entry in self.ledger.of(Kind.EVENT)}
        for entry in self.ledger.of(Kind.EVENT, State.ACKNOWLEDGED):
            expected = (entry.details["customer"], entry.details["value"])
            if stored.get(entry.reference) != expected:
                found = stored.get(entry.reference, "nothing")
                self._add(Defect.LOST, Kind.EVENT, f"{entry.reference}: sent {expected}, stored {found}")
        for reference in stored.keys() - sent.keys():
            self._add(Defect.DOUBLED, Kind.EVENT, f"{reference} was never sent")
        expected_usage: dict[str, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
        for customer, value in stored.values():
            count, total = expected_usage[customer]
            expected_usage[customer] = (count + 1, total + value)
        measured = {
            customer: (rows, distinct, total)
            for customer, rows, distinct, total in self._rows(_USAGE, self.running.meter_id)
        }
        for customer in expected_usage.keys() | measured.keys():
            count, total = expected_usage[customer]
            if measured.get(customer) != (count, count, total):
                detail = f"usage of {customer}: {count} events of {total}, measured {measured.get(customer)}"
                self._add(Defect.DIFFERENT, Kind.EVENT, detail)

    def _compare_customers(self) -> None:
        stored: dict[str, list[str]] = defaultdict(list)
        for customer_id, external_id in self._rows("SELECT id, external_id FROM customers WHERE status <> 'deleted'"):
            stored[external_id].append(customer_id)
        for entry in self.ledger.of(Kind.CUSTOMER):
            self._compare_ids(entry, stored[entry.reference])

    def _compare_ids(self, entry: Entry, found: list[str]) -> bool:
        """Whether exactly what was acknowledged is there; what was not may be there once."""
        if len(found) > 1:
            detail = f"{entry.reference} exists {len(found)} times: {', '.join(found)}"
            self._add(Defect.DOUBLED, entry.kind, detail, len(found) - 1)
        if entry.state is State.ACKNOWLEDGED and entry.made_id not in found:
            self._add(Defect.LOST, entry.kind, f"{entry.reference}: {entry.made_id} was acknowledged, found {found}")
            return False
        return entry.state is State.ACKNOWLEDGED

    def _compare_rows(self, kind: Kind, table: str, is_as_asked: Callable[[Entry, Any], bool] | None) -> None:
        """Rows that carry the reference of their request in their metadata."""
        stored: dict[str, list[str]] = defaultdict(list)
        rows: dict[str, dict[str, Any]] = {}
        query = (
            f"SELECT row.id, row.metadata->>'reference', to_jsonb(row) FROM {table} AS row "
            "WHERE row.metadata ? 'reference' AND row.status <> 'deleted'"
        )
        for row_id, reference, row in self._rows(query):
            stored[reference].append(row_id)
            rows[row_id] = row
        for entry in self.ledger.of(kind):
            is_there = self._compare_ids(entry, stored.pop(entry.reference, []))
            if is_there and is_as_asked is not None and not is_as_asked(entry, rows[entry.made_id]):
                self._add(Defect.LOST, kind, f"{entry.made_id} is not as it was acknowledged: {rows[entry.made_id]}")
        for reference, found in stored.items():
            self._add(Defect.DOUBLED, kind, f"{reference} was never asked for: {found}")

    def _compare_opening_invoices(self) -> None:
        opened = Counter(dict(self._rows(_OPENING_INVOICES)))
        for entry in self.ledger.of(Kind.SUBSCRIPTION):
            count = opened[entry.details["customer_id"]]
            if count > 1:
                self._add(Defect.DOUBLED, Kind.INVOICE, f"{entry.made_id} has {count} opening invoices", count - 1)
            if count < 1 and entry.state is State.ACKNOWLEDGED:
                self._add(Defect.LOST, Kind.INVOICE, f"{entry.made_id} has no opening invoice")

    def _compare_plan_changes(self) -> None:
        plans = dict(self._rows("SELECT id, plan_id FROM subscriptions"))
        invoiced = Counter(dict(self._rows(_CHANGE_INVOICES)))
        for entry in self.ledger.of(Kind.PLAN_CHANGE):
            subscription_id = entry.details["subscription_id"]
            if entry.state is State.ACKNOWLEDGED and plans.get(subscription_id) != entry.details["plan_id"]:
                self._add(Defect.LOST, Kind.PLAN_CHANGE, f"{subscription_id} has plan {plans.get(subscription_id)}")
            if invoiced[subscription_id] > 1:
                detail = f"{subscription_id} has {invoiced[subscription_id]} invoices of one change"
                self._add(Defect.DOUBLED, Kind.PLAN_CHANGE, detail)

    def _compare_clock(self) -> None:
        moves = self.ledger.of(Kind.CLOCK_MOVE, State.ACKNOWLEDGED)
        if not moves:
            return
        furthest = max(move.details["target"] for move in moves)
        ((stands_at,),) = self._rows("SELECT max(frozen_time) FROM environments")
        if stands_at is None or stands_at < furthest:
            self._add(Defect.LOST, Kind.CLOCK_MOVE, f"acknowledged at {furthest}, stands at {stands_at}")

    def _compare_periods(self) -> None:
        for subscription_id, start, count in self._rows(_PERIODS_TWICE):
            detail = f"{subscription_id} has {count} invoices for the period of {start}"
            self._add(Defect.DOUBLED, Kind.INVOICE, detail, count - 1)

    def _compare_shared_runs(self) -> None:
        """Each subscription has an invoice for every period that was made due; that none has two is asked above."""
        furthest: dict[str, Mapping[str, Any]] = {}
        for entry in self.ledger.of(Kind.SHARED_RUN):
            furthest[entry.details["environment_id"]] = entry.details
        for environment_id, details in furthest.items():
            wanted = details["subscriptions"] * details["periods"]
            ((billed,),) = self._rows(_PERIODS_BILLED, environment_id)
            if billed != wanted:
                self._add(Defect.LOST, Kind.SHARED_RUN, f"{billed} periods of {wanted} were billed", wanted - billed)

    def _compare_paid(self) -> None:
        acknowledged: dict[str, Decimal] = defaultdict(Decimal)
        possible: dict[str, Decimal] = defaultdict(Decimal)
        for entry in self.ledger.of(Kind.PAYMENT):
            invoice_id, amount = entry.details["invoice_id"], entry.details["amount"]
            possible[invoice_id] += amount
            if entry.state is State.ACKNOWLEDGED:
                acknowledged[invoice_id] += amount
        for invoice_id, paid, from_payments in self._rows(_PAID):
            if paid != from_payments:
                self._add(Defect.DIFFERENT, Kind.PAYMENT, f"{invoice_id}: paid {paid}, its payments {from_payments}")
            if not acknowledged[invoice_id] <= paid <= possible[invoice_id]:
                detail = f"{invoice_id}: acknowledged {acknowledged[invoice_id]}, asked {possible[invoice_id]}, {paid}"
                self._add(Defect.DIFFERENT, Kind.PAYMENT, detail)

    async def _compare_summaries(self) -> None:
        """What the customer summary says is owed, against the invoices themselves."""
        for customer_id in list(_customers_with_invoices(self.ledger))[-SUMMARIES:]:
            path = f"/customers/{customer_id}/invoices/summary"
            answer = await self.running.client.send("GET", path, repeats_for_seconds=10)
            summaries = answer.json().get("summaries", []) if answer.is_success else []
            said = sum((Decimal(summary["total_unpaid_amount"]) for summary in summaries), Decimal(0))
            ((owed,),) = self._rows(_SUMMARY, customer_id)
            if said != owed:
                self._add(Defect.DIFFERENT, Kind.READ, f"summary of {customer_id} says {said}, invoices say {owed}")


def _customers_with_invoices(ledger: Ledger) -> Iterable[str]:
    return dict.fromkeys(
        entry.details["customer_id"]
        for kind in (Kind.INVOICE, Kind.SUBSCRIPTION)
        for entry in ledger.of(kind, State.ACKNOWLEDGED)
        if not entry.details.get("is_clocked")
    )


def _has_total(entry: Entry, row: dict[str, Any]) -> bool:
    return bool(Decimal(str(row["total"])) == entry.details["total"])


def _has_amount(entry: Entry, row: dict[str, Any]) -> bool:
    is_whole = Decimal(str(row["amount"])) == entry.details["amount"] and row["payment_status"] == "SUCCEEDED"
    return bool(is_whole and row["destination_id"] == entry.details["invoice_id"])
