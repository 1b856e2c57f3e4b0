"""The page that says how Stripe is set up, against what is read."""

from __future__ import annotations

import re
from pathlib import Path

from farthing.payments.stripe.webhooks import EVENTS

ROOT = Path(__file__).parents[3]


def test_the_events_to_choose_are_those_that_are_read() -> None:
    page = (ROOT / "docs" / "payments.md").read_text()
    section = page.split("<!-- events of stripe")[1].split("4. **Give")[0]
    assert set(re.findall(r"`([a-z_.]+)`", section)) == set(EVENTS)
