"""Putting faults into stored rows, one at a time, to see whether whoever looks at them names each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.account import Account


async def require_each_named(
    account: Account, faults: Mapping[str, str], name_differences: Callable[[AsyncSession], Awaitable[list[str]]]
) -> None:
    """Every statement of `faults` changes a row, after which a difference is named; before, and without it, none is."""
    async with account.transaction(read_only=True) as session:
        assert await name_differences(session) == []
    unchanged, missed = [], []
    for fault, statement in faults.items():
        async with account.transaction() as session:
            result: Any = await session.execute(text(statement))
            if result.rowcount == 0:
                unchanged.append(fault)
            elif not await name_differences(session):
                missed.append(fault)
            await session.rollback()
    assert (unchanged, missed) == ([], [])
