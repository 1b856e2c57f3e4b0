from __future__ import annotations

import pytest

from tests.account import Account
from tests.payments.till import Till


@pytest.fixture
def till(account: Account) -> Till:
    """This account's till."""
    return Till(account)
