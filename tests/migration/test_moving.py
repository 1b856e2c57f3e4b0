"""A company moves from a running server to an empty environment, and finds what it left."""

from __future__ import annotations

from tests.migration.removal import (
    NEXT_PERIOD,
    Removal,
    billed_after,
    open_invoices_of,
    summaries_of,
)


async def test_each_customer_owes_the_same_and_is_billed_the_same(removal: Removal) -> None:
    status, output = await removal.migrate()

    assert "Both sides agree." in output, output
    assert status == 0, output
    assert await summaries_of(removal.target) == await summaries_of(removal.source)
    assert await open_invoices_of(removal.target) == await open_invoices_of(removal.source)
    assert await removal.differences() == []

    await removal.bill_both()
    expected = await billed_after(removal.source, NEXT_PERIOD)
    assert len(expected) > 3
    assert await billed_after(removal.target, NEXT_PERIOD) == expected
    assert await summaries_of(removal.target) == await summaries_of(removal.source)
    assert await removal.differences() == []
