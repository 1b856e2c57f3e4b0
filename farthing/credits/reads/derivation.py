"""Proof of the ledger: every figure of every wallet worked out again from its rows, beside what is stored."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference

_WALLETS = """
    SELECT wallet.id, figure.name, figure.stored, figure.derived
    FROM wallets AS wallet
    LEFT JOIN LATERAL (
        SELECT sum(CASE type WHEN 'credit' THEN credit_amount ELSE -credit_amount END) AS credits,
               sum(credits_available) AS available, count(*) AS movements
        FROM wallet_transactions WHERE wallet_id = wallet.id AND seq IS NOT NULL
    ) AS ledger ON true
    CROSS JOIN LATERAL (VALUES
        ('credit_balance', wallet.credit_balance, coalesce(ledger.credits, 0)),
        ('balance', wallet.balance, round(coalesce(ledger.credits, 0) * wallet.conversion_rate, 9)),
        ('credits left in lots', coalesce(ledger.available, 0), greatest(wallet.credit_balance, 0)),
        ('movements', wallet.last_seq, ledger.movements)
    ) AS figure (name, stored, derived)
    WHERE figure.stored <> figure.derived
"""
_CHAINS = """
    SELECT id, 'credit_balance_before', credit_balance_before, expected FROM (
        SELECT id, credit_balance_before,
               coalesce(lag(credit_balance_after) OVER (PARTITION BY wallet_id ORDER BY seq), 0) AS expected
        FROM wallet_transactions WHERE seq IS NOT NULL
    ) AS chain WHERE credit_balance_before <> expected
"""
_LOTS = """
    SELECT lot.id, 'credits_available', lot.credits_available,
           lot.credit_amount - least(lot.credit_amount, greatest(-lot.credit_balance_before, 0))
           - coalesce((SELECT sum(credits) FROM wallet_consumptions WHERE credit_id = lot.id), 0) AS derived
    FROM wallet_transactions AS lot WHERE lot.type = 'credit' AND lot.seq IS NOT NULL
"""
_DEBITS = """
    SELECT debit.id, 'consumption_breakdown', coalesce(taken.credits, 0),
           least(debit.credit_amount, greatest(debit.credit_balance_before, 0)) AS derived
    FROM wallet_transactions AS debit
    LEFT JOIN LATERAL (
        SELECT sum(credits) AS credits FROM wallet_consumptions WHERE debit_id = debit.id
    ) AS taken ON true
    WHERE debit.type = 'debit'
"""
_STATEMENTS = (
    text(_WALLETS),
    text(_CHAINS),
    text(f"SELECT * FROM ({_LOTS}) AS lots WHERE credits_available <> derived"),
    text(f"SELECT * FROM ({_DEBITS}) AS debits (id, figure, stored, derived) WHERE stored <> derived"),
)


async def ledger_differences(session: AsyncSession) -> list[Difference]:
    """Where the wallets of an environment, their chains, lots or breakdowns differ from their rows. Read-only.

    Rule: docs/rules/credits.md#invariants
    """
    return [
        Difference(row_id, figure, plain(stored), plain(derived))
        for statement in _STATEMENTS
        for row_id, figure, stored, derived in await session.execute(statement)
    ]
