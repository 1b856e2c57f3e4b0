"""The duties of this release."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.retries import carry_out_due
from farthing.billing.entitlement_grants.evaluation import GrantEvaluation
from farthing.billing.run.automatic_cancellation import cancel_unpaid
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.recompute import recompute_drafts
from farthing.billing.run.renewal_notice import announce_renewals
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.catalogue.fx.fetching import fetch_days
from farthing.catalogue.fx.market import import_days
from farthing.checkout.conclusion.expiry import ask_before_expiry
from farthing.checkout.conclusion.expiry import expire_due as expire_checkouts
from farthing.core.clock import FixedClock
from farthing.credits.grants.sweep import GrantSweep
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.wallets.evaluation import evaluate_due
from farthing.erasure.documents import erase_old_documents
from farthing.events.upkeep.backfill import backfill
from farthing.events.upkeep.reconcile import reconcile as reconcile_usage
from farthing.events.upkeep.retention import retention
from farthing.events.upkeep.unfinished import finish_writes
from farthing.invoices.lifecycle.due_dates import notify_overdue
from farthing.invoices.ports import InvoicePorts
from farthing.jobs.duties.duty import Counts, Duty, environments, everywhere, rotated
from farthing.jobs.duties.shared_billing import ENVIRONMENT_LIMIT, Pass, SharedBilling
from farthing.jobs.tables import JobRun
from farthing.marketplaces.records import UsageRecordSweep
from farthing.marketplaces.reporting.markets.opening import Marketplaces
from farthing.marketplaces.reporting.run import report_environment, skip_under_test_clock
from farthing.notifications.activity.retention import forget_old_activities
from farthing.notifications.alerts.evaluation import evaluate_due as look_at_usage
from farthing.notifications.alerts.evaluation import schedule as plan_looks
from farthing.notifications.email.delivery.run import MailDelivery
from farthing.notifications.email.password_mail import send_password_mails
from farthing.notifications.email.scheduling import queue_notices
from farthing.notifications.undelivered import count_undelivered
from farthing.notifications.webhooks.delivery.retention import forget_old_deliveries
from farthing.notifications.webhooks.delivery.running import recover_deliveries
from farthing.own_billing.host import find_host
from farthing.own_billing.tenants import sync_statuses, take_in_new
from farthing.own_billing.usage import send_daily_usage
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from farthing.storage.stored_answers import forget_old
from farthing.transfer.exports.retention import forget_exported_files
from farthing.transfer.files import forget_expired
from farthing.transfer.running import TaskRunner
from farthing.transfer.schedules.due import begin_due
from farthing.transfer.tasks.lifecycle import forget_old_problems
from farthing.transfer.tasks.queueing import DUTY as TASK_RUNS

log = structlog.get_logger(__name__)

JOB_RUNS_KEPT = timedelta(days=30)
BATCH = 500
REPORTED_AT_ONCE = 4
"""In how many environments marketplaces are told of usage at the same time."""
EMAIL_ENOUGH = timedelta(seconds=50)
"""When a run of it ends: the next one, a minute after it began, begins with another environment."""


def duties(database: Database, settings: Settings) -> Sequence[Duty]:
    """Every duty of this release, by the name that `farthing jobs run` takes."""
    gateways = Gateways(database, settings, database.ports.part(InvoicePorts).hooks)

    async def overdue(session: AsyncSession, now: datetime) -> int:
        return await notify_overdue(session, now, BATCH)

    async def usage_alerts(session: AsyncSession, now: datetime) -> int:
        return await plan_looks(session, now) or await look_at_usage(session, now)

    async def checkouts(session: AsyncSession, now: datetime) -> int:
        await ask_before_expiry(session, gateways, now)
        await expire_checkouts(session, now)
        return 0  # it goes through all of them by itself

    async def reconciliation(session: AsyncSession, now: datetime) -> int:
        await reconcile(session, gateways, now)
        return 0  # it goes through all of them by itself

    def billing(name: str, cron: str, *passes: Pass) -> Duty:
        billed = SharedBilling(name, gateways, passes)
        return Duty(name, cron, billed.everywhere, share=billed.share)

    return (
        billing("subscription_billing", "*/2 * * * *", _evaluate_ending, Run.roll, Run.compute),
        billing("auto_invoice_threshold", "*/5 * * * *", invoice_thresholds),
        billing("draft_invoice_finalization", "*/30 * * * *", Run.finalize),
        billing("draft_invoice_recompute", "0 2 * * *", recompute_drafts),
        Duty("entitlement_grant_evaluation", "*/5 * * * *", _evaluate_grants_everywhere),
        Duty("credit_grant_processing", "*/15 * * * *", _apply_grants_everywhere),
        billing("subscription_auto_cancellation", "*/15 * * * *", cancel_unpaid),
        Duty("dunning", "*/15 * * * *", _dunning(gateways)),
        Duty("usage_records", "*/10 * * * *", _usage_records(settings)),
        billing("renewal_due_alerts", "*/15 * * * *", announce_renewals),
        Duty("invoice_overdue_scan", "*/15 * * * *", everywhere(overdue)),
        Duty("wallet_credit_expiry", "*/15 * * * *", everywhere(expire_due)),
        Duty("wallet_evaluation", "* * * * *", everywhere(evaluate_due)),
        Duty("usage_alert_evaluation", "* * * * *", everywhere(usage_alerts)),
        Duty("checkout_session_expiry", "*/5 * * * *", everywhere(checkouts)),
        Duty("payment_reconciliation", "*/15 * * * *", everywhere(reconciliation)),
        Duty("outbound_webhook_recovery", "*/2 * * * *", recover_deliveries(settings)),
        Duty("undelivered_count", "*/5 * * * *", everywhere(count_undelivered)),
        Duty("webhook_retention", "15 4 * * *", everywhere(forget_old_deliveries)),
        Duty("activity_retention", "45 4 * * *", everywhere(forget_old_activities)),
        Duty("document_erasure", "15 5 * * *", everywhere(erase_old_documents)),
        Duty("meter_backfill", "* * * * *", everywhere(backfill)),
        Duty("usage_reconciliation", "0 5 * * *", everywhere(reconcile_usage)),
        Duty("email_notices", "*/15 * * * *", everywhere(queue_notices)),
        *_email_delivery(settings),
        *_own_billing(settings),
        *_event_retention(settings),
        *_event_writes(settings),
        Duty("scheduled_exports", "* * * * *", everywhere(begin_due)),
        Duty(TASK_RUNS, "* * * * *", _task_runs(settings)),
        Duty("transfer_retention", "50 4 * * *", _transfer_retention(settings)),
        *_reference_rates(settings),
        Duty("retention", "0 4 * * *", _retention),
    )


def _dunning(gateways: Gateways) -> Callable[[Database, datetime], Awaitable[Counts]]:
    """Trying again, in every environment, what failed to be charged and is due."""

    async def run(database: Database, now: datetime) -> Counts:
        async def retry(scope: Scope, at: datetime) -> Counts:
            return {"failed": len(await carry_out_due(database, scope, gateways, FixedClock(at)))}

        return await _sweep_everywhere(database, now, retry)

    return run


def _usage_records(settings: Settings) -> Callable[[Database, datetime], Awaitable[Counts]]:
    """Recording what the usage of marketplaces' subscriptions came to, and telling the marketplaces.

    Several environments are reported at a time, so that a marketplace that does not answer delays few. What lives at
    the time of a test clock is told to nobody.
    """

    async def run(database: Database, now: datetime) -> Counts:
        sweep = UsageRecordSweep()
        counts = Counter(await everywhere(sweep.record_due)(database, now))
        counts.update(succeeded=-len(sweep.set_aside), failed=len(sweep.set_aside))
        marketplaces, turns = Marketplaces(database, settings), asyncio.Semaphore(REPORTED_AT_ONCE)

        async def report(scope: Scope, frozen: datetime | None) -> Counts:
            async with turns, asyncio.timeout(ENVIRONMENT_LIMIT.total_seconds()):
                if frozen is not None:
                    return await skip_under_test_clock(database, scope, FixedClock(frozen))
                return await report_environment(database, scope, marketplaces, database.clock)

        scopes = rotated(await environments(database), now)
        for (scope, _), done in zip(
            scopes, await asyncio.gather(*(report(*each) for each in scopes), return_exceptions=True), strict=True
        ):
            if isinstance(done, BaseException):
                if not isinstance(done, Exception):
                    raise done
                counts["failed"] += 1
                log.error("duty.failed", environment_id=scope.environment_id, exc_info=done)
            else:
                counts.update(done)
        return counts

    return run


def _task_runs(settings: Settings) -> Callable[[Database, datetime], Awaitable[Counts]]:
    """Running imports and exports that are queued, in every environment."""

    async def run(database: Database, now: datetime) -> Counts:
        runner = TaskRunner(database, settings, lambda: environments(database))
        await runner.run()
        return {"succeeded": runner.succeeded, "failed": runner.failed}

    return run


def _transfer_retention(settings: Settings) -> Callable[[Database, datetime], Awaitable[Counts]]:
    """Forgetting uploads that expired, what old imports say of their rows, and old files in the export folder."""

    async def forget(database: Database, now: datetime) -> Counts:
        files = await everywhere(forget_expired)(database, now)
        problems = await everywhere(forget_old_problems)(database, now)
        exported = await asyncio.to_thread(forget_exported_files, settings, now)
        return Counter(files) + Counter(problems) + Counter(succeeded=exported)

    return forget


def _event_writes(settings: Settings) -> Sequence[Duty]:
    """The duty of a deployment whose events are stored outside PostgreSQL, where a write may be cut off midway."""
    return () if settings.events_url is None else (Duty("event_writes", "* * * * *", everywhere(finish_writes)),)


def _event_retention(settings: Settings) -> Sequence[Duty]:
    """Forgetting old events, where the deployment wants it."""
    if not settings.event_retention_days:
        return ()
    keep = timedelta(days=settings.event_retention_days)
    return (Duty("event_retention", "30 4 * * *", everywhere(retention(keep))),)


def _reference_rates(settings: Settings) -> Sequence[Duty]:
    """Fetching reference rates for every environment, where the deployment names an address."""
    url = settings.fx_url
    if url is None:
        return ()

    async def fetch(database: Database, now: datetime) -> Counts:
        days = await fetch_days(url)

        async def store(session: AsyncSession, at: datetime) -> int:
            await import_days(session, days)
            return 0  # all of them at once

        return Counter(await everywhere(store)(database, now)) + Counter(succeeded=len(days))

    return (Duty("reference_rates", "15 16 * * *", fetch),)


def _own_billing(settings: Settings) -> Sequence[Duty]:
    """Billing the deployment's own tenants, where its host does."""
    if settings.billing_environment is None:
        return ()

    async def keep_up(database: Database, now: datetime) -> Counts:
        host = await find_host(database, settings)
        if host is None:
            return {}
        taken_in = await take_in_new(host, now)
        return {"succeeded": taken_in + await sync_statuses(host, timedelta(days=settings.billing_grace_days))}

    async def send_usage(database: Database, now: datetime) -> Counts:
        host = await find_host(database, settings)
        return {} if host is None else {"succeeded": await send_daily_usage(host, now)}

    return (
        Duty("own_billing", "* * * * *", keep_up),
        Duty("own_billing_usage", "20 0 * * *", send_usage),
    )


def _email_delivery(settings: Settings) -> Sequence[Duty]:
    """Handing in mail, where there is a server that takes it."""
    server = settings.mail_server()
    if server is None:
        return ()

    async def deliver(database: Database, now: datetime) -> Counts:
        from farthing.notifications.email.delivery.smtp import MailSender

        async with MailSender(server) as sender:
            links = await send_password_mails(database, sender, settings)
            mails = await everywhere(MailDelivery(sender, settings).deliver, enough=EMAIL_ENOUGH)(database, now)
        return Counter(mails) + Counter(succeeded=links)

    return (Duty("email_delivery", "* * * * *", deliver),)


async def _apply_grants_everywhere(database: Database, now: datetime) -> Counts:
    """Apply the credit grants that are due in each environment, at its own time."""

    async def apply(scope: Scope, at: datetime) -> Counts:
        return (await GrantSweep(database, scope, at).run()).counts()

    return await _sweep_everywhere(database, now, apply)


async def _evaluate_grants_everywhere(database: Database, now: datetime) -> Counts:
    """Bring the usage windows of entitlements' grants to the time of each environment."""

    async def evaluate(scope: Scope, at: datetime) -> Counts:
        return (await GrantEvaluation(database, scope, at).run()).counts()

    return await _sweep_everywhere(database, now, evaluate)


async def _evaluate_ending(run: Run, done: Summary) -> None:
    """Bring the usage windows of what is about to be invoiced to the time of the run."""
    done.failed |= (await GrantEvaluation(run.database, run.scope, run.now, due_only=True).run()).failed


async def _sweep_everywhere(
    database: Database, now: datetime, sweep: Callable[[Scope, datetime], Awaitable[Counts]]
) -> Counts:
    counts: Counter[str] = Counter()
    for scope, frozen in rotated(await environments(database), now):
        try:
            async with asyncio.timeout(ENVIRONMENT_LIMIT.total_seconds()):
                done = await sweep(scope, frozen or now)
        except Exception:  # one environment's trouble must not stop the others
            counts["failed"] += 1
            log.exception("duty.failed", environment_id=scope.environment_id)
        else:
            counts.update(done)
    return counts


_FORGET_JOBS = text(
    """
    DELETE FROM procrastinate_jobs AS job
    WHERE status IN ('succeeded', 'failed', 'cancelled', 'aborted')
      AND NOT EXISTS (SELECT 1 FROM procrastinate_events AS event WHERE event.job_id = job.id AND event.at >= :before)
    """
)


async def _retention(database: Database, now: datetime) -> Counts:
    async with database.transaction(SYSTEM) as session:
        await session.execute(delete(JobRun).where(JobRun.started_at < now - JOB_RUNS_KEPT))
        await session.execute(_FORGET_JOBS, {"before": now - JOB_RUNS_KEPT})
        await forget_old(session, now)
    return {"succeeded": 1}
