"""Bodies of dunning."""

from __future__ import annotations

from farthing.api.queries.lists import Page
from farthing.billing.dunning.schedule import DunningStep
from farthing.billing.dunning.tables import DunningStatus, FinalAction
from farthing.core.encoding.wire import DecimalText, Request, Response, Timestamp
from farthing.core.enums import Status
from farthing.identity.settings.catalogue import RetryDays, check_retry_days
from farthing.storage.queries.listing import ListQuery


class DunningQuery(ListQuery):
    """Filters of the dunning queue."""

    customer_id: str | None = None
    subscription_id: str | None = None
    dunning_status: list[DunningStatus] | None = None


class DunningCaseResponse(Response):
    """The case of an invoice whose automatic charge failed."""

    id: str
    invoice_id: str
    customer_id: str
    subscription_id: str
    dunning_status: DunningStatus
    currency: str
    amount_remaining: DecimalText
    first_failed_at: Timestamp
    retry_days: list[int]
    retries_made: int
    final_action: FinalAction
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    invoice_number: str | None = None
    next_step: DunningStep | None = None
    next_at: Timestamp | None = None
    last_error: str | None = None
    closed_at: Timestamp | None = None


class ListDunningCasesResponse(Page[DunningCaseResponse]):
    """One page of cases."""

    items: list[DunningCaseResponse]


class CustomerDunningRequest(Request):
    """What a customer gets of its own; what is left out is as the environment's setting says."""

    enabled: bool | None = None
    retry_days: RetryDays | None = None
    final_action: FinalAction | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retry_days is not None:
            check_retry_days(self.retry_days)


class EffectiveDunning(Response):
    """The terms in force."""

    enabled: bool
    retry_days: list[int]
    final_action: FinalAction


class CustomerDunningResponse(Response):
    """What a customer has of its own, and what is in force for it."""

    customer_id: str
    effective: EffectiveDunning
    enabled: bool | None = None
    retry_days: list[int] | None = None
    final_action: FinalAction | None = None
