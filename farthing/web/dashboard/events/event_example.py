"""How a program sends an event, as a command to be tried."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec


def event_by_curl(base_url: str, event_name: str, customer: str, field: str | None) -> str:
    """The command that sends one event of a customer, by its external id; `field` is the property that is counted."""
    event: dict[str, Any] = {"event_name": event_name, "external_customer_id": customer}
    if field:
        event["properties"] = {field: 1}
    said = shlex.quote(msgspec.json.format(msgspec.json.encode(event), indent=0).decode())
    return f'curl {shlex.quote(f"{base_url}/v1/events")} -H "x-api-key: $KEY" \\\n  -d {said}'
