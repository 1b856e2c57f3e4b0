"""The checkout session expiry duty, and when it has something to do next.

Rule: docs/rules/checkout.md#expiry
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.conclusion.ending import expire
from farthing.checkout.tables import IS_OPEN, CheckoutSession
from farthing.core.errors import FarthingError
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import ask_page
from farthing.storage.midway import commit_midway

log = structlog.get_logger(__name__)

_PAGE = 100


async def ask_before_expiry(session: AsyncSession, gateways: Gateways, now: datetime) -> None:
    """Ask providers about the pages of all open sessions whose time is over: what was paid completes its session.

    A provider that does not answer keeps nothing from ending; money it took all the same is late money.
    """

    async def ask(_: str, payment_id: str) -> bool:
        await ask_page(session, gateways, payment_id, now)
        return True

    await _each_due(session, now, ask)


async def expire_due(session: AsyncSession, now: datetime) -> int:
    """End every open session of the environment whose time is over, each in a transaction of its own; how many ended.

    May be run by several processes at once: each looks at a session again under its lock. Pages are closed by the
    reconciliation of payments.
    """

    async def end(checkout_id: str, _: str) -> bool:
        ended = await expire(session, checkout_id, now)
        await commit_midway(session)
        return ended

    return await _each_due(session, now, end)


async def _each_due(session: AsyncSession, now: datetime, step: Callable[[str, str], Awaitable[bool]]) -> int:
    """Take a step with each session that is due and its payment, by their ids; for how many it did something."""
    done, last = 0, ""
    while True:
        due = select(CheckoutSession.id, CheckoutSession.payment_id).where(
            text(IS_OPEN), CheckoutSession.expires_at <= now, CheckoutSession.id > last
        )
        page = (await session.execute(due.order_by(CheckoutSession.id).limit(_PAGE))).all()
        await commit_midway(session)
        for checkout_id, payment_id in page:
            try:
                done += await step(checkout_id, payment_id)
            except FarthingError as error:
                # one session that cannot be ended must not keep the others from their end
                await session.rollback()
                log.warning("checkout.not_expired", checkout_session_id=checkout_id, reason=error.message)
        if len(page) < _PAGE:
            return done
        last = page[-1].id


async def find_next_expiry(session: AsyncSession, after: datetime) -> datetime | None:
    """The first time after `after` at which an open session ends."""
    query = select(func.min(CheckoutSession.expires_at)).where(text(IS_OPEN), CheckoutSession.expires_at > after)
    return (await session.execute(query)).scalar_one()
