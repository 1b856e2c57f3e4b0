"""A small HTTP server that answers as Stripe's documentation says, for what `localstripe` does not do: idempotency
keys, Checkout pages, confirmations by the payer, refunds that take time, disputes, and answers that never arrive.

It is not Stripe, and nothing in it was recorded there. What it keeps is kept for each secret key, so that every test
has an account of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

from tests.conftest import free_port

Row = dict[str, Any]
_NUMBERS = count(1)
_NO_ANSWER, _HELD = 598, 599

DECLINES = {
    "declined": ("card_declined", "generic_decline", "Your card was declined."),
    "poor": ("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "stolen": ("card_declined", "stolen_card", "Your card was declined."),
    "absent": ("authentication_required", "authentication_required", "This payment requires authentication."),
}
"""What a card that behaves so is refused with: code, decline code, message."""


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **more}}


@dataclass
class StripeBooks:
    """One account."""

    rows: dict[str, Row] = field(default_factory=dict)
    behaviours: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[str, int, Row]] = field(default_factory=dict)
    """By idempotency key: the values it came with, and the answer."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """What the next requests to a path meet: `lost` (never arrives), `unanswered` (done, not told), `held`, error."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    refund_status: str = "succeeded"
    holds: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request was `held`: it was done, and whoever asked waits for the answer for ever."""

    def of(self, kind: str) -> list[Row]:
        """The rows of a kind, oldest first."""
        return [row for row in self.rows.values() if row["object"] == kind]

    def add(self, kind: str, prefix: str, **values: Any) -> Row:
        """A new row, created now."""
        row = {"id": f"{prefix}_{next(_NUMBERS):08}", "object": kind, "created": int(time.time()), **values}
        self.rows[row["id"]] = row
        return row

    def save_card(self, customer_id: str | None = None, behaviour: str = "ok", *, default: bool = False) -> str:
        """A card on file that behaves in a certain way."""
        card = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2040}
        method = self.add("payment_method", "pm", type="card", customer=customer_id, card=card)
        self.behaviours[method["id"]] = behaviour
        if default and customer_id is not None:
            self.rows[customer_id]["invoice_settings"]["default_payment_method"] = method["id"]
        return str(method["id"])

    def pay_page(self, page_id: str) -> Row:
        """What a payer does on a Checkout page; the intent."""
        page = self.rows[page_id]
        asked = page["payment_intent_data"]
        intent = self.add(
            "payment_intent",
            "pi",
            amount=page["amount_total"],
            amount_received=page["amount_total"],
            currency=page["currency"],
            customer=page["customer"],
            metadata=asked.get("metadata", {}),
            payment_method=self.save_card(page["customer"]),
            status="succeeded",
            last_payment_error=None,
            next_action=None,
        )
        page.update(status="complete", payment_status="paid", payment_intent=intent["id"])
        return intent

    def save_method(self, page_id: str, behaviour: str = "ok") -> str:
        """What a customer does on a page that saves a method."""
        page = self.rows[page_id]
        method_id = self.save_card(page["customer"], behaviour)
        self.rows[page["setup_intent"]].update(status="succeeded", payment_method=method_id)
        page.update(status="complete", payment_status="no_payment_required")
        return method_id

    def confirm(self, intent_id: str) -> Row:
        """The payer confirms a charge at the bank."""
        intent = self.rows[intent_id]
        intent.update(status="succeeded", amount_received=intent["amount"], next_action=None, last_payment_error=None)
        return intent


class DocumentedStripe:
    """The server. `books(key)` is the account behind a secret key."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._books: dict[str, StripeBooks] = {}

    def books(self, key: str) -> StripeBooks:
        return self._books.setdefault(key, StripeBooks())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        path = request.path.removeprefix("/v1")
        try:
            status, body = self._answer(key, path, request, _values(await request.text()))
        except Refused as refused:
            status, body = refused.status, refused.body
        if status == _HELD:
            self.books(key).holds.set()
            await asyncio.sleep(3600)  # until whoever waits for it is gone
        if status == _NO_ANSWER:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(body, status=status, headers={"Request-Id": "req_1"})

    def _answer(self, key: str, path: str, request: web.Request, values: Row) -> tuple[int, Row]:
        if not key.startswith(("sk_test_", "rk_test_")) or "revoked" in key:
            raise Refused(401, "invalid_request_error", f"Invalid API Key provided: {key[:8]}********{key[-4:]}")
        books = self.books(key)
        idempotency = request.headers.get("Idempotency-Key")
        books.requests.append((request.method, path, idempotency))
        fault = next((each for each in books.faults if path.startswith(each[0])), ("", ""))
        if fault in books.faults:
            books.faults.remove(fault)
        if fault[1] in {"busy", "broken"}:
            raise Refused(429 if fault[1] == "busy" else 500, "api_error", "An error occurred.")
        if fault[1] == "lost":
            return _NO_ANSWER, {}
        answer = self._once(books, request.method, path, values, request, idempotency)
        kept_back = {"unanswered": _NO_ANSWER, "held": _HELD}.get(fault[1])
        return answer if kept_back is None else (kept_back, {})

    def _once(
        self, books: StripeBooks, method: str, path: str, values: Row, request: web.Request, key: str | None
    ) -> tuple[int, Row]:
        fingerprint = json.dumps([path, values], sort_keys=True)
        if method == "POST" and key is not None and key in books.answers:
            known, status, body = books.answers[key]
            if known != fingerprint:
                raise Refused(400, "idempotency_error", "Keys can only be used with the same parameters.")
            return status, body
        try:
            answer = 200, _handle(books, method, path, values, dict(request.query))
        except Refused as refused:
            answer = refused.status, refused.body
        answer = answer[0], json.loads(json.dumps(answer[1]))
        if method == "POST" and key is not None:
            books.answers[key] = (fingerprint, *answer)
        return answer


def _values(text: str) -> Row:
    """A form such as `a[b]=1&c[0][d]=2` as nested values."""
    from urllib.parse import parse_qsl

    tree: Row = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        steps = re.findall(r"[^\[\]]+", name)
        at = tree
        for step in steps[:-1]:
            at = at.setdefault(step, {})
        at[steps[-1]] = value
    return tree


def _handle(books: StripeBooks, method: str, path: str, values: Row, query: Row) -> Row:
    parts = path.strip("/").split("/")
    if method == "GET":
        return _read(books, parts, query)
    if parts == ["customers"]:
        return books.add("customer", "cus", **values, invoice_settings={"default_payment_method": None})
    if parts[0] == "customers":
        books.rows[parts[1]]["invoice_settings"].update(values["invoice_settings"])
        return books.rows[parts[1]]
    if parts == ["payment_intents"]:
        return _create_intent(books, values)
    if parts[0] == "payment_intents" and parts[2] == "confirm":
        return _confirm_intent(books, _find(books, parts[1]), values)
    if parts[0] == "payment_intents" and parts[2] == "cancel":
        intent = _find(books, parts[1])
        if intent["status"] in {"succeeded", "canceled", "processing"}:
            raise Refused(400, "invalid_request_error", "Wrong state.", code="payment_intent_unexpected_state")
        intent.update(status="canceled", next_action=None)
        return intent
    if parts == ["checkout", "sessions"]:
        return _create_page(books, values)
    if parts[:2] == ["checkout", "sessions"] and parts[3] == "expire":
        page = _find(books, parts[2])
        if page["status"] != "open":
            raise Refused(400, "invalid_request_error", "Only open sessions can be expired.")
        page["status"] = "expired"
        return page
    if parts == ["refunds"]:
        return _refund(books, values)
    raise Refused(404, "invalid_request_error", f"Unrecognized request URL: {path}")


def _find(books: StripeBooks, row_id: str) -> Row:
    if row_id not in books.rows:
        raise Refused(404, "invalid_request_error", f"No such object: '{row_id}'", code="resource_missing")
    return books.rows[row_id]


def _read(books: StripeBooks, parts: list[str], query: Row) -> Row:
    if parts[-1] == "payment_methods" and len(parts) == 3:
        mine = [row for row in books.of("payment_method") if row["customer"] == parts[1]]
        return _list(mine, query)
    if parts == ["customers"]:
        return _list(books.of("customer"), query)
    if parts == ["payment_intents"]:
        return _list([row for row in books.of("payment_intent") if row["customer"] == query["customer"]], query)
    if parts == ["refunds"]:
        mine = [row for row in books.of("refund") if row["payment_intent"] == query["payment_intent"]]
        return _list(mine, query)
    return _find(books, parts[-1])


def _list(rows: list[Row], query: Row) -> Row:
    newest_first = rows[::-1]
    ids = [row["id"] for row in newest_first]
    start = ids.index(query["starting_after"]) + 1 if "starting_after" in query else 0
    limit = int(query.get("limit", 10))
    page = newest_first[start : start + limit]
    return {"object": "list", "data": page, "has_more": start + limit < len(rows), "url": "/v1/x"}


def _create_intent(books: StripeBooks, values: Row) -> Row:
    method = _find(books, values["payment_method"])
    if method["customer"] is not None and method["customer"] != values.get("customer"):
        raise Refused(400, "invalid_request_error", "The payment method belongs to another customer.")
    intent = books.add(
        "payment_intent",
        "pi",
        amount=int(values["amount"]),
        amount_received=0,
        currency=values["currency"],
        customer=values.get("customer"),
        metadata=values.get("metadata", {}),
        payment_method=method["id"],
        status="requires_confirmation",
        last_payment_error=None,
        next_action=None,
    )
    behaviour = books.behaviours[method["id"]]
    if behaviour in DECLINES:
        code, decline_code, message = DECLINES[behaviour]
        error = {"code": code, "decline_code": decline_code, "message": message, "payment_method": method}
        intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
        raise Refused(402, "card_error", message, code=code, decline_code=decline_code, payment_intent=dict(intent))
    if behaviour == "slow":
        intent["status"] = "processing"
        return intent
    intent.update(status="succeeded", amount_received=intent["amount"])
    return intent


def _confirm_intent(books: StripeBooks, intent: Row, values: Row) -> Row:
    page = {"url": f"https://hooks.stripe.test/redirect/{intent['id']}", "return_url": values["return_url"]}
    intent.update(
        status="requires_action",
        payment_method=values["payment_method"],
        last_payment_error=None,
        next_action={"type": "redirect_to_url", "redirect_to_url": page},
    )
    return intent


def _create_page(books: StripeBooks, values: Row) -> Row:
    total, currency, setup = None, None, None
    if values["mode"] == "payment":
        price = values["line_items"]["0"]["price_data"]
        total, currency = int(price["unit_amount"]), price["currency"]
    else:
        secret = {"client_secret": "seti_secret_1", "payment_method": None, "customer": values["customer"]}
        setup = books.add("setup_intent", "seti", status="requires_payment_method", **secret)
    page = books.add(
        "checkout.session",
        "cs_test",
        mode=values["mode"],
        status="open",
        payment_status="unpaid",
        customer=values.get("customer"),
        amount_total=total,
        currency=currency,
        metadata=values.get("metadata", {}),
        payment_intent=None,
        payment_intent_data=values.get("payment_intent_data", {}),
        setup_intent=setup["id"] if setup else None,
        success_url=values["success_url"],
        expires_at=int(time.time()) + 86400,
        line_items=values.get("line_items"),
        tax_id_collection=values.get("tax_id_collection"),
    )
    page["url"] = f"https://checkout.stripe.test/c/{page['id']}"
    return {**page, "setup_intent": setup} if setup is not None and "expand" in values else page


def _refund(books: StripeBooks, values: Row) -> Row:
    intent = _find(books, values["payment_intent"])
    sent = sum(row["amount"] for row in books.of("refund") if row["payment_intent"] == intent["id"])
    if sent + int(values["amount"]) > intent["amount_received"]:
        raise Refused(400, "invalid_request_error", "Refund amount is greater than what is left.")
    return books.add(
        "refund",
        "re",
        amount=int(values["amount"]),
        currency=intent["currency"],
        payment_intent=intent["id"],
        metadata=values.get("metadata", {}),
        status=books.refund_status,
    )


def event_of(kind: str, subject: Row, event_id: str | None = None, **more: Any) -> bytes:
    """An event about an object, as Stripe writes it."""
    body = {"id": event_id or f"evt_{next(_NUMBERS):08}", "object": "event", "type": kind, "livemode": False}
    return json.dumps({**body, "data": {"object": subject}, **more}).encode()


def signature_of(body: bytes, secret: str, at: float | None = None) -> str:
    """The header that signs a body."""
    moment = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


@asynccontextmanager
async def serving_stripe() -> AsyncIterator[DocumentedStripe]:
    """The server, in this event loop."""
    server = DocumentedStripe()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    try:
        yield server
    finally:
        await asyncio.shield(runner.cleanup())
