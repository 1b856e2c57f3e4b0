"""Fixtures of credit notes."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.credits.notes.notebook import Notebook


@pytest.fixture
def notebook(account: Account) -> Notebook:
    return Notebook(account)
