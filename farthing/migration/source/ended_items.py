"""Line items that ended within the open period, whose usage the next invoice still charges: a change of plan ends them.

A source may show them with their subscription, by a search of line items, or on the preview of the next invoice alone.
Rule: docs/rules/migration.md#subscriptions
"""

from __future__ import annotations

from collections.abc import Iterator

from farthing.migration.source.api import NotOffered, SourceApi, SourceFailed
from farthing.migration.source.fields import SourceRecord, time_of

FROM_PREVIEW = "from_preview"
"""Says of a line item that the preview of the next invoice alone names it."""


async def read_ended_items(source: SourceApi, subscription: SourceRecord) -> list[SourceRecord]:
    """Those of a subscription that are not shown with it. Raises SourceFailed, ValidationFailed."""
    known = {str(item.get("id")) for item in subscription.get("line_items") or ()}
    try:
        found = await _search(source, subscription)
    except NotOffered:
        found = await _on_preview(source, subscription)
    return [item for item in found if str(item.get("id")) not in known]


async def _search(source: SourceApi, subscription: SourceRecord) -> list[SourceRecord]:
    since = time_of(subscription, "current_period_start")
    asked = {"subscription_ids": [subscription["id"]], "current_period_start": subscription.get("current_period_start")}
    items = [item async for page in source.search("/subscriptions/lineitems/search", **asked) for item in page]
    return [
        item
        for item in items
        if item.get("subscription_id") == subscription["id"]
        and (ends := time_of(item, "end_date")) is not None
        and since is not None
        and ends > since
    ]


async def _on_preview(source: SourceApi, subscription: SourceRecord) -> list[SourceRecord]:
    try:
        preview = await source.post("/invoices/preview", {"subscription_id": subscription["id"]})
    except (NotOffered, SourceFailed):
        return []  # what a preview refuses is no reason not to carry the subscription
    lines = preview.get("line_items") if isinstance(preview, dict) else None
    return list(_ended(subscription, lines or ()))


def _ended(
    subscription: SourceRecord, lines: Iterator[SourceRecord] | tuple[SourceRecord, ...]
) -> Iterator[SourceRecord]:
    until = time_of(subscription, "current_period_end")
    for line in lines:
        ends = time_of(line, "period_end")
        is_late = (line.get("metadata") or {}).get("late_usage") == "true"
        if (
            line.get("subscription_line_item_id")
            and ends is not None
            and until is not None
            and ends < until
            and not is_late
        ):
            yield {
                "id": line["subscription_line_item_id"],
                "price_id": line.get("price_id"),
                "price_type": line.get("price_type"),
                "entity_type": line.get("entity_type", "plan"),
                "entity_id": line.get("entity_id"),
                "display_name": line.get("display_name"),
                "plan_display_name": line.get("plan_display_name"),
                "quantity": line.get("quantity"),
                "start_date": line.get("period_start"),
                "end_date": line.get("period_end"),
                FROM_PREVIEW: True,
            }
