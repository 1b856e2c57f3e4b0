"""What a marketplace is asked, and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

MOST_IN_A_CALL = 25
"""AWS and Azure take as many at once."""


@dataclass(frozen=True, slots=True)
class UsageToReport:
    """A report as it is sent. `terms` are the fields of the agreement's block."""

    id: str
    terms: Mapping[str, Any]
    usage_start: datetime
    usage_end: datetime
    quantity: int


class Verdict(StrEnum):
    TAKEN = "taken"
    TOO_OLD = "too_old"
    REFUSED = "refused"
    NOT_TAKEN = "not_taken"
    """Not this time, and certainly not; it is sent again."""
    UNKNOWN = "unknown"
    """Nobody knows; it is sent again as it is."""


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """What a marketplace made of one report. `words` hold no secret."""

    verdict: Verdict
    words: str = ""
    reporting_id: str | None = None


class MarketplaceUnavailable(Exception):
    """A call brought no answer to what was sent, and the next one would not either.

    `is_unknown`: whether the marketplace may have taken it. The message holds no secret.
    """

    def __init__(self, words: str, *, is_unknown: bool) -> None:
        super().__init__(words)
        self.is_unknown = is_unknown


class CallRefused(Exception):
    """A call was refused as a whole for what it holds, without saying for which report; nothing of it was taken."""

    def __init__(self, words: str, *, is_too_old: bool = False) -> None:
        super().__init__(words)
        self.is_too_old = is_too_old


class Reporter(Protocol):
    """An account at a marketplace, opened for a few calls."""

    def call_of(self, terms: Mapping[str, Any]) -> str:
        """Which reports may go in one call: those for whose terms this is the same."""
        ...

    async def send(self, reports: Sequence[UsageToReport]) -> Sequence[ReportOutcome]:
        """Report at most MOST_IN_A_CALL, and say what became of each, in their order.

        Raises MarketplaceUnavailable, CallRefused.
        """
        ...

    async def ask(self) -> str:
        """Ask for something harmless; what to tell who wants to know whether it works. Raises as above."""
        ...
