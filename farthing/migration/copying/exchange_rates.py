"""Exchange rates: those of the environment, and what customers and subscriptions have instead.

Rule: docs/rules/migration.md#exchange-rates
"""

from __future__ import annotations

from farthing.catalogue.fx import rates
from farthing.catalogue.fx.schemas import CreateFxRateRequest
from farthing.migration.copying.catalogue import SUBSCRIPTIONS
from farthing.migration.copying.customers import CUSTOMERS
from farthing.migration.copying.target import LeftOut, MigrationTarget
from farthing.migration.source.fields import SourceRecord, fields_of, metadata_of, time_of

EXCHANGE_RATES = "exchange rates"


async def copy_exchange_rate(target: MigrationTarget, record: SourceRecord) -> str:
    """A rate as it stands. One that follows reference rates stays as it is until these are imported here and it is made
    one of source market."""
    ends = time_of(record, "end_date")
    if ends is not None and ends <= target.now:
        raise LeftOut("it has ended")
    scope = str(record.get("scope", "")).lower()
    body = fields_of(record, ("from_currency", "to_currency", "rate", "start_date", "end_date"))
    if scope == "customer":
        body["scope_id"] = await target.need(CUSTOMERS, record.get("scope_id"), "scope_id")
    elif scope == "subscription":
        body["scope_id"] = await target.need(SUBSCRIPTIONS, record.get("scope_id"), "scope_id")
    body |= {"scope": scope, "metadata": metadata_of(record, target.problems)}
    if str(record.get("source", "")).lower() == "market":
        target.problems.append("it followed reference rates there, and is fixed here")
    return (await rates.create(target.session, target.read(body, CreateFxRateRequest))).id
