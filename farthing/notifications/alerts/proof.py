"""Does the log of alerts hold what it promises, and do wallets keep the states that it has?

Each statement names a row, a figure, what is stored and what it should be, where both differ. Reads only.
Rule: docs/rules/alerts.md#what-the-doctor-derives
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.figures.derivation import Difference

_WALLETS = """
    SELECT wallet.id, 'state of ' || stream.alert_type, stream.state, coalesce(newest.alert_status, 'ok')
    FROM wallets AS wallet
    CROSS JOIN LATERAL (
        VALUES ('low_ongoing_balance', wallet.alert_state), ('low_credit_balance', wallet.credit_alert_state)
    ) AS stream (alert_type, state)
    LEFT JOIN LATERAL (
        SELECT log.alert_status FROM alert_logs AS log
        WHERE log.environment_id = wallet.environment_id AND log.entity_id = wallet.id
            AND log.alert_type = stream.alert_type
        ORDER BY log.position DESC LIMIT 1
    ) AS newest ON true
    WHERE stream.state <> coalesce(newest.alert_status, 'ok')
"""
_STREAMS = """
    SELECT later.id, 'change of ' || later.alert_type, later.alert_status, 'another state than ' || later.before
    FROM (
        SELECT id, alert_type, alert_status, coalesce(lag(alert_status) OVER (
            PARTITION BY entity_id, alert_type, parent_entity_id, alert_setting_id, period_start ORDER BY position
        ), 'ok') AS before
        FROM alert_logs
    ) AS later
    WHERE later.alert_status = later.before
"""


async def alert_differences(session: AsyncSession) -> list[Difference]:
    """States of wallets that differ from the log, and rows of the log that changed nothing."""
    return [
        Difference(where, figure, stored, derived)
        for statement in (_WALLETS, _STREAMS)
        for where, figure, stored, derived in await session.execute(text(statement))
    ]
