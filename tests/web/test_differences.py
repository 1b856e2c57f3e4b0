"""Changes are read field by field, and refusals name fields as their page does."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.web.rendering.differences import differences
from farthing.web.rendering.field_names import with_labels
from farthing.web.rendering.wording import reason


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param("a", "b", [("Value", "a", "b")], id="a text"),
        pytest.param({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("Value, b", 2, 3)], id="a field of a structure"),
        pytest.param(None, {"a": {"b_c": 1}}, [("Value, a, b c", None, 1)], id="a structure that came"),
        pytest.param({"a": 1}, {}, [("Value, a", 1, None)], id="a field that went"),
        pytest.param(["a"], ["a", "b"], [("Value", ["a"], ["a", "b"])], id="a list of texts, whole"),
        pytest.param(
            [{"email": "a"}, {"email": "b"}],
            [{"email": "a"}, {"email": "c"}],
            [("Value 2, email", "b", "c")],
            id="places",
        ),
        pytest.param({"a": 1}, "off", [("Value", {"a": 1}, "off")], id="what cannot be compared"),
    ],
)
def test_a_change_is_what_differs(before: Any, after: Any, expected: list[tuple[str, Any, Any]]) -> None:
    found = differences([{"field": "value", "before": before, "after": after}])
    assert [(difference.name, difference.before, difference.after) for difference in found] == expected


def test_a_secret_is_only_said_to_have_changed() -> None:
    (difference,) = differences([{"field": "password"}])
    assert (difference.name, difference.is_kept) == ("Password", False)


FORM = '<label>For how many <input name="grant_duration_value"></label><label class="x">In <b></b><select name="other">'


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            ValidationFailed.of("grant_duration_value", "is no number"), "For how many: is no number", id="label"
        ),
        pytest.param(
            ValidationFailed.of("plan.grant_duration_value", "is wrong"), "For how many: is wrong", id="nested"
        ),
        pytest.param(ValidationFailed.of("tiers[1].up_to", "is too low"), "Tiers 2, up to: is too low", id="no label"),
        pytest.param(ValidationFailed.of("other", "is <b>"), "Other: is <b>", id="a label with more in it is none"),
        pytest.param(InvalidOperation("the invoice is void", {"id": "x"}), "The invoice is void", id="no field at all"),
        pytest.param(
            ValidationFailed("Request validation failed", {"a_b": "is required", "grant_duration_value": "too"}),
            "A b: is required; For how many: too",
            id="several fields",
        ),
    ],
)
def test_a_refusal_names_the_field_as_the_page_does(error: Any, expected: str) -> None:
    assert with_labels(FORM + reason(error)).removeprefix(FORM) == expected
