"""What becomes of an application when its time has come: applied, skipped, deferred, cancelled or failed.

The subscriptions are locked by the caller; the wallets are locked here, all of them at once and in order. Rounds follow
one another: an application that is done with makes the next one of its grant, which may be due as well.
Rule: docs/rules/credits.md#applications
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod, Recurrence, next_billing_date, period_containing
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT
from farthing.credits.enums import CreditClass, TransactionReason
from farthing.credits.grants.enums import APPLICATION, OPEN, ApplicationReason, ApplicationStatus
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.credits.invoicing.wallets import OpeningTerms, lock_or_open_wallets
from farthing.credits.ledger.opening import WalletKey, default_name
from farthing.credits.ledger.posting import CreditMovement, MovementOrigin, post_all, require_active, require_room
from farthing.credits.ledger.tables import Wallet
from farthing.credits.rules.grants import GrantExpiry, application_key, deferral, retry_delay
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.dates import effective_end, open_period, recurrence
from farthing.subscriptions.enums import ScheduleStatus, SubscriptionStatus
from farthing.subscriptions.tables import Subscription

MOST_ROUNDS = 100
"""How many periods of a grant are caught up at once; the sweep does the rest."""
_NOT_BEGUN = {SubscriptionStatus.DRAFT, SubscriptionStatus.INCOMPLETE}


@dataclass(frozen=True, slots=True)
class DueApplication:
    """An open application with its grant and subscription, all locked."""

    application: CreditGrantApplication
    grant: CreditGrant
    subscription: Subscription


def recurrence_of(grant: CreditGrant, subscription: Subscription) -> Recurrence:
    """When a recurring grant gives credits: from its anchor on, in the subscription's time zone."""
    assert grant.period is not None, "a recurring grant has a period"
    assert grant.period_count is not None, "a recurring grant has a period"
    assert grant.credit_grant_anchor is not None, "a subscription's grant has an anchor"
    period, zone = BillingPeriod(grant.period.value), ZoneInfo(subscription.timezone)
    return Recurrence(period, grant.credit_grant_anchor, zone, grant.period_count)


def new_application(
    grant: CreditGrant, subscription: Subscription, start: datetime, reason: ApplicationReason
) -> CreditGrantApplication:
    """The application of a grant to the period that begins at `start`; nothing is applied yet."""
    end = None
    if reason is not ApplicationReason.ONETIME:
        end = next_billing_date(start, recurrence_of(grant, subscription))
    return CreditGrantApplication(
        id=new_id(Kind.CREDIT_GRANT_APPLICATION),
        credit_grant_id=grant.id,
        subscription_id=subscription.id,
        scheduled_for=start,
        period_start=start,
        period_end=end,
        application_status=ApplicationStatus.PENDING,
        application_reason=reason,
        credits=grant.credits,
        next_attempt_at=start,
        retry_count=0,
        rollover_due=False,
        idempotency_key=application_key(grant.id, start, end),
        meta={},
    )


def _following(due: DueApplication) -> CreditGrantApplication | None:
    """The next application of a recurring grant, as far as its period ends in time."""
    grant, ended = due.grant, due.application.period_end
    if ended is None:
        return None
    following = new_application(grant, due.subscription, ended, ApplicationReason.RECURRING)
    assert following.period_end is not None, "a recurring grant's period ends"
    return None if grant.end_date is not None and following.period_end > grant.end_date else following


async def settle(session: AsyncSession, due: Sequence[DueApplication], now: datetime) -> Counter[str]:
    """Attend to open applications that are due, and to those that follow from them; how many became what."""
    counts: Counter[str] = Counter()
    if not due:
        return counts
    scheduled = await _scheduled_changes(session, {part.subscription.id for part in due})
    wallets: dict[WalletKey, Wallet] = {}
    for _ in range(MOST_ROUNDS):
        due = [part for part in due if not _waits_for_billing(part, scheduled)]
        for part in due:
            _decide(part, now)
        to_apply = [part for part in due if part.application.application_status in OPEN and _is_due(part, now)]
        wallets |= await lock_or_open_wallets(session, _missing_wallets(to_apply, wallets))
        await _apply(session, [(part, wallets[_wallet_key(part.subscription)]) for part in to_apply], now)
        await session.flush()
        following = []
        for part in due:
            counts[part.application.application_status.value] += 1
            if part.application.application_status in {ApplicationStatus.APPLIED, ApplicationStatus.SKIPPED}:
                made = _following(part)
                if made is not None:
                    following.append(DueApplication(made, part.grant, part.subscription))
        session.add_all(part.application for part in following)
        await session.flush()
        due = [part for part in following if _is_due(part, now)]
        if not due:
            break
    return counts


def _wallet_key(subscription: Subscription) -> WalletKey:
    """Whose wallet takes what a subscription is granted: that of its payer, whose invoices the credits reduce."""
    return WalletKey(subscription.invoicing_customer_id or subscription.customer_id, subscription.currency)


def _missing_wallets(
    due: Sequence[DueApplication], locked: Mapping[WalletKey, Wallet]
) -> dict[WalletKey, OpeningTerms]:
    """The wallets that are not locked yet; a new one has the rates of the first grant that needs it."""
    wanted: dict[WalletKey, OpeningTerms] = {}
    for part in due:
        key, grant = _wallet_key(part.subscription), part.grant
        if key not in locked and key not in wanted:
            rate = grant.conversion_rate or Decimal(1)
            topup_rate = grant.topup_conversion_rate or rate
            wanted[key] = OpeningTerms(rate, topup_rate, default_name(key.wallet_type, key.currency))
    return wanted


def _is_due(due: DueApplication, now: datetime) -> bool:
    at = due.application.next_attempt_at
    return at is not None and at <= now


async def _scheduled_changes(session: AsyncSession, subscription_ids: Collection[str]) -> Mapping[str, datetime]:
    """When the first change falls due that is scheduled for each subscription."""
    table = SubscriptionSchedule
    rows = await session.execute(
        select(table.subscription_id, table.scheduled_at)
        .where(in_array(table.subscription_id, subscription_ids), table.schedule_status == ScheduleStatus.PENDING)
        .order_by(table.scheduled_at.desc())
    )
    return dict(rows.all())


def _waits_for_billing(due: DueApplication, scheduled: Mapping[str, datetime]) -> bool:
    """Whether something is to happen to the subscription by the application's time which the billing run has not done
    yet: a trial that ends, a pause that begins or ends, a change that is scheduled."""
    subscription, at = due.subscription, due.application.scheduled_for
    upcoming = [subscription.pause_due_at, scheduled.get(subscription.id)]
    if subscription.subscription_status is SubscriptionStatus.TRIALING:
        upcoming.append(subscription.trial_end)
    if subscription.subscription_status is SubscriptionStatus.CANCELLED:
        return False
    return any(moment is not None and moment <= at for moment in upcoming)


def _decide(due: DueApplication, now: datetime) -> None:
    """Cancel, defer or skip an application; one that is left open and due is to be applied."""
    application, grant, subscription = due.application, due.grant, due.subscription
    application.subscription_status = subscription.subscription_status
    at = application.scheduled_for
    ends = effective_end(subscription)
    if grant.status is not Status.PUBLISHED:
        close(application, ApplicationStatus.CANCELLED, "the grant was archived")
    elif grant.end_date is not None and grant.end_date <= at:
        close(application, ApplicationStatus.CANCELLED, f"the grant ended at {instant(grant.end_date)}")
    elif subscription.subscription_status is SubscriptionStatus.CANCELLED:
        close(application, ApplicationStatus.CANCELLED, "the subscription is cancelled")
    elif ends is not None and ends <= at:
        close(application, ApplicationStatus.CANCELLED, f"the subscription ends at {instant(ends)}")
    elif subscription.subscription_status in _NOT_BEGUN:
        _defer(application, now)
    elif subscription.subscription_status is SubscriptionStatus.PAUSED:
        close(application, ApplicationStatus.SKIPPED, "the subscription is paused")
    elif application.credits == 0:
        close(application, ApplicationStatus.SKIPPED, "the part of the period comes to no credits")
    else:
        expiry = expiry_of(due)
        if expiry is not None and expiry <= now:
            close(application, ApplicationStatus.SKIPPED, f"its credits would have expired at {instant(expiry)}")


def close(application: CreditGrantApplication, status: ApplicationStatus, reason: str) -> None:
    """Let an application give nothing, and say why."""
    application.application_status = APPLICATION.check(application.application_status, status)
    application.failure_reason = reason
    application.next_attempt_at = None


def _defer(application: CreditGrantApplication, now: datetime) -> None:
    later = deferral(application.retry_count)
    application.scheduled_for += later
    application.retry_count += 1
    application.next_attempt_at = application.scheduled_for if application.scheduled_for > now else now + later


def expiry_of(due: DueApplication) -> datetime | None:
    """When the credits of an application expire.

    Rule: docs/rules/credits.md#expiry-of-granted-credits
    """
    grant, subscription, start = due.grant, due.subscription, due.application.period_start
    expiry = GrantExpiry(grant.expiration_type, grant.expiration_duration, grant.expiration_duration_unit)
    billing = period_containing(start, open_period(subscription), recurrence(subscription))
    ends = effective_end(subscription)
    closes = billing.end if ends is None or ends <= start else min(billing.end, ends)
    return expiry.of_lot(start, closes, ZoneInfo(subscription.timezone))


async def _apply(session: AsyncSession, due: Sequence[tuple[DueApplication, Wallet]], now: datetime) -> None:
    """Give the credits of applications, all of them at once; a wallet that does not take them leaves one failed."""
    given: list[tuple[DueApplication, Wallet]] = []
    balances: dict[str, Decimal] = {}
    for part, wallet in due:
        balance = EXACT.add(balances.get(wallet.id, wallet.credit_balance), part.application.credits)
        obstacle = _obstacle(part.grant, wallet, balance)
        if obstacle is not None:
            fail(part.application, obstacle, now)
            continue
        balances[wallet.id] = balance
        given.append((part, wallet))
    rows = await post_all(session, [(wallet, _credit(part)) for part, wallet in given], now)
    for (part, _), row in zip(given, rows, strict=True):
        application = part.application
        application.application_status = APPLICATION.check(application.application_status, ApplicationStatus.APPLIED)
        application.failure_reason = application.next_attempt_at = None
        application.applied_at = now
        application.transaction_id = row.id
        application.rollover_due = part.grant.rollover_maximum is not None


def _obstacle(grant: CreditGrant, wallet: Wallet, balance: Decimal) -> str | None:
    """Why a wallet cannot be given the credits of a grant, with which it would have this balance."""
    try:
        require_active(wallet, "given the credits of a grant")
        require_room(wallet, balance)
    except FarthingError as error:
        return error.message
    return _other_rates(grant, wallet)


def _credit(due: DueApplication) -> CreditMovement:
    application, grant = due.application, due.grant
    origin = MovementOrigin(
        reference_id=application.id,
        description=grant.name,
        metadata={
            **application.meta,
            "grant_id": grant.id,
            "subscription_id": due.subscription.id,
            "cga_id": application.id,
        },
        system_key=application.id,
    )
    return CreditMovement(
        application.credits,
        TransactionReason.SUBSCRIPTION_CREDIT_GRANT,
        origin,
        CreditClass.FREE,
        expiry=expiry_of(due),
        priority=grant.priority,
        valid_from=application.period_start,
    )


def _other_rates(grant: CreditGrant, wallet: Wallet) -> str | None:
    """Why the wallet cannot take the credits of a grant that has rates of its own."""
    for name in ("conversion_rate", "topup_conversion_rate"):
        wanted, present = getattr(grant, name), getattr(wallet, name)
        if wanted is not None and wanted != present:
            return f"the wallet {wallet.id} has another {name} ({present.normalize():f}) than the grant"
    return None


def fail(application: CreditGrantApplication, reason: str, now: datetime) -> None:
    """Let an open application be tried again later, and say why."""
    application.application_status = APPLICATION.check(application.application_status, ApplicationStatus.FAILED)
    application.failure_reason = reason
    application.retry_count += 1
    application.next_attempt_at = now + retry_delay(application.retry_count)
