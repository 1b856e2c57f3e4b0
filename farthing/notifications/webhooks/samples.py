"""A sample body of each event, made from the shape of its payload."""

from __future__ import annotations

from enum import EnumType
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from farthing.notifications.webhooks.catalogue import EVENTS

_ULID = "01JGFJJZ00Z4S8M2X7C9QWERTY"
_TIME = "2025-01-01T00:00:00Z"
_PREFIXES = {
    "customer": "cust", "subscription": "subs", "invoice": "inv", "payment": "pay", "wallet": "wallet",
    "transaction": "wtxn", "updated_transaction": "wtxn", "feature": "feat", "entitlement": "ent", "plan": "plan",
    "price": "price", "meter": "meter", "group": "group", "environment": "env", "tenant": "tenant", "phase": "phase",
    "credit_note": "cn", "checkout_session": "cs", "webhook_endpoint": "whep", "line_items": "inv_line",
    "refund": "refund", "payment_method": "pm",
}  # fmt: skip
_VALUES = {
    "action": "wallet_topup", "alert_type": "low_ongoing_balance", "billing_period": "MONTHLY",
    "checkout_status": "completed", "conversion_rate": "1", "credit_balance_before": "0",
    "credit_note_status": "FINALIZED", "credit_note_type": "ADJUSTMENT", "currency": "usd", "current_balance": "0",
    "event_name": "api_call", "invoice_number": "INV-202501-00001", "name": "Acme", "payment_provider": "stripe",
    "payment_gateway": "stripe", "quantity": "1", "refund_destination": "ORIGINAL_METHOD",
    "refund_reason": "REQUESTED", "refund_status": "SUCCEEDED",
    "reference_type": "EXTERNAL", "refunded_amount": "0", "status": "published",
    "adjustment_amount": "0", "total_discount": "0", "total_prepaid_credits_applied": "0", "total_tax": "0",
    "transaction_reason": "FREE_CREDIT_GRANT", "transaction_status": "completed", "type": "credit",
    "url": "https://example.com/webhooks", "usage_ratio": "1", "wallet_status": "active", "wallet_type": "PRE_PAID",
}  # fmt: skip


@cache
def sample_of(event_name: str) -> str:
    """The body of an event as JSON text, with values that could be real."""
    body = _struct(_payloads()[event_name], "")
    return msgspec.json.encode({**body, "event_type": event_name}).decode()


@cache
def _payloads() -> dict[str, inspect.Type]:
    """The payload of each event. They share most of their types, so all are described at once."""
    described = inspect.multi_type_info([event.payload for event in EVENTS.values()])
    return dict(zip(EVENTS, described, strict=True))


def _struct(described: inspect.Type, entity: str) -> dict[str, Any]:
    """Every required field, and those optional ones that are not whole entities of their own."""
    assert isinstance(described, inspect.StructType), "payloads are structs"
    sample: dict[str, Any] = {}
    for field in described.fields:
        if field.required or field.encode_name in {"line_items", "invoice_number", "threshold"}:
            sample[field.encode_name] = _value(field.type, field.encode_name, entity)
    return sample


def _value(described: inspect.Type, name: str, entity: str) -> Any:
    match described:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            if (extra or {}).get("format") == "date-time":
                return _TIME
            if (extra or {}).get("description") == "exact decimal in plain notation":
                return _VALUES.get(name, "100")
            return _value(inner, name, entity)
        case inspect.UnionType(types=types):
            return _value(next(kind for kind in types if not isinstance(kind, inspect.NoneType)), name, entity)
        case inspect.StructType():
            return _struct(described, name)
        case inspect.ListType(item_type=item):
            return [_value(item, name, entity)]
        case inspect.EnumType(cls=cls):
            return _first_value(cls)
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.BoolType():
            return False
        case inspect.IntType():
            return 1
        case inspect.DictType():
            return {}
        case _:
            return _text(name, entity)


def _first_value(enum: EnumType) -> Any:
    return next(iter(enum)).value


def _text(name: str, entity: str) -> str:
    if name == "id" or name.endswith("_id"):
        owner = entity if name == "id" else name.removesuffix("_id")
        return f"{_PREFIXES[owner]}_{_ULID}" if owner in _PREFIXES else f"{owner}-1"
    return _VALUES.get(name) or name.replace("_", " ")
