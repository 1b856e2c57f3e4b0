"""A billing office whose requests may be paid first."""

from __future__ import annotations

import pytest

from tests.billing.conftest import office
from tests.billing.office import Office
from tests.checkout.turnstile import Turnstile

__all__ = ["office"]


@pytest.fixture
async def turnstile(office: Office) -> Turnstile:
    """Checkouts through the simulated stripe, on the sixteenth of January 2026."""
    turnstile = Turnstile(office)
    await turnstile.till.connect()
    await office.on("2026-01-16")
    return turnstile
