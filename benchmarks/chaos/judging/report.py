"""What a run says: a line per round, a table at the end, and the same as JSON and as a part of the documents."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

import msgspec

from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.judging.comparison import Tally
from benchmarks.chaos.judging.recovery import Recovery
from benchmarks.chaos.schedule import BY_DEFAULT, WEIGHTS, Fault, Mode, Round
from benchmarks.chaos.traffic.ledger import Kind

BEGIN = "<!-- the table below is written by `python -m benchmarks.chaos --write` -->"
END = "<!-- end of the table -->"
_BROKEN = {Defect.LOST, Defect.DOUBLED, Defect.DIFFERENT, Defect.DOCTOR}


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round that was run."""

    mode: Mode
    round: Round
    recovery: Recovery


@dataclass(slots=True)
class Run:
    """One run of the harness: what decides it, and how long it took."""

    seed: int
    rounds: int
    modes: Sequence[Mode]
    faults: Sequence[Fault]
    phase: int
    clients: int
    patience: float
    machine: str
    stalled_seconds: float = 30
    """After which a worker that gives no sign of life was taken for dead."""
    seconds: float = 0
    examined: int = 0
    """How many of its rounds count: those of phases that were examined."""

    @property
    def command(self) -> str:
        """What repeats it."""
        chosen: list[tuple[str, Mode | Fault]] = [
            ("mode", mode) for mode in self.modes if set(self.modes) != set(BY_DEFAULT)
        ]
        possible = {fault for mode in self.modes for fault in WEIGHTS[mode]}
        chosen += [("fault", fault) for fault in self.faults if not possible <= set(self.faults)]
        narrowed = "".join(f" --{option} {value.name.lower().replace('_', '-')}" for option, value in chosen)
        paced = f"--phase {self.phase} --clients {self.clients} --patience {self.patience:g}"
        paced += f" --stalled-seconds {self.stalled_seconds:g}"
        return f"python -m benchmarks.chaos --rounds {self.rounds} --seed {self.seed}{narrowed} {paced}"


@dataclass(slots=True)
class Report:
    """Everything one run has seen, or several together."""

    runs: list[Run]
    findings: Findings = field(default_factory=Findings)
    rounds: list[RoundResult] = field(default_factory=list)
    acknowledged: Counter[Kind] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    doctor_differences: int = 0
    examinations: int = 0
    skipped: list[str] = field(default_factory=list)
    """Rounds that could not be run here, with the reason."""

    def show_round(self, result: RoundResult, acknowledged: Mapping[Kind, int]) -> None:
        """One line; the round counts once its phase is examined."""
        counts = " ".join(f"{kind.value.replace(' ', '-')}={acknowledged[kind]}" for kind in Kind)
        fault = f"{result.mode}: {result.round.fault}"
        recovered = (
            f"service {_seconds(result.recovery.service_seconds)}, duties {_seconds(result.recovery.duty_seconds)}"
        )
        print(f"{result.round.number:4} {fault:48} {recovered:36} {counts}", flush=True)

    def add_phase(
        self, results: Iterable[RoundResult], acknowledged: Counter[Kind], tally: Tally, doctor_differences: int
    ) -> None:
        """Count rounds whose acknowledgements were compared, and what came of it."""
        before = len(self.rounds)
        self.rounds += results
        self.runs[-1].examined += len(self.rounds) - before
        self.acknowledged += acknowledged
        self.tally.lost += tally.lost
        self.tally.doubled += tally.doubled
        self.tally.different += tally.different
        self.doctor_differences += doctor_differences
        self.examinations += 1

    @property
    def is_sound(self) -> bool:
        return not self.findings

    def tables(self) -> list[tuple[Sequence[str], Sequence[Sequence[str]]]]:
        """Header and rows of each table."""
        faults: dict[str, list[RoundResult]] = {}
        for result in self.rounds:
            faults.setdefault(result.round.fault, []).append(result)
        by_fault = [_fault_row(fault, results) for fault, results in sorted(faults.items())]
        by_kind = [
            [kind, f"{self.acknowledged[kind]:,}", str(self.tally.lost[kind]), str(self.tally.doubled[kind])]
            for kind in Kind
        ]
        others = [[defect, str(self.findings.count(defect))] for defect in Defect if defect not in _BROKEN]
        others = [
            ["figures that differ", str(self.tally.different)],
            ["differences named by `farthing doctor`", str(self.doctor_differences)],
            *others,
        ]
        return [
            (
                ("fault", "rounds", "service back, median", "longest", "duties back, median", "longest"),
                [*by_fault, _fault_row("all", self.rounds)],
            ),
            (("acknowledged", "how many", "lost", "doubled"), by_kind),
            (("defect", "times"), others),
        ]

    def markdown(self) -> str:
        parts = [f"{len(self.rounds)} rounds, {self.examinations} examinations, on {self.runs[0].machine}."]
        runs = [[f"`{run.command}`", str(run.examined), _took(run)] for run in self.runs]
        for header, rows in [(("run", "rounds", "took"), runs), *self.tables()]:
            lines = [header, ["---"] * len(header), *rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts += [f"Skipped: {reason}." for reason in self.skipped]
        return "\n\n".join(parts)

    def write_json(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    def write_into(self, document: Path) -> None:
        """Put the tables between the marks of a document."""
        before, begin, rest = document.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"{document} has no place for the table: it needs the lines {BEGIN} and {END}")
        document.write_text(f"{before}{BEGIN}\n\n{self.markdown()}\n\n{END}{after}")


def _took(run: Run) -> str:
    """How long all of it took, starts and examinations included."""
    whole = f"{run.seconds / 60:.0f} minutes"
    return f"{whole}, {run.seconds / run.examined:.1f} s a round" if run.examined else whole


def read_report(path: Path) -> Report:
    """What `write_json` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Report, dec_hook=_counter)


def _counter(kind: type, value: Any) -> Any:
    if get_origin(kind) is not Counter:
        raise NotImplementedError(kind)
    return Counter(value)


def add_up(reports: Iterable[Report]) -> Report:
    """Several runs as one report; each finding stays where it was found."""
    whole = Report([])
    for report in reports:
        whole.runs += report.runs
        whole.findings.found += report.findings.found
        whole.rounds += report.rounds
        whole.acknowledged += report.acknowledged
        whole.tally.lost += report.tally.lost
        whole.tally.doubled += report.tally.doubled
        whole.tally.different += report.tally.different
        whole.doctor_differences += report.doctor_differences
        whole.examinations += report.examinations
        whole.skipped += report.skipped
    return whole


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _fault_row(fault: str, results: Sequence[RoundResult]) -> list[str]:
    service = _middle_and_worst([result.recovery.service_seconds for result in results])
    duties = _middle_and_worst([result.recovery.duty_seconds for result in results])
    return [fault, str(len(results)), *service, *duties]


def _middle_and_worst(values: Sequence[float | None]) -> list[str]:
    """Median and longest; the longest is `never` when one of them was not back within its bound."""
    known = [value for value in values if value is not None]
    middle = f"{statistics.median(known):.1f} s" if known else "never"
    worst = "never" if len(known) < len(values) else f"{max(known, default=0):.1f} s"
    return [middle, worst]
