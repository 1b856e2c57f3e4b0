"""kill -9 under load: what was acknowledged is there, once. `benchmarks.crash_ingest` does the same for longer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.crash_ingest import crash_rounds

ROUNDS = 4


def test_no_acknowledged_event_is_lost_or_doubled_when_processes_are_killed(tmp_path: Path) -> None:
    ledger = crash_rounds(tmp_path / "data", ROUNDS)
    assert len(ledger.acknowledged) > 100
