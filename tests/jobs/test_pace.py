"""How soon a worker that gives no sign of life is taken for dead is a setting; the rest of its pace follows."""

from __future__ import annotations

import pytest

from farthing.jobs.workers.pace import ORDINARY_PACE, pace_for
from farthing.settings import BadSettings, load


def test_without_a_setting_the_pace_is_the_ordinary_one() -> None:
    assert pace_for(load({}).stalled_job_seconds) == ORDINARY_PACE


@pytest.mark.parametrize("seconds", ["3", "6", "12.5", "30"])
def test_several_signs_of_life_and_looks_fit_into_the_silence(seconds: str) -> None:
    pace = pace_for(load({"FARTHING_STALLED_JOB_SECONDS": seconds}).stalled_job_seconds)
    assert pace.stale_seconds == float(seconds)
    assert pace.heartbeat_seconds * 6 == pytest.approx(pace.stale_seconds)
    assert pace.look_seconds == pace.heartbeat_seconds


@pytest.mark.parametrize("seconds", ["2.9", "30.1", "0", "-1", "soon"])
def test_a_silence_that_keeps_no_promise_is_refused(seconds: str) -> None:
    with pytest.raises(BadSettings, match="FARTHING_STALLED_JOB_SECONDS"):
        load({"FARTHING_STALLED_JOB_SECONDS": seconds})
