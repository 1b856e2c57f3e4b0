"""Mixed traffic from outside: what clients send, and what they write down about it."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.traffic.catalogue import CLOCK_START, EVENT_NAME, Tenant
from benchmarks.chaos.traffic.client import Client, NoAnswer
from benchmarks.chaos.traffic.ledger import Entry, Kind, Ledger, State

BATCH = 25
INVOICE_TOTAL = Decimal(1000)
MOST_PAYMENTS = 8
"""Per invoice, of at most 100 each, so that none ever finds its invoice paid."""
UNKEYED_REPEATS_FOR_SECONDS = 30
"""The service takes an equal payment for a repeated one for 60 seconds; a client must not repeat it later than that."""
THINK_SECONDS = (0.02, 0.1)
MOST_REQUESTS = 100_000
"""Per phase, repetitions apart; no run goes on for ever because somebody asked for too much."""


@dataclass(slots=True)
class Load:
    """Clients that send requests until told to stop; each finishes what it began."""

    running: Tenant
    clocked: Tenant
    ledger: Ledger
    findings: Findings
    chance: random.Random
    clients: int
    payments_of: dict[str, int] = field(default_factory=dict)
    """By invoice id, how many payments were begun."""
    changed: set[str] = field(default_factory=set)
    """Ids of subscriptions whose plan change was begun."""
    clock_target: datetime = CLOCK_START
    requests: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _ending: bool = False

    def start(self) -> None:
        loops = [self._client() for _ in range(self.clients)]
        self._tasks = [asyncio.create_task(loop) for loop in [*loops, self._clock_keeper()]]

    async def settle(self, seconds: float) -> None:
        """Begin nothing new, and wait until everything that was begun has its answer or is given up."""
        self._ending = True
        give_up_at = time.monotonic() + seconds
        for tenant in (self.running, self.clocked):
            tenant.client.give_up_at = give_up_at
        await asyncio.gather(*self._tasks)
        unanswered = [
            entry
            for kind in Kind
            for entry in self.ledger.of(kind, State.SENT)
            if entry.is_repeatable and kind is not Kind.CLOCK_MOVE
        ]
        for entry in unanswered[:5]:
            self.findings.add(Defect.UNANSWERED, f"{entry.kind}: {entry.reference}")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for tenant in (self.running, self.clocked):
            await tenant.client.http.aclose()

    async def _client(self) -> None:
        operations: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (5, self._send_event),
            (3, self._send_batch),
            (3, self._create_customer),
            (4, self._create_invoice),
            (6, self._pay),
            (4, self._subscribe),
            (2, self._change_plan),
            (4, self._read),
        ]
        weights = [weight for weight, _ in operations]
        while not self._ending and self.requests < MOST_REQUESTS:
            self.requests += 1
            (_, operation), *_ = self.chance.choices(operations, weights)
            with suppress(NoAnswer):
                await operation()
            await asyncio.sleep(self.chance.uniform(*THINK_SECONDS))

    def _reference(self) -> str:
        return uuid.UUID(int=self.chance.getrandbits(128)).hex

    def _check(self, answer: httpx.Response, entry: Entry) -> bool:
        """Whether it was acknowledged; a refusal is a defect, for the load asks only for what is right."""
        if answer.is_success:
            return True
        entry.state = State.REFUSED
        self.findings.add(Defect.REFUSED, f"{entry.kind} {entry.reference}: {answer.status_code} {answer.text[:300]}")
        return False

    # events

    def _new_event(self) -> tuple[Entry, dict[str, Any]]:
        known = self.ledger.of(Kind.CUSTOMER, State.ACKNOWLEDGED)
        customer = self.chance.choice(known).reference if known and self.chance.random() < 0.7 else "nobody-yet"
        # some belong to the months that subscriptions were billed for already
        moment = datetime.now(UTC) - timedelta(seconds=self.chance.randrange(1, 86_400 * 20))
        reference, value = self._reference(), self.chance.randrange(1, 100)
        entry = Entry(Kind.EVENT, reference, {"customer": customer, "value": value})
        body = {
            "event_name": EVENT_NAME,
            "event_id": reference,
            "external_customer_id": customer,
            "timestamp": moment.isoformat(),
            "properties": {"x": value, "reference": reference},
        }
        return self.ledger.record(entry), body

    async def _send_event(self) -> None:
        entry, body = self._new_event()
        answer = await self.running.client.send("POST", "/events", body)
        if self._check(answer, entry):
            self.ledger.acknowledge([entry])

    async def _send_batch(self) -> None:
        made = [self._new_event() for _ in range(BATCH)]
        answer = await self.running.client.send("POST", "/events/bulk", {"events": [body for _, body in made]})
        if self._check(answer, made[0][0]):
            self.ledger.acknowledge(entry for entry, _ in made)
            if self.chance.random() < 0.3:  # a client that lost its own note of the answer sends it all again
                await self.running.client.send("POST", "/events/bulk", {"events": [body for _, body in made]})

    # customers, invoices, payments

    async def _create_customer(self) -> str:
        """The id of a new customer; with a key or without one."""
        client, reference = self.running.client, self._reference()
        entry = self.ledger.record(Entry(Kind.CUSTOMER, reference, {}))
        key = f"customer-{reference}" if self.chance.random() < 0.5 else None
        body = {"external_id": reference, "name": f"Customer {reference[:8]}"}
        answer = await client.send("POST", "/customers", body, key=key)
        if answer.status_code == 409 and key is None:
            # the first attempt was carried out, and its answer lost
            answer = await client.send("GET", f"/customers/external/{reference}")
        if not self._check(answer, entry):
            raise NoAnswer
        made_id: str = answer.json()["id"]
        self.ledger.acknowledge([entry], made_id)
        return made_id

    async def _create_invoice(self) -> None:
        reference, has_key = self._reference(), self.chance.random() < 0.7
        customer_id = await self._customer_of_running()
        details = {"total": INVOICE_TOTAL, "customer_id": customer_id}
        entry = Entry(Kind.INVOICE, reference, details, is_repeatable=has_key)
        total = str(INVOICE_TOTAL)
        body = {
            "customer_id": customer_id,
            "currency": "usd",
            "amount_due": total,
            "subtotal": total,
            "total": total,
            "line_items": [{"display_name": "Work", "quantity": "1", "amount": total}],
            "metadata": {"reference": reference},
        }
        self.ledger.record(entry)
        key = f"invoice-{reference}" if has_key else None
        answer = await self.running.client.send("POST", "/invoices", body, key=key, is_repeatable=has_key)
        if self._check(answer, entry):
            self.ledger.acknowledge([entry], answer.json()["id"])

    async def _customer_of_running(self) -> str:
        """A customer of the tenant whose clock runs; those of the other have subscriptions only."""
        mine = [
            entry.made_id
            for entry in self.ledger.of(Kind.CUSTOMER, State.ACKNOWLEDGED)
            if not entry.details.get("is_clocked")
        ]
        return self.chance.choice(mine) if mine else await self._create_customer()

    async def _pay(self) -> None:
        open_invoices = [
            entry.made_id
            for entry in self.ledger.of(Kind.INVOICE, State.ACKNOWLEDGED)[-50:]
            if self.payments_of.get(entry.made_id, 0) < MOST_PAYMENTS
        ]
        if not open_invoices:
            return
        invoice_id = self.chance.choice(open_invoices)
        number = self.payments_of[invoice_id] = self.payments_of.get(invoice_id, 0) + 1
        # each payment of an invoice has an amount of its own, so that two are never taken for one
        amount = Decimal(number * 10) + Decimal(self.chance.randrange(100)) / 100
        reference, has_key = self._reference(), self.chance.random() < 0.6
        entry = self.ledger.record(
            Entry(Kind.PAYMENT, reference, {"amount": amount, "invoice_id": invoice_id}, is_repeatable=has_key)
        )
        body = {
            "destination_type": "INVOICE",
            "destination_id": invoice_id,
            "payment_method_type": "OFFLINE",
            "amount": str(amount),
            "currency": "usd",
            "process_payment": True,
            "metadata": {"reference": reference},
        }
        answer = await self.running.client.send(
            "POST",
            "/payments",
            body,
            key=f"payment-{reference}" if has_key else None,
            repeats_for_seconds=None if has_key else UNKEYED_REPEATS_FOR_SECONDS,
        )
        if self._check(answer, entry):
            self.ledger.acknowledge([entry], answer.json()["id"])

    # subscriptions

    async def _subscribe(self) -> None:
        tenant = self.running if self.chance.random() < 0.7 else self.clocked
        owner_reference = self._reference()
        owner = self.ledger.record(Entry(Kind.CUSTOMER, owner_reference, {"is_clocked": tenant is self.clocked}))
        customer = {"external_id": owner_reference, "name": "Subscriber"}
        answer = await tenant.client.send("POST", "/customers", customer, key=f"customer-{owner_reference}")
        if not self._check(answer, owner):
            return
        self.ledger.acknowledge([owner], answer.json()["id"])
        reference = self._reference()
        entry = self.ledger.record(
            Entry(Kind.SUBSCRIPTION, reference, {"customer_id": owner.made_id, "is_clocked": tenant is self.clocked})
        )
        body = {
            "customer_id": owner.made_id,
            "plan_id": tenant.small_plan_id,
            "currency": "usd",
            "billing_period": "MONTHLY",
            "metadata": {"reference": reference},
        }
        if tenant is self.running and self.chance.random() < 0.4:
            # months that the billing run has to catch up with
            body["start_date"] = (datetime.now(UTC) - timedelta(days=75)).isoformat()
        answer = await tenant.client.send("POST", "/subscriptions", body, key=f"subscription-{reference}")
        if self._check(answer, entry):
            self.ledger.acknowledge([entry], answer.json()["id"])

    async def _change_plan(self) -> None:
        candidates = [
            entry.made_id
            for entry in self.ledger.of(Kind.SUBSCRIPTION, State.ACKNOWLEDGED)
            if not entry.details["is_clocked"] and entry.made_id not in self.changed
        ]
        if not candidates:
            return
        subscription_id = self.chance.choice(candidates)
        self.changed.add(subscription_id)
        target = self.running.large_plan_id
        entry = self.ledger.record(
            Entry(Kind.PLAN_CHANGE, subscription_id, {"subscription_id": subscription_id, "plan_id": target})
        )
        body = {"target_plan_id": target, "proration_behavior": "create_prorations"}
        path = f"/subscriptions/{subscription_id}/change/v2/execute"
        answer = await self.running.client.send("POST", path, body, key=f"change-{subscription_id}")
        if self._check(answer, entry):
            self.ledger.acknowledge([entry], subscription_id)

    # reads and clock moves

    async def _read(self) -> None:
        """Something that was acknowledged must be there for every later read."""
        kind = self.chance.choice([Kind.CUSTOMER, Kind.INVOICE, Kind.PAYMENT, Kind.SUBSCRIPTION])
        known = [entry for entry in self.ledger.of(kind, State.ACKNOWLEDGED) if not entry.details.get("is_clocked")]
        if not known:
            return
        entry = self.chance.choice(known)
        path = f"/{kind}/{entry.made_id}"
        if kind is Kind.CUSTOMER and self.chance.random() < 0.5:
            path = f"/customers/{entry.made_id}/invoices/summary"
        answer = await self.running.client.send("GET", path, repeats_for_seconds=10)
        if answer.status_code == 404:
            self.findings.add(Defect.LOST, f"{kind} {entry.made_id} was acknowledged and is not found")
        elif not answer.is_success:
            self.findings.add(Defect.REFUSED, f"GET {path}: {answer.status_code} {answer.text[:200]}")
        self.ledger.reads += 1

    async def _clock_keeper(self) -> None:
        """One move after another; a move whose answer was lost, or that stopped on the way, is made again."""
        while not self._ending:
            with suppress(NoAnswer):
                await self.move_clock(timedelta(days=self.chance.uniform(1, 4)))
            await asyncio.sleep(self.chance.uniform(0.5, 1.5))

    def begin_clock_move(self, by: timedelta) -> None:
        """Let another client move the clock too, without waiting for it."""
        self._begin(self.move_clock(by))

    def begin_subscriptions(self, count: int) -> None:
        """Let other clients subscribe at once, without waiting for them."""
        for _ in range(count):
            self._begin(self._subscribe())

    def _begin(self, operation: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            with suppress(NoAnswer):
                await operation

        self._tasks.append(asyncio.create_task(run()))

    async def move_clock(self, by: timedelta) -> None:
        """Move the test clock forward, as often as it takes to get there."""
        self.clock_target += by
        target, client = self.clock_target, self.clocked.client
        entry = self.ledger.record(Entry(Kind.CLOCK_MOVE, self._reference(), {"target": target}))
        path = f"/environments/{self.clocked.environment_id}/clock"
        while True:
            answer = await client.send("POST", path, {"frozen_time": target.isoformat()})
            if answer.is_success and await self._arrived(client, path, target, answer):
                self.ledger.acknowledge([entry])
                return
            if not answer.is_success and self.clock_target > target:
                entry.state = State.REFUSED  # a later move has passed this one
                return
            if client.give_up_at is not None and time.monotonic() > client.give_up_at:
                self.findings.add(
                    Defect.UNANSWERED, f"clock move to {target}: {answer.status_code} {answer.text[:300]}"
                )
                return
            await asyncio.sleep(0.3)

    async def _arrived(self, client: Client, path: str, target: datetime, answer: httpx.Response) -> bool:
        """Whether the clock stands at its target, after the move that is under way."""
        while True:
            progress = answer.json().get("progress") or {}
            if progress.get("finished"):
                return datetime.fromisoformat(answer.json()["frozen_time"]) >= target
            if progress.get("error"):
                return False
            await asyncio.sleep(0.2)
            answer = await client.send("GET", path)
