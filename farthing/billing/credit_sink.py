"""A credit that no invoice can take: what is owed to whom and why.

How it is given back is the port `BillingPorts.issue_credit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Refund:
    """`amount`, above 0, is owed to a payer for what was paid in advance and not had.

    `key` names it for ever: giving it twice gives it once. `line_item_ids` are the fees it is for.
    """

    customer_id: str
    currency: str
    amount: Decimal
    key: str
    subscription_id: str
    line_item_ids: tuple[str, ...]
    reason: str
