"""Farthing is broken on purpose, ten times, and nothing acknowledged is lost or doubled. See docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROUNDS = 10
SEED = 1
SECONDS = 900
"""Where nothing is wrong it takes about a minute; a duty that stalls, or a busy machine, takes longer to be seen."""
ROOT = Path(__file__).parents[2]


def test_nothing_acknowledged_is_lost_or_doubled_whatever_is_broken(tmp_path: Path) -> None:
    results_file = tmp_path / "results.json"
    options = {"rounds": ROUNDS, "seed": SEED, "clients": 3, "patience": 3, "json": results_file}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
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
    assert results["findings"] == []
    skipped = sum(int(reason.split()[0]) for reason in results["skipped"])
    assert len(results["rounds"]) + skipped == ROUNDS
    assert not any([*results["lost"].values(), *results["doubled"].values()])
    acknowledged = results["acknowledged"]
    assert all(acknowledged[kind] > 0 for kind in ("events", "customers", "invoices", "payments", "subscriptions"))
    assert f"| all | {len(results['rounds'])} |" in run.stdout
