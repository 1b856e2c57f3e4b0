"""Changes of subscriptions that are collected at once: the change is one transaction, collecting comes after it.

Providers are asked with nothing locked, so what the change made is committed before; with it goes what a repeat of the
request needs to collect what is left and to give the same answer, should this process die in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import answers
from farthing.billing.changes.apply_outcome import Performed
from farthing.billing.collection.collect import collect, require_paid
from farthing.core.clock import Clock
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.stored_answers import Replay
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.schemas.responses import SubscriptionResponse
from farthing.subscriptions.tables import Subscription

Answer = TypeVar("Answer")


class OpenedSubscription(msgspec.Struct):
    """A subscription that has begun. It is answered as it is once its opening invoice was collected."""

    subscription_id: str
    latest_invoice_id: str | None
    to_collect: list[str]

    @classmethod
    def of(cls, outcome: Outcome, performed: Performed) -> OpenedSubscription:
        latest = performed.issued[-1].id if performed.issued else None
        return cls(outcome.subscription.id, latest, performed.to_collect)


class Changed(msgspec.Struct):
    """A change with its answer, which collecting does not alter."""

    status_code: int
    answer: msgspec.Raw
    to_collect: list[str]


async def open_and_collect(
    session: AsyncSession,
    gateways: Gateways,
    clock: Clock,
    begin: Callable[[], Awaitable[OpenedSubscription]],
    *,
    must_be_paid: bool,
) -> SubscriptionResponse:
    """Let a subscription begin, collect its opening, and show it as it is then.

    `must_be_paid`: one that must not stand without its payment is undone without it. Raises InvalidOperation then.
    """
    interrupted = resume_point(session, OpenedSubscription)
    opened = interrupted or await begin()
    if opened.to_collect:
        if interrupted is None:
            await commit_midway(session, opened)  # providers are asked next
        await collect(session, gateways, opened.to_collect, clock, goes_on=interrupted is not None)
        if must_be_paid:
            await require_paid(session, gateways, opened.subscription_id, opened.to_collect, clock.now())
    subscription = await session.get_one(Subscription, opened.subscription_id)
    latest = None if opened.latest_invoice_id is None else await session.get_one(Invoice, opened.latest_invoice_id)
    return await answers.describe_opening(session, subscription, latest, clock.now())


async def change_and_collect(
    session: AsyncSession,
    gateways: Gateways,
    clock: Clock,
    change: Callable[[], Awaitable[tuple[Answer, Sequence[str]]]],
    *,
    status_code: int = 200,
) -> Answer:
    """Make a change and collect the invoices it led to; `change` returns the answer, and their ids.

    Raises Replay with the answer when an interrupted run of the same request has made the change already.
    """
    changed = resume_point(session, Changed)
    if changed is not None:
        await collect(session, gateways, changed.to_collect, clock, goes_on=True)
        raise Replay(changed.status_code, bytes(changed.answer))
    answer, to_collect = await change()
    if to_collect:
        point = Changed(status_code, msgspec.Raw(msgspec.json.encode(answer)), list(to_collect))
        await commit_midway(session, point)  # providers are asked next
        await collect(session, gateways, to_collect, clock)
    return answer
