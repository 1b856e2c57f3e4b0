"""When what an invoice charges became payable. Pure.

Rule: docs/rules/invoices-and-payments.md#reference-date
"""

from __future__ import annotations

from datetime import datetime

from farthing.billing.calculation.charges import OPENINGS
from farthing.calendar.period import Period
from farthing.subscriptions.enums import InvoiceTrigger


def reference_date_of(trigger: InvoiceTrigger, period: Period) -> datetime:
    """The reference date of a subscription's invoice for `period`.

    An opening's is the start of its period, which for a trial's first paid invoice is the end of the trial. All others
    are made when their period ends: a renewal at the boundary, a final invoice at the instant at which the
    subscription ends, a threshold invoice where its window was cut.
    """
    return period.start if trigger in OPENINGS else period.end
