"""What became of a record at each marketplace: receipts, and when all have taken or skipped it.

Rule: docs/rules/marketplaces.md#receipts
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.customers.tables import IntegrationEntityType, IntegrationMapping
from farthing.marketplaces.tables import (
    AgreementStatus,
    MarketplaceAgreement,
    ReportStatus,
    UsageRecord,
    UsageReport,
    UsageReportPart,
)
from farthing.payments.integration_schemas import DelinkIntegrationMappingRequest
from farthing.payments.integrations.mappings import delink
from farthing.storage.queries.rows import in_array


def is_for() -> ColumnElement[bool]:
    """Whether a record is for an agreement."""
    return (MarketplaceAgreement.subscription_id == UsageRecord.subscription_id) & (
        UsageRecord.period_start >= MarketplaceAgreement.records_from
    )


def is_untold(provider: str | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Whether a marketplace has neither taken nor skipped a record."""
    return ~UsageRecord.synced & ~func.jsonb_exists(UsageRecord.syncs, provider)


async def record_skipped(
    session: AsyncSession, record_ids: Iterable[str], agreement: MarketplaceAgreement, reason: str
) -> None:
    """Note that a marketplace is not told of some records of an agreement."""
    receipt = {"agreement_id": agreement.agreement_id, "connection_id": agreement.connection_id}
    for record in await _locked(session, record_ids):
        record.syncs = {
            **record.syncs,
            agreement.provider: {**receipt, "skipped": True, "skip_reason": reason},
        }
    await _settle(session, record_ids)


async def record_taken(session: AsyncSession, reports: Collection[UsageReport], now: datetime) -> None:
    """Give each record whose whole quantity a marketplace has taken by now its receipt."""
    by_id = {report.id: report for report in reports}
    rows = await session.execute(
        select(UsageReportPart.record_id, UsageReportPart.report_id, MarketplaceAgreement)
        .join(MarketplaceAgreement, MarketplaceAgreement.id == UsageReportPart.agreement_id)
        .where(in_array(UsageReportPart.report_id, by_id))
    )
    of_records = {record_id: (by_id[report_id], agreement) for record_id, report_id, agreement in rows}
    for record in await _locked(session, of_records):
        report, agreement = of_records[record.id]
        if await _is_all_taken(session, record, agreement):
            receipt: dict[str, Any] = {
                "agreement_id": agreement.agreement_id,
                "connection_id": report.connection_id,
                "reporting_id": report.reporting_id,
                "synced_at": instant(now),
            }
            record.syncs = {**record.syncs, agreement.provider: receipt}
    await _settle(session, of_records)


async def archive_finished(session: AsyncSession, provider: str) -> int:
    """Archive the mappings of subscriptions that have ended and whose records a marketplace has all taken."""
    subscription_id = MarketplaceAgreement.subscription_id
    waits = exists().where(is_for(), is_untold(provider))
    ended = await session.scalars(
        select(subscription_id)
        .join(
            IntegrationMapping,
            (IntegrationMapping.entity_type == IntegrationEntityType.SUBSCRIPTION)
            & (IntegrationMapping.entity_id == subscription_id)
            & (IntegrationMapping.provider_type == provider)
            & (IntegrationMapping.provider_entity_id == MarketplaceAgreement.agreement_id)
            & (IntegrationMapping.status == Status.PUBLISHED),
        )
        .where(
            MarketplaceAgreement.provider == provider,
            MarketplaceAgreement.agreement_status == AgreementStatus.CLOSED,
            ~waits,
        )
    )
    finished = ended.all()
    for entity_id in finished:
        kind = IntegrationEntityType.SUBSCRIPTION
        mapping = DelinkIntegrationMappingRequest(entity_type=kind, entity_id=entity_id, provider_type=provider)
        await delink(session, mapping)
    return len(finished)


async def _locked(session: AsyncSession, record_ids: Iterable[str]) -> list[UsageRecord]:
    query = select(UsageRecord).where(in_array(UsageRecord.id, record_ids)).order_by(UsageRecord.id)
    return list(await session.scalars(query.with_for_update().execution_options(populate_existing=True)))


async def _is_all_taken(session: AsyncSession, record: UsageRecord, agreement: MarketplaceAgreement) -> bool:
    taken = await session.scalar(
        select(func.sum(UsageReportPart.quantity))
        .join(UsageReport, UsageReport.id == UsageReportPart.report_id)
        .where(
            UsageReportPart.record_id == record.id,
            UsageReportPart.agreement_id == agreement.id,
            UsageReport.report_status == ReportStatus.TAKEN,
        )
    )
    return bool(taken == record.quantity)


async def _settle(session: AsyncSession, record_ids: Iterable[str]) -> None:
    """Mark as synced the records of which every marketplace has a receipt."""
    await session.flush()
    missing = exists().where(is_for(), ~func.jsonb_exists(UsageRecord.syncs, MarketplaceAgreement.provider))
    await session.execute(
        update(UsageRecord)
        .where(in_array(UsageRecord.id, record_ids), ~UsageRecord.synced, ~missing)
        .values(synced=True)
        .execution_options(synchronize_session=False)
    )
