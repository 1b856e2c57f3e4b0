"""Whether a run tries everything: `make thorough` does, which takes several times as long as the everyday run."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("FARTHING_THOROUGH"))
"""Walks try each value everywhere, and properties with dear examples try more of them."""


def examples(usual: int, thorough: int) -> int:
    """How many examples a property tries whose examples take a tenth of a second or more each."""
    return thorough if THOROUGH else usual
