"""State machines: what may follow, and a refusal that says it."""

from __future__ import annotations

from enum import StrEnum

import pytest

from farthing.core.errors import InvalidOperation
from farthing.core.states import StateMachine


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


LIGHT = StateMachine("light", {Light.RED: (Light.GREEN, Light.OFF), Light.GREEN: (Light.OFF,)})


@pytest.mark.parametrize("status", list(Light))
@pytest.mark.parametrize("to", list(Light))
def test_a_status_follows_or_the_refusal_names_both_and_what_would(status: Light, to: Light) -> None:
    allowed = {Light.RED: [Light.GREEN, Light.OFF], Light.GREEN: [Light.OFF], Light.OFF: []}[status]
    assert LIGHT.allows(status, to) == (to in allowed)
    if to in allowed:
        assert LIGHT.check(status, to) is to
        return
    with pytest.raises(InvalidOperation, match=f"The light is {status} and cannot become {to}") as refusal:
        LIGHT.check(status, to, light_id="light_1")
    assert refusal.value.details == {
        "light_id": "light_1",
        "current_status": status.value,
        "requested_status": to.value,
        "allowed_statuses": [following.value for following in allowed],
    }
