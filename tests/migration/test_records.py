"""What becomes of single records before anything is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from farthing.core.errors import ValidationFailed
from farthing.migration.copying.kinds import RecordKind
from farthing.migration.copying.subscriptions import copy_subscription
from farthing.migration.copying.target import MigrationTarget
from farthing.migration.run import MigrationRun
from farthing.migration.source.api import NotOffered, SourceFailed
from tests.subscriptions.shop import at

NOW = "2026-03-10"


@pytest.mark.parametrize(
    ("record", "field"),
    [
        pytest.param(
            {"subscription_status": "active", "current_period_end": "2026-03-10T00:00:00Z"},
            "current_period_end",
            id="an open period that is over",
        ),
        pytest.param(
            {"subscription_status": "trialing", "trial_end": "2026-03-09T00:00:00Z"},
            "trial_end",
            id="a trial that is over",
        ),
    ],
)
async def test_what_the_source_has_still_to_bill_is_refused(record: dict[str, Any], field: str) -> None:
    target = MigrationTarget(cast("Any", None), at(NOW), {})
    with pytest.raises(ValidationFailed) as refused:
        await copy_subscription(target, {"id": "subs_1", **record})
    assert "has not billed it yet" in refused.value.details[field]


def _run() -> MigrationRun:
    nothing = cast("Any", SimpleNamespace())
    return MigrationRun(nothing, nothing, nothing, nothing, lambda kind, count: None)


def _kind(complete: Any) -> RecordKind:
    return RecordKind("things", cast("Any", None), cast("Any", None), complete)


async def test_a_record_that_is_gone_meanwhile_leaves_the_others_to_be_copied() -> None:
    async def complete(source: Any, record: dict[str, Any]) -> dict[str, Any]:
        if record["id"] == "2":
            raise NotOffered("GET /things/2")
        return {**record, "whole": True}

    whole, gone = await _run()._completed(_kind(complete), [{"id": "1"}, {"id": "2"}, {"id": "3"}])
    assert [record["id"] for record in whole] == ["1", "3"]
    assert [(record["id"], str(missing)) for record, missing in gone] == [("2", "GET /things/2")]


async def test_a_source_that_fails_while_records_are_completed_ends_the_run_by_its_name() -> None:
    async def complete(source: Any, record: dict[str, Any]) -> dict[str, Any]:
        raise SourceFailed.of("url", f"GET /things/{record['id']} failed 8 times")

    with pytest.raises(SourceFailed):
        await _run()._completed(_kind(complete), [{"id": "1"}, {"id": "2"}])
