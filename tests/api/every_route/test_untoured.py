"""What the tour leaves out is driven by the tests that are named for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.api.endpoints import BY_ID
from tests.api.untoured import LEFT_OUT, LeftOut

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("left_out", LEFT_OUT, ids=lambda left_out: f"{left_out.driven_in} {left_out.operations[0]}")
def test_the_tests_named_ask_for_it(left_out: LeftOut) -> None:
    """As far as the last word of a path that is no id says."""
    asked = (ROOT / left_out.driven_in).read_text()
    for operation in left_out.operations:
        last_word = [word for word in BY_ID[operation].path.split("/") if word and "{" not in word][-1]
        assert re.search(rf'[/"]{re.escape(last_word)}\b', asked), operation
