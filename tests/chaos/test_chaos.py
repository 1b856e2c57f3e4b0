"""Farthing is broken on purpose, eight times, and nothing acknowledged is lost or doubled. See docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.schedule import Fault

FAULTS = (
    Fault.KILL_SERVER,
    Fault.KILL_WORKERS,
    Fault.KILL_BACKEND,
    Fault.KILL_EVERYTHING,
    Fault.RESTART_POSTGRES,
    Fault.PAUSE_SERVER,
    Fault.EXHAUST_CONNECTIONS,
    Fault.KILL_BEFORE_ANSWERS,
)
"""What is broken, each once.

`farthing` is killed while a clock moves in tests/billing/run/test_clock.py and with a duty in hand in
tests/jobs/test_crash.py; the disk is filled in tests/storage/server/test_disk_full.py.
"""
PATIENCE = 4
"""Other tests run beside this one; what it is after is losses, not how long recovery takes."""
SECONDS = 900
"""Where nothing is wrong it takes under two minutes beside other tests; a stalled duty is seen late."""
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_whatever_is_broken(tmp_path: Path) -> None:
    results_file = tmp_path / "results.json"
    options = [("rounds", len(FAULTS)), ("clients", 3), ("patience", PATIENCE), ("json", results_file)]
    options += [("fault", fault.name.lower().replace("_", "-")) for fault in FAULTS]
    arguments = [part for name, value in options for part in (f"--{name}", str(value))]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    results = json.loads(results_file.read_text())
    assert results["findings"]["found"] == []
    assert results["skipped"] == []
    assert sorted(result["round"]["fault"] for result in results["rounds"]) == sorted(FAULTS)
    assert not any([*results["tally"]["lost"].values(), *results["tally"]["doubled"].values()])
    acknowledged = results["acknowledged"]
    assert all(acknowledged[kind] > 0 for kind in ("events", "customers", "invoices", "payments", "subscriptions"))
    assert f"| all | {len(results['rounds'])} |" in run.stdout
