"""Several runs side by side are added up, and nothing is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.chaos.__main__ import write_sum
from benchmarks.chaos.findings import Defect
from benchmarks.chaos.judging.comparison import Tally
from benchmarks.chaos.judging.recovery import Recovery
from benchmarks.chaos.judging.report import BEGIN, END, Report, RoundResult, Run, add_up, read_report
from benchmarks.chaos.schedule import Fault, Mode, Round
from benchmarks.chaos.traffic.ledger import Kind


def run_of(mode: Mode, seed: int, duty_seconds: float | None, events: int, lost: int) -> Report:
    report = Report([Run(seed, 1, [mode], list(Fault), 20, 4, 1.5, "one machine", seconds=60)])
    result = RoundResult(mode, Round(1, Fault.KILL_SERVER, 1, 1, seed), Recovery(2, duty_seconds))
    report.add_phase([result], Counter({Kind.EVENT: events}), Tally(lost=Counter({Kind.EVENT: lost})), lost)
    if lost:
        report.findings.add(Defect.LOST, "an event")
    return report


def test_runs_are_read_back_and_added_up(tmp_path: Path) -> None:
    reports = [run_of(Mode.EMBEDDED, 1, 3, 1_000, 0), run_of(Mode.EXTERNAL, 2, 5, 500, 2)]
    files = [tmp_path / f"{number}.json" for number in range(len(reports))]
    for report, file in zip(reports, files, strict=True):
        report.write_json(file)
    assert [read_report(file) for file in files] == reports
    document = tmp_path / "document.md"
    document.write_text(f"Before\n{BEGIN}\nold\n{END}\nafter\n")
    assert write_sum(*files, write=document) == 1, "a loss in any of them is one"
    table = document.read_text()
    assert table.startswith("Before\n")
    assert table.endswith("\nafter\n")
    assert "old" not in table
    assert "2 rounds, 2 examinations, on one machine." in table
    assert (
        "| `python -m benchmarks.chaos --rounds 1 --seed 2 --mode external --phase 20 --clients 4 --patience 1.5 "
        "--stalled-seconds 30` | 1 | 1 minutes, 60.0 s a round |" in table
    )
    assert "| kill -9 of the server | 2 | 2.0 s | 2.0 s | 4.0 s | 5.0 s |" in table
    assert "| events | 1,500 | 2 | 0 |" in table


def test_what_never_came_back_is_the_longest() -> None:
    whole = add_up([run_of(Mode.EMBEDDED, 1, None, 1, 0), run_of(Mode.EMBEDDED, 2, 4, 1, 0)])
    assert "| kill -9 of the server | 2 | 2.0 s | 2.0 s | 4.0 s | never |" in whole.markdown()
    assert whole.is_sound
