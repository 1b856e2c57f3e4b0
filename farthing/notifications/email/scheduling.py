"""Mails that no event tells of: a due date, the end of a trial or the expiry of credits draws near, or has passed.

Rule: docs/rules/email.md#reminders
Rule: docs/rules/email.md#notices-ahead
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, String, cast, exists, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.credits.enums import TransactionStatus, WalletStatus
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice
from farthing.notifications.email.collected import automatic_collection
from farthing.notifications.email.queueing import NewEmail, queue
from farthing.notifications.email.tables import Email, EmailKind
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

BATCH = 500
REMINDER_WINDOW = timedelta(days=1)
"""A reminder whose time is longer ago is not made up for."""
TRIAL_NOTICE = timedelta(days=3)
EXPIRY_NOTICE = timedelta(days=7)


async def queue_notices(session: AsyncSession, now: datetime) -> int:
    """Queue a batch of the mails whose time has come in the session's environment; how many, 0 when none is left."""
    config = await read(session, EmailConfig)
    if not config.enabled:
        return 0
    emails: list[NewEmail] = []
    if config.reminder:
        for days in sorted(config.reminder_days):
            emails += await _reminders(session, now, days)
    if config.trial_ending:
        emails += await _ending_trials(session, now)
    if config.credits_expiring:
        emails += await _expiring_credits(session, now)
    if emails:
        await session.run_sync(queue, emails)
    return len(emails)


def _utc_text(moment: ColumnElement[datetime | None]) -> ColumnElement[str]:
    """A time in full, which makes it part of an occasion."""
    return func.to_char(func.timezone("UTC", moment), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')


def _is_queued(kind: EmailKind, entity_id: ColumnElement[str], occasion: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(Email.kind == kind, Email.entity_id == entity_id, Email.occasion == occasion)


async def _reminders(session: AsyncSession, now: datetime, days: int) -> Sequence[NewEmail]:
    """Unpaid invoices whose due date lies `days` days back, or ahead where that is negative."""
    due = now - timedelta(days=days)
    occasion = _utc_text(Invoice.due_date.expression) + "/" + cast(literal(days), String)
    rows = await session.execute(
        select(Invoice.id, Invoice.customer_id, Invoice.due_date, occasion)
        .where(
            text(UNPAID),
            Invoice.due_date > due - REMINDER_WINDOW,
            Invoice.due_date <= due,
            ~await automatic_collection(session),
            ~_is_queued(EmailKind.REMINDER, Invoice.id.expression, occasion),
        )
        .order_by(Invoice.due_date, Invoice.id)
        .limit(BATCH)
    )
    return [
        NewEmail(
            kind=EmailKind.REMINDER,
            entity_id=invoice_id,
            occasion=its_occasion,
            customer_id=customer_id,
            invoice_id=invoice_id,
            details={"due_date": instant(due_date), "days": days},
        )
        for invoice_id, customer_id, due_date, its_occasion in rows
        if due_date is not None
    ]


async def _ending_trials(session: AsyncSession, now: datetime) -> Sequence[NewEmail]:
    """Subscriptions whose trial ends soon; their `due_at`, which has an index, is never later than that end."""
    table = Subscription
    occasion = _utc_text(table.trial_end.expression)
    rows = await session.execute(
        select(table.id, table.customer_id, occasion)
        .where(
            table.status == Status.PUBLISHED,
            table.subscription_status == SubscriptionStatus.TRIALING,
            table.due_at <= now + TRIAL_NOTICE,
            table.trial_end > now,
            table.trial_end <= now + TRIAL_NOTICE,
            table.parent_subscription_id.is_(None),
            ~_is_queued(EmailKind.TRIAL_ENDING, table.id.expression, occasion),
        )
        .order_by(table.due_at, table.id)
        .limit(BATCH)
    )
    return [
        NewEmail(
            kind=EmailKind.TRIAL_ENDING,
            entity_id=subscription_id,
            occasion=its_occasion,
            customer_id=customer_id,
            subscription_id=subscription_id,
        )
        for subscription_id, customer_id, its_occasion in rows
    ]


async def _expiring_credits(session: AsyncSession, now: datetime) -> Sequence[NewEmail]:
    """Wallets with credits that expire soon; what expires at one moment is one mail."""
    lot = WalletTransaction
    occasion = _utc_text(lot.expiry_date.expression)
    rows = await session.execute(
        select(Wallet.id, Wallet.customer_id, occasion)
        .join(Wallet, Wallet.id == lot.wallet_id)
        .where(
            lot.credits_available > 0,
            lot.transaction_status == TransactionStatus.COMPLETED,
            lot.expiry_date > now,
            lot.expiry_date <= now + EXPIRY_NOTICE,
            Wallet.wallet_status != WalletStatus.CLOSED,
            ~_is_queued(EmailKind.CREDITS_EXPIRING, Wallet.id.expression, occasion),
        )
        .group_by(Wallet.id, Wallet.customer_id, lot.expiry_date)
        .order_by(lot.expiry_date, Wallet.id)
        .limit(BATCH)
    )
    return [
        NewEmail(
            kind=EmailKind.CREDITS_EXPIRING,
            entity_id=wallet_id,
            occasion=its_occasion,
            customer_id=customer_id,
        )
        for wallet_id, customer_id, its_occasion in rows
    ]
