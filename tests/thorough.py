"""How much a run tries: `make thorough` everything, in several times as long as the everyday run; `make quick` less."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("FARTHING_THOROUGH"))
"""Walks try each value everywhere, and properties with dear examples try more of them."""
QUICK = bool(os.environ.get("FARTHING_QUICK"))
"""Properties try a few of their examples."""
_FEW = 25


def examples(usual: int, thorough: int) -> int:
    """How many examples a property tries whose examples take a tenth of a second or more each."""
    return thorough if THOROUGH else usual


def few_examples(usual: int) -> int:
    """How many of its `usual` examples a property tries when the run is to be quick."""
    return min(usual, max(_FEW, usual // 4))
