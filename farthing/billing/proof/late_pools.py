"""Do late lines under a commitment that they share charge what the whole of their period costs more by now? Pure.

Rule: docs/rules/late-usage.md#under-a-commitment-of-the-subscription
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal

from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.line_tables import InvoiceLineItem


def late_pool_faults(lines: Sequence[InvoiceLineItem]) -> Iterator[Difference]:
    """The late lines of one invoice that are not together what their pool came to, less what was charged of it."""
    pools: dict[tuple[str | None, ...], list[InvoiceLineItem]] = defaultdict(list)
    for line in lines:
        if line.rating is not None and "pool_invoice_id" in line.rating:
            key = line.subscription_id, line.rating["pool_invoice_id"], line.rating.get("pool_item_id")
            pools[key].append(line)
    for theirs in pools.values():
        rating = theirs[0].rating or {}
        due = EXACT.subtract(Decimal(rating["pool_now"]), Decimal(rating["pool_charged_before"]))
        charged = exact_sum([line.charge_amount for line in theirs])
        if charged != due:
            yield Difference(theirs[0].id, "late usage under the commitment", plain(charged), plain(due))
        if "pool_used_now" in rating:
            more = max(EXACT.subtract(Decimal(rating["pool_used_now"]), Decimal(rating["pool_used_before"])), ZERO)
            counted = exact_sum([line.commitment_base or ZERO for line in theirs])
            if counted != more:
                yield Difference(theirs[0].id, "use of the commitment", plain(counted), plain(more))
