"""The usage of an invoice as it was charged and as it is now.

Rule: docs/rules/late-usage.md#policies
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.late_usage import detection
from farthing.billing.late_usage.charges import LateCharge, late_charges
from farthing.billing.late_usage.detection import REASONS, NotCharged, RecheckableLine
from farthing.billing.late_usage.windows import with_windows, without_forgotten
from farthing.billing.measurement import measure_usage
from farthing.core.clock import instant
from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.core.money import plain
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.invoices.receivable import InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find


class InvoiceUsageLine(Response):
    """The usage of one line. `invoiced_usage` is raw, before any allowance, with what later invoices charged of it;
    late is what is there now beyond that, and below 0 when usage was taken away since."""

    line_item_id: str
    subscription_line_item_id: str
    display_name: str
    meter_id: str
    period_start: Timestamp
    period_end: Timestamp
    invoiced_usage: DecimalText
    current_usage: DecimalText
    late_usage: DecimalText
    late_amount: DecimalText | None = None
    """What the late usage would cost; not said where a commitment decides it."""
    not_charged: NotCharged | None = None
    """Why late usage of this line is never charged, whatever the policy."""


class InvoiceUsageResponse(Response):
    """How the usage of a final invoice stands now. No lines where nothing is final or usage is not watched."""

    invoice_id: str
    currency: str
    late_usage_policy: str
    lines: list[InvoiceUsageLine]
    usage_watermark: str | None = None
    """The highest arrival sequence that the invoice surely includes, as text because it is long."""


async def usage_of_invoice(session: AsyncSession, invoice_id: str, now: datetime) -> InvoiceUsageResponse:
    """Measure the usage lines of an invoice again. Raises NotFound."""
    invoice = await find(session, Invoice, invoice_id)
    policy = (await read(session, InvoiceConfig)).late_usage_policy
    billed = invoice.invoice_type is InvoiceType.SUBSCRIPTION and invoice.billing_reason in REASONS
    found = await _late_of(session, [invoice.id], now) if billed and policy != "ignore" else []
    return InvoiceUsageResponse(
        invoice_id=invoice.id,
        currency=invoice.currency,
        late_usage_policy=policy,
        lines=[_line(watched, late) for watched, late in found],
        usage_watermark=None if invoice.usage_watermark is None else str(invoice.usage_watermark),
    )


def _line(watched: RecheckableLine, late: LateCharge) -> InvoiceUsageLine:
    line = watched.line
    return InvoiceUsageLine(
        line_item_id=line.id,
        subscription_line_item_id=line.item_id,
        display_name=line.display_name,
        meter_id=watched.plan.meter.id,
        period_start=instant(line.window.start),
        period_end=instant(line.window.end),
        invoiced_usage=plain(line.usage),
        current_usage=plain(late.current),
        late_usage=plain(late.usage),
        late_amount=None if late.difference is None else plain(late.difference),
        not_charged=late.not_charged,
    )


async def _late_of(
    session: AsyncSession, invoice_ids: Sequence[str], now: datetime
) -> list[tuple[RecheckableLine, LateCharge]]:
    watched = await with_windows(session, await detection.recheckable_lines(session, invoice_ids))
    questions = dict.fromkeys(question for recheckable in watched for question in recheckable.ranges())
    answers = await measure_usage(
        session, list(questions), {recheckable.plan.meter.id: recheckable.plan.meter for recheckable in watched}
    )
    watched = await without_forgotten(session, watched, answers)
    found = zip(watched, late_charges(watched, answers, now), strict=True)
    return [(recheckable, late) for recheckable, late in found if not recheckable.is_elsewhere]
