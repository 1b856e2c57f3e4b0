"""`python -m benchmarks.chaos`: break Farthing on purpose, and end with status 1 if anything was lost or doubled."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from benchmarks.chaos.judging.recovery import Bounds
from benchmarks.chaos.judging.report import Report, Run, add_up, read_report
from benchmarks.chaos.run import Pace, run_phases
from benchmarks.chaos.schedule import BY_DEFAULT, Fault, Mode, plan
from benchmarks.harness import machine

app = cyclopts.App(name="python -m benchmarks.chaos", help="Break a running Farthing on purpose, under load.")


@app.default
def main(
    *,
    rounds: Annotated[int, Parameter(help="How many faults.", validator=Number(gte=1, lte=10_000))] = 20,
    seed: Annotated[int, Parameter(help="Another seed, other faults at other moments.")] = 1,
    phase: Annotated[int, Parameter(help="Most rounds between two examinations.", validator=Number(gte=1))] = 20,
    clients: Annotated[int, Parameter(help="How many clients send at once.", validator=Number(gte=1, lte=50))] = 6,
    mode: Annotated[list[Mode] | None, Parameter(help="These deployments; default: all but several processes.")] = None,
    fault: Annotated[list[Fault] | None, Parameter(help="Only these faults; default: all.")] = None,
    patience: Annotated[float, Parameter(help="Times the bounds of recovery, where other work runs.")] = 1,
    stalled_seconds: Annotated[
        float, Parameter(help="When a silent worker is taken for dead; 30 unless set.", validator=Number(gte=3, lte=30))
    ] = 6,
    minutes: Annotated[int, Parameter(help="Begin no phase after so many.", validator=Number(gte=1))] = 180,
    json: Annotated[Path | None, Parameter(help="Write the results here, too.")] = None,
    write: Annotated[Path | None, Parameter(help="Put the tables into this document, between its marks.")] = None,
    keep: Annotated[bool, Parameter(help="Keep the folders with data and logs.", negative="")] = False,
) -> int:
    """Run faults on real processes under mixed load, and compare what was acknowledged with what is there."""
    modes, faults = list(mode or BY_DEFAULT), list(fault or Fault)
    phases = plan(rounds, seed, phase, modes, faults)
    chosen = Run(seed, rounds, modes, faults, phase, clients, patience, machine(), stalled_seconds)
    bounds = Bounds.for_stalled(stalled_seconds).times(patience)
    report, pace = Report([chosen]), Pace(clients, minutes, bounds, stalled_seconds)
    print(f"{rounds} rounds, seed {seed}, on {chosen.machine}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    was_stopped = False
    try:
        asyncio.run(_run_until_stopped(run_phases(phases, folder, report, pace)))
    except asyncio.CancelledError:
        report.skipped.append(f"what seed {seed} had left, stopped from outside")
        was_stopped = True
    finally:
        if keep:
            print(f"kept {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        if json is not None:
            report.write_json(json)
    print(f"\n{report.markdown()}\n", flush=True)
    if write is not None:
        report.write_into(write)
    is_sound = report.is_sound and not was_stopped
    print("sound" if is_sound else f"NOT sound: {len(report.findings.found)} findings", flush=True)
    return 0 if is_sound else 1


@app.command(name="add-up")
def write_sum(
    *files: Annotated[Path, Parameter(help="What runs wrote with --json.")],
    write: Annotated[Path | None, Parameter(help="Put the tables into this document, between its marks.")] = None,
) -> int:
    """Add up what several runs have seen, for runs side by side."""
    if not files:
        raise ValueError("name at least one file that a run wrote with --json")
    report = add_up(read_report(file) for file in files)
    print(report.markdown())
    if write is not None:
        report.write_into(write)
    return 0 if report.is_sound else 1


async def _run_until_stopped(running: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or stop in order when told to: no process may be left behind."""
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


if __name__ == "__main__":
    sys.exit(app())
