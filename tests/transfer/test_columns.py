"""What the cells of a row become, without a file around them."""

from __future__ import annotations

import pytest

from farthing.transfer.imports.files.columns import BadCell
from farthing.transfer.imports.files.json_rows import _row_of
from farthing.transfer.imports.files.rows import SourceRow
from farthing.transfer.imports.kinds.customers import COLUMNS
from farthing.transfer.imports.kinds.prices import _creation


def test_a_cell_of_json_holds_no_nul() -> None:
    with pytest.raises(BadCell, match="NUL"):
        COLUMNS.fields_of(SourceRow(1, 2, {"external_id": "a", "metadata": r'{"team": "x\u0000"}'}))


def test_a_backslash_before_such_digits_is_no_nul() -> None:
    row = SourceRow(1, 2, {"external_id": "a", "metadata": r'{"team": "x\\u0000"}'})
    assert COLUMNS.fields_of(row)["metadata"] == {"team": r"x\u0000"}


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        pytest.param(rb'{"name": "x\u0000"}', ["must not contain NUL characters"], id="an escaped NUL"),
        pytest.param(rb'{"name": "x\\u0000"}', [], id="an escaped backslash before the digits"),
    ],
)
def test_an_object_holds_no_nul(line: bytes, reasons: list[str]) -> None:
    assert [problem.reason for problem in _row_of(1, 1, line).problems] == reasons


@pytest.mark.parametrize("column", ["min_quantity", "billing_period_count", "transform_quantity_divide_by"])
def test_a_whole_number_that_would_fill_the_memory_is_refused(column: str) -> None:
    with pytest.raises(BadCell, match="digits") as refused:
        _creation({column: "1e999999999"})
    assert refused.value.column == column
