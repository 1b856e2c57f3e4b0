"""What travels about a customer's account and about where a number came from."""

from __future__ import annotations

from typing import Any

from farthing.core.encoding.wire import BadField, DecimalText, Moment, Request, Response, Timestamp, currency_code
from farthing.reporting.statement.entries import EntryKind


class AccountStatementQuery(Request):
    """The currency and the half-open period of a statement."""

    currency: str
    start_time: Moment
    end_time: Moment

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        if self.end_time <= self.start_time:
            raise BadField("end_time", "must be after start_time")


class AccountStatementEntryResponse(Response):
    """What moved the account: a positive `amount` is asked for, a negative one was paid or taken back."""

    at: Timestamp
    kind: EntryKind
    description: str
    amount: DecimalText
    balance: DecimalText
    document_number: str | None = None
    document_id: str | None = None
    detail: str | None = None


class AccountStatementResponse(Response):
    """`closing_balance` = `opening_balance` + all amounts = `unpaid_amount` - `credit_amount`."""

    customer_id: str
    currency: str
    start_time: Timestamp
    end_time: Timestamp
    opening_balance: DecimalText
    closing_balance: DecimalText
    unpaid_amount: DecimalText
    credit_amount: DecimalText
    charged_amount: DecimalText
    credited_amount: DecimalText
    entries: list[AccountStatementEntryResponse]


class InvoiceLineCostPart(Response):
    """`amount` = `quantity` x `unit_amount` + `flat_amount`, unrounded."""

    quantity: DecimalText
    unit_amount: DecimalText
    flat_amount: DecimalText
    amount: DecimalText
    package_size: int | None = None
    tier: int | None = None
    above: DecimalText | None = None
    up_to: DecimalText | None = None


class InvoiceLinePrice(Response):
    """The price of a line, and what the line's quantity costs at it."""

    id: str
    billing_model: str
    currency: str
    parts: list[InvoiceLineCostPart]
    is_whole_amount: bool
    display_name: str | None = None
    tier_mode: str | None = None
    amount: DecimalText | None = None


class InvoiceLineMeter(Response):
    """What counted the events of a line."""

    id: str
    name: str
    event_name: str
    aggregation_type: str
    field: str | None = None


class InvoiceLineUsageNow(Response):
    """What the events of a line say today."""

    quantity: DecimalText
    event_count: int
    agrees: bool


class InvoiceLineExplanationResponse(Response):
    """What is stored on the line, and beside it what its price and its events say today."""

    invoice_id: str
    line_item_id: str
    currency: str
    amount: DecimalText
    quantity: DecimalText
    charge_currency: str
    charge_amount: DecimalText
    reductions_amount: DecimalText
    net_amount: DecimalText
    calculation_notes: dict[str, Any]
    display_name: str | None = None
    price_type: str | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None
    metered_quantity: DecimalText | None = None
    included_quantity: DecimalText | None = None
    price: InvoiceLinePrice | None = None
    meter: InvoiceLineMeter | None = None
    usage_now: InvoiceLineUsageNow | None = None
