"""Changes are read field by field, and refusals name fields as their page does."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.web.rendering.words.differences import differences
from farthing.web.rendering.words.field_names import with_labels
from farthing.web.rendering.words.recorded_values import plain_text, shown_state, shown_value
from farthing.web.rendering.words.wording import reason


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


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        pytest.param("amount_due", "1234.5", "$1,234.50", id="money"),
        pytest.param("total_tax", "0", "$0.00", id="tax"),
        pytest.param("tiers[0].unit_amount", "0.0025", "$0.0025", id="the amount of a tier"),
        pytest.param("credit_balance", "1200", "1,200", id="credits are no money"),
        pytest.param("quantity", "120000", "120,000", id="a quantity"),
        pytest.param("address_postal_code", "10115", "10115", id="a number that is a name"),
        pytest.param("due_date", "2026-03-03T00:00:00Z", "3 Mar 2026, 01:00", id="a time, on the reader's wall"),
        pytest.param("due_date", "2026-03-03T00:00:00.5+00:00", "3 Mar 2026, 01:00", id="a time with an offset"),
        pytest.param("message", "due 2026-03-03T00:00:00Z, and", "due 3 Mar 2026, 01:00, and", id="a time in a text"),
        pytest.param("first_day", "2026-03-03", "3 Mar 2026", id="a day"),
        pytest.param("state", "PARTIALLY_REFUNDED", "Partially refunded", id="a state"),
        pytest.param("enabled", False, "no", id="no"),
        pytest.param("retry_days", [1, 3, 5], "1, 3, 5", id="a list"),
        pytest.param("value", {}, "nothing", id="nothing"),
        pytest.param("value", {"truncated": True}, "too large to be kept here", id="cut"),
        pytest.param("filter", '{"model": ["a", "b"]}', "Model: a, b", id="a structure in a text"),
        pytest.param(
            "tiers",
            [{"up_to": "1000", "unit_amount": "0.05"}, {"up_to": None, "unit_amount": "0.02"}],
            "1, up to: 1,000; 1, unit amount: $0.05; 2, up to: nothing; 2, unit amount: $0.02",
            id="a structure",
        ),
    ],
)
def test_a_value_of_the_log_reads_as_words(field: str, value: Any, expected: str) -> None:
    assert plain_text(shown_value(field, value, "usd", "Europe/Berlin")) == expected


def test_a_state_is_listed_field_by_field_without_what_it_had_nothing_of() -> None:
    state = {"name": "Acme", "email": "", "address": {"city": "Ulm"}, "lines": [{"amount": "5"}], "tags": []}
    assert [(part.name, part.after) for part in shown_state(state)] == [
        ("Name", "Acme"),
        ("Address, city", "Ulm"),
        ("Lines 1, amount", "5"),
    ]


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
