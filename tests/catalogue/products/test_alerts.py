"""What state a value is in."""

from __future__ import annotations

from decimal import Decimal

import pytest

from farthing.catalogue.products.alerts import AlertState, state_of


def thresholds(condition: str, **levels: str) -> dict[str, object]:
    return {level: {"threshold": threshold, "condition": condition} for level, threshold in levels.items()}


BELOW = thresholds("below", critical="10", warning="20", info="50")
ABOVE = thresholds("above", critical="50", warning="20", info="10")


@pytest.mark.parametrize(
    ("settings", "value", "expected"),
    [
        pytest.param(BELOW, "10", AlertState.IN_ALARM, id="below: on the critical threshold"),
        pytest.param(BELOW, "10.01", AlertState.WARNING, id="below: just over critical"),
        pytest.param(BELOW, "50", AlertState.INFO, id="below: on the info threshold"),
        pytest.param(BELOW, "50.01", AlertState.OK, id="below: over all thresholds"),
        pytest.param(ABOVE, "50", AlertState.IN_ALARM, id="above: on the critical threshold"),
        pytest.param(ABOVE, "49.99", AlertState.WARNING, id="above: just under critical"),
        pytest.param(ABOVE, "10", AlertState.INFO, id="above: on the info threshold"),
        pytest.param(ABOVE, "9.99", AlertState.OK, id="above: under all thresholds"),
        pytest.param(thresholds("below", info="5"), "1", AlertState.INFO, id="info stands alone"),
        pytest.param({}, "1", AlertState.OK, id="no threshold, no alarm"),
    ],
)
def test_state(settings: dict[str, object], value: str, expected: AlertState) -> None:
    assert state_of(Decimal(value), settings) is expected
