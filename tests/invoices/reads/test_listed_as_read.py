"""Lists are shaped from columns by the database, single reads from rows in memory; they say the same."""

from __future__ import annotations

from tests.account import Account
from tests.invoices.listed import require_lists_as_reads
from tests.web.stage import Stage


async def test_half_a_year_of_books_is_listed_as_it_is_read(account: Account) -> None:
    await Stage(account).play()
    assert await require_lists_as_reads(account) > 10
