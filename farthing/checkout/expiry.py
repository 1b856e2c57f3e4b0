"""The checkout session expiry duty, and when it has something to do next.

Rule: docs/rules/checkout.md#expiry
"""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.ending import expire
from farthing.checkout.tables import IS_OPEN, CheckoutSession
from farthing.core.errors import FarthingError
from farthing.storage.midway import commit_midway

log = structlog.get_logger(__name__)

_PAGE = 100


async def expire_due(session: AsyncSession, now: datetime) -> int:
    """End every open session of the environment whose time is over, each in a transaction of its own; how many ended.

    May be run by several processes at once: each looks at a session again under its lock. Pages are closed by the
    reconciliation of payments.
    """
    ended, last = 0, ""
    while True:
        due = select(CheckoutSession.id).where(text(IS_OPEN), CheckoutSession.expires_at <= now)
        page = (
            await session.scalars(due.where(CheckoutSession.id > last).order_by(CheckoutSession.id).limit(_PAGE))
        ).all()
        await commit_midway(session)
        for checkout_id in page:
            try:
                ended += await expire(session, checkout_id, now)
                await commit_midway(session)
            except FarthingError as error:
                # one session that cannot be ended must not keep the others from their end
                await session.rollback()
                log.warning("checkout.not_expired", checkout_session_id=checkout_id, reason=error.message)
        if len(page) < _PAGE:
            return ended
        last = page[-1]


async def find_next_expiry(session: AsyncSession, after: datetime) -> datetime | None:
    """The first time after `after` at which an open session ends."""
    query = select(func.min(CheckoutSession.expires_at)).where(text(IS_OPEN), CheckoutSession.expires_at > after)
    return (await session.execute(query)).scalar_one()
