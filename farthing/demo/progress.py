"""How far a load has come: a bar on a terminal, a few plain lines wherever else the output goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

STEPS = 4
"""How many lines say how far one part of a load has come, the last of them that it is done."""

Advance = Callable[[int], None]
"""Hears how many more are done."""


@contextmanager
def progress_of(console: Console, what: str, total: int) -> Iterator[Advance]:
    """Show how many of `total` are done while this is open; `what` names them, as in "Demo: events"."""
    if not console.is_terminal:
        yield _PlainLines(console, what, total).advance
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda count: bars.advance(task, count)


class _PlainLines:
    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console = console
        self._what = what
        self._total = total
        self._done = 0

    def advance(self, count: int) -> None:
        """Print a line whenever another quarter is done."""
        before, self._done = self._done, self._done + count
        if self._done * STEPS // self._total > before * STEPS // self._total:
            self._console.print(f"{self._what}: {self._done:,} of {self._total:,}")
