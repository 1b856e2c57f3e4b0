"""Revenue as a table of text."""

from __future__ import annotations

from farthing.reporting.revenue.breakdown import GROUPS
from farthing.reporting.revenue.schemas import RevenueAnalyticsResponse, RevenueAnalyticsRow

FIGURES = (
    "usage_at_list_rate",
    "tier_delta",
    "entitlement_qty",
    "entitlement_amount",
    "billable_qty",
    "line_discount",
    "invoice_discount",
    "net_amount",
)
_NAMED = ("day", "period_start", "period_end", "adjustment_type")


def table_of(answer: RevenueAnalyticsResponse) -> tuple[list[str], list[list[str]]]:
    """The head and the rows; columns that no row has are left out."""
    groups = [name for name in GROUPS if any(name in row.group for row in answer.rows)]
    named = [name for name in _NAMED if any(getattr(row, name) is not None for row in answer.rows)]
    rows = [
        [*_names(row, groups, named), *(bytes(getattr(row, name)).decode() for name in FIGURES)] for row in answer.rows
    ]
    return [*groups, "status", *named, *FIGURES], rows


def _names(row: RevenueAnalyticsRow, groups: list[str], named: list[str]) -> list[str]:
    return [
        *(row.group.get(name, "") for name in groups),
        row.status.value,
        *(getattr(row, name) or "" for name in named),
    ]
