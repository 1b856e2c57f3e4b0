"""The seed alone says which fault comes when."""

from __future__ import annotations

import pytest

from benchmarks.chaos.schedule import WEIGHTS, Fault, Mode, plan


def test_the_same_seed_gives_the_same_rounds_and_another_seed_others() -> None:
    assert plan(30, 7, 20) == plan(30, 7, 20)
    assert plan(30, 7, 20) != plan(30, 8, 20)


@pytest.mark.parametrize("rounds", [1, 2, 3, 10, 57, 200])
def test_every_round_is_run_once_in_a_phase_that_is_not_too_long(rounds: int) -> None:
    phases = plan(rounds, 1, 20)
    assert [chosen.number for phase in phases for chosen in phase.rounds] == list(range(1, rounds + 1))
    assert all(1 <= len(phase.rounds) <= 20 for phase in phases)


def test_two_hundred_rounds_bring_about_every_fault_of_every_mode() -> None:
    seen: dict[Mode, set[Fault]] = {mode: set() for mode in Mode}
    for phase in [*plan(200, 1, 20), *plan(40, 1, 20, [Mode.SEVERAL_PROCESSES])]:
        seen[phase.mode] |= {chosen.fault for chosen in phase.rounds}
    assert seen == {mode: set(weights) for mode, weights in WEIGHTS.items()}


def test_several_processes_are_only_broken_where_they_are_asked_for() -> None:
    assert Mode.SEVERAL_PROCESSES not in {phase.mode for phase in plan(200, 1, 20)}


def test_only_what_was_chosen_is_broken() -> None:
    phases = plan(5, 1, 20, faults=[Fault.KILL_WORKER])
    assert {phase.mode for phase in phases} == {Mode.EXTERNAL}
    assert {chosen.fault for phase in phases for chosen in phase.rounds} == {Fault.KILL_WORKER}


def test_each_fault_comes_once_before_any_comes_twice() -> None:
    for seed in range(20):
        modes = [Mode.EMBEDDED, Mode.EXTERNAL]
        faults = [chosen.fault for phase in plan(15, seed, 20, modes) for chosen in phase.rounds]
        assert set(faults) == {fault for mode in modes for fault in WEIGHTS[mode]}
        assert len(faults) == 15
