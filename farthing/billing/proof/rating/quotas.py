"""Does a line charge what its usage windows have over their quotas? Pure.

A line keeps each window that is over its quota, with the quota and what was used: what is over follows from those two.
Rule: docs/rules/entitlements.md#usage-over-a-quota
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from farthing.catalogue.entitlements.enums import GrantMeasure
from farthing.core.money import exact_sum, plain
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.rating.commitments.allowance import over


def is_over_money(line: InvoiceLineItem) -> bool:
    """Whether what is charged was over a quota of money, and has no price by the unit."""
    return line.usage_windows is not None and line.usage_windows["measure"] == GrantMeasure.AMOUNT.value


def quota_faults(line: InvoiceLineItem, rated: Decimal) -> Iterator[Difference]:
    """What the windows of a line say otherwise than the line itself; `rated` is the quantity, or the money, that was
    rated."""
    facts = line.usage_windows
    if facts is None:
        return
    charged_over = exact_sum([Decimal(window["over"]) for window in facts["over"]])
    if charged_over != rated:
        yield Difference(line.id, "over its quotas", plain(rated), plain(charged_over))
    for window in facts["over"]:
        amount, most = Decimal(window["over"]), over(Decimal(window["usage"]), Decimal(window["quota"]))
        if amount <= 0 or amount > most or (_is_all_its_own(line, facts, window) and amount != most):
            yield Difference(line.id, f"over the quota from {window['valid_from']}", plain(amount), plain(most))


def _is_all_its_own(line: InvoiceLineItem, facts: dict[str, Any], window: dict[str, Any]) -> bool:
    """Whether nothing else may have charged a part of what is over: another quota, another line of the meter."""
    if facts["quotas"] != 1 or is_over_money(line) or line.period_start is None or line.period_end is None:
        return False
    start, end = (datetime.fromisoformat(window[name]) for name in ("valid_from", "valid_to"))
    return line.period_start <= start and end <= line.period_end
