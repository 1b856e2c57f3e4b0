"""Which events pass a filter."""

from __future__ import annotations

from decimal import Decimal

import pytest

from farthing.core.errors import ValidationFailed
from farthing.metering.filters import Filter, conditions, matches

SIZE_AND_OK = (Filter("size", ("1000000",)), Filter("ok", ("true",)))
MODEL = (Filter("model", ("gpt", "claude")),)


@pytest.mark.parametrize(
    ("filters", "properties", "expected"),
    [
        pytest.param(SIZE_AND_OK, {"size": 1000000, "ok": True}, True, id="A31: number and boolean match their text"),
        pytest.param(SIZE_AND_OK, {"size": "1000000", "ok": "true"}, True, id="A31: strings match"),
        pytest.param(SIZE_AND_OK, {"size": 1000000}, False, id="A31: a missing key does not match"),
        pytest.param(SIZE_AND_OK, {"size": 1000001, "ok": True}, False, id="A31: one wrong value is enough"),
        pytest.param(SIZE_AND_OK, {"size": Decimal("1E+6"), "ok": True}, True, id="exponent form is the same number"),
        pytest.param(SIZE_AND_OK, {"size": "1e6", "ok": True}, False, id="but a string is compared as it stands"),
        pytest.param(MODEL, {"model": "claude"}, True, id="any value of one filter will do"),
        pytest.param(MODEL, {"model": "GPT"}, False, id="case counts"),
        pytest.param(MODEL, {"model": " gpt"}, False, id="whitespace counts"),
        pytest.param(MODEL, {"model": None}, False, id="null never matches"),
        pytest.param(MODEL, {"model": ["gpt"]}, False, id="a list never matches"),
        pytest.param((Filter("model", ("null", "None", "")),), {"model": None}, False, id="not even by its spelling"),
        pytest.param((Filter("a.b", ("1",)),), {"a": {"b": 1}, "a.b": 1}, True, id="a dotted key is a literal key"),
        pytest.param((Filter("a.b", ("1",)),), {"a": {"b": 1}}, False, id="and never a path"),
        pytest.param((*MODEL, Filter("model", ("gpt",))), {"model": "claude"}, False, id="all filters must match"),
        pytest.param((), {}, True, id="without filters every event passes"),
    ],
)
def test_matching(filters: tuple[Filter, ...], properties: dict[str, object], expected: bool) -> None:
    assert matches(conditions(filters), properties) is expected


@pytest.mark.parametrize(
    ("key", "values", "named"),
    [
        pytest.param("", ("a",), "filters.key", id="without a key"),
        pytest.param("model", (), "filters.values", id="without values"),
    ],
)
def test_an_empty_filter_is_refused(key: str, values: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        Filter(key, values)
    assert list(refused.value.details) == [named]
